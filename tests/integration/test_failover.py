"""A primary and a standby: what each fault costs with the default settings. docs/operations.md has the table."""

import asyncio
import logging
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from functools import partial
from uuid import uuid4

import pytest

from tests.support import faults
from tests.support.apart import run_apart
from tests.support.clusters import binaries, pair, prepared
from tests.support.proxies import database_proxy
from tests.support.servers import until
from tests.support.waiting import becomes
from veupath_store import StoreSettings, StreamRepository, UserRepository, async_session_factory, close_db, init_db
from veupath_store.check.readiness import check_readiness
from veupath_store.errors import OutcomeUnknownError, UnavailableError

pytestmark = [pytest.mark.large, pytest.mark.own_database]

logger = logging.getLogger(__name__)

SLACK = 3.0
"""Seconds of two busy cores; no bound here is that close to what would be wrong."""


@pytest.fixture(scope="module")
def original(running_servers, make_store):
    def fill(server) -> None:
        run_apart(server.create("store"))
        run_apart(make_store(server.url("store")))

    with prepared(binaries("DATABASE_URL" in running_servers), fill) as cluster:
        yield cluster


@pytest.fixture
def clusters(original):
    with pair(original) as (primary, standby):
        yield primary, standby


@asynccontextmanager
async def opened(*hosts: str, **options):
    """The store on these hosts, with all connections of its pool open."""
    settings = StoreSettings(database_url=f"postgresql://postgres@{','.join(hosts)}/store", **options)
    engine = await init_db(settings=settings)
    await faults.acquire_all(await engine.open())
    try:
        yield engine
    finally:
        await close_db()


class Caller:
    """One who writes again and again, one call after the other."""

    def __init__(self) -> None:
        self.failed: list[tuple[str, float]] = []
        self.acknowledged = []

    async def write(self) -> bool:
        row, started = uuid4(), time.monotonic()
        try:
            async with async_session_factory() as session:
                await UserRepository(session).get_or_create(row)
        except (UnavailableError, OutcomeUnknownError) as exc:
            self.failed.append((type(exc).__name__, round(time.monotonic() - started, 2)))
            await asyncio.sleep(0.05)
            return False
        self.acknowledged.append(row)
        return True

    async def gap(self, within: float) -> float:
        """Seconds until a write succeeds."""
        return await until(self.write, within, f"a write; failed were {self.failed}")

    async def recovers(self, fault: str, within: float) -> None:
        """It writes again, as often as it likes. The figures are seen with ``--log-cli-level=INFO``."""
        gap = await self.gap(within)
        logger.info("%s: %.2f s until a write, failed calls: %s", fault, gap, self.failed)
        assert all([await self.write() for _ in range(30)])
        await faults.assert_pool_complete()

    async def write_during(self, change: Callable[[], None]) -> float:
        """Write on while something changes; the seconds that it took."""
        started = time.monotonic()
        changing = asyncio.create_task(asyncio.to_thread(change))
        while not changing.done():
            await self.write()
        await changing
        return time.monotonic() - started

    async def assert_kept(self, cluster) -> None:
        connection = await cluster.server.connect("store")
        stored = {row["id"] for row in await connection.fetch("SELECT id FROM users")}
        await connection.close()
        assert stored >= set(self.acknowledged)


async def test_after_a_crash_calls_fail_at_once_until_the_standby_is_promoted(clusters):
    primary, standby = clusters
    caller = Caller()
    async with opened(standby.host, primary.host):
        assert await caller.write()
        primary.crash()
        await caller.write_during(standby.promote)
        await caller.recovers("crash", within=2 + SLACK)
        assert caller.failed
        assert max(seconds for _, seconds in caller.failed) < SLACK, "a call without a primary fails at once"


async def test_a_primary_that_hangs_costs_one_call_and_less_than_15_seconds(clusters):
    primary, standby = clusters
    caller = Caller()
    async with opened(primary.host, standby.host):
        assert await caller.write()
        primary.hang()
        await asyncio.to_thread(standby.promote)
        await caller.recovers("hang", within=15)
        assert len(caller.failed) == 1


async def test_calls_that_were_under_way_when_the_primary_hung_all_end_within_15_seconds(clusters):
    primary, standby = clusters
    async with opened(primary.host, standby.host):
        callers = [Caller() for _ in range(20)]
        assert all(await asyncio.gather(*(caller.write() for caller in callers)))
        primary.hang()
        await asyncio.to_thread(standby.promote)
        gaps = await asyncio.gather(*(caller.gap(within=15 + SLACK) for caller in callers))
        assert max(gaps) < 15 + SLACK
        assert all(await asyncio.gather(*(caller.write() for caller in callers)))
        await faults.assert_pool_complete()


async def test_a_dead_flow_costs_one_call_and_less_than_15_seconds(database_url, tmp_path):
    caller = Caller()
    async with database_proxy(database_url, tmp_path) as (flow, url):
        engine = await init_db(settings=StoreSettings(database_url=url))
        await faults.acquire_all(await engine.open())
        flow.dead = flow.connections
        await caller.recovers("dead flow", within=15)
        assert len(caller.failed) == 1
        await close_db()


async def test_after_a_switchover_the_store_writes_on_the_new_primary_with_the_standby_first(clusters):
    primary, standby = clusters
    caller = Caller()
    async with opened(standby.host, primary.host):
        assert await caller.write()

        def switch() -> None:
            primary.stop()
            standby.promote()
            primary.follow(standby)

        took = await caller.write_during(switch)
        await caller.recovers(f"switchover, which took {took:.2f} s", within=SLACK)
        await caller.assert_kept(standby)
    # And for whoever comes now, in either order of hosts.
    for hosts in ((primary.host, standby.host), (standby.host, primary.host)):
        async with opened(*hosts):
            assert await Caller().write()


async def test_ten_of_ten_stores_open_with_a_standby_first(clusters):
    primary, standby = clusters
    for _ in range(10):
        async with opened(standby.host, primary.host, pool_max_size=3):
            assert await Caller().write()


def listening() -> socket.socket:
    """A host that accepts connections and says nothing."""
    host = socket.socket()
    host.setblocking(False)
    host.bind(("127.0.0.1", 0))
    host.listen(50)
    return host


def arrived(host: socket.socket) -> int:
    """How many connections it was asked for since the last time; it closes them."""
    count = 0
    with suppress(BlockingIOError):
        while True:
            host.accept()[0].close()
            count += 1
    return count


async def test_silent_hosts_cost_a_quarter_of_a_second_each_and_only_once(clusters):
    primary, _ = clusters
    with ExitStack() as stack:
        listeners = [stack.enter_context(listening()) for _ in range(3)]
        silent = [f"127.0.0.1:{it.getsockname()[1]}" for it in listeners]
        started = time.monotonic()
        async with opened(*silent, primary.host):
            took = time.monotonic() - started
            logger.info("three silent hosts: %.2f s to open ten connections behind them", took)
            assert took < 1.5 + SLACK
            assert 0 not in [arrived(host) for host in listeners]
            client = await (await init_db()).open()
            client._pool._generation += 1
            await faults.acquire_all(client)
            assert not any(arrived(host) for host in listeners), "the last good host is asked first"
        with pytest.raises(UnavailableError) as caught:
            await init_db(
                settings=StoreSettings(database_url=f"postgresql://a@{','.join(silent)}/b", connect_timeout=1)
            )
        assert all(host in str(caught.value) for host in silent)
        assert time.monotonic() - started < 4 + 2 * SLACK


async def test_a_primary_that_turns_read_only_is_left_at_once(clusters):
    primary, standby = clusters
    caller = Caller()
    async with opened(primary.host, standby.host):
        assert await caller.write()
        await _caught_up(primary, standby)
        await asyncio.to_thread(standby.promote)
        read_only = ("ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")
        await primary.server.run(*read_only)
        await asyncio.sleep(0.2)
        await caller.recovers("read-only turn", within=1 + SLACK)
        assert 1 <= len(caller.failed) <= 2
        assert (await check_readiness()).ready
        await caller.assert_kept(standby)


async def test_readiness_says_that_the_server_takes_no_writes_and_heals_once_one_does(clusters):
    """Nobody writes in a process that is not ready, so that no write finds out."""
    primary, standby = clusters
    async with opened(primary.host, standby.host):
        assert (await check_readiness()).writable
        await primary.server.run("ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")
        await asyncio.sleep(0.2)
        found = await check_readiness()
        assert (found.ready, found.database, found.writable) == (False, True, False)
        await asyncio.to_thread(standby.promote)

        async def ready() -> bool:
            return (await check_readiness()).ready

        await becomes(ready, True, "it is ready on the new primary", within=2 + SLACK)


async def test_a_standby_that_is_the_only_host_is_not_ready_until_it_is_promoted(clusters):
    primary, standby = clusters
    await _caught_up(primary, standby)
    async with opened(standby.host):
        found = await check_readiness()
        assert (found.ready, found.database, found.writable) == (False, True, False)
        with pytest.raises(UnavailableError, match="read-only"):
            await UserRepository().create()
        await asyncio.to_thread(standby.promote)
        await Caller().gap(within=2 + SLACK)
        assert (await check_readiness()).ready


@pytest.mark.parametrize("repeat", ["ensure", "read back"])
async def test_what_a_repeat_finds_done_is_acknowledged_once_a_synchronous_standby_has_it(clusters, repeat):
    """The wait of the first COMMIT is cut off, and its row is there all the same: on the primary only."""
    primary, standby = clusters
    synchronous = ("ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()")
    async with opened(primary.host, standby.host, command_timeout=1):
        user, stream = await UserRepository().create(), uuid4()
        await primary.server.run(*synchronous)
        await asyncio.sleep(0.3)

        async def again() -> object:
            if repeat == "ensure":
                return await StreamRepository().ensure(user.id, "plasmodb", stream)
            return await StreamRepository().get_by_id(stream)

        standby.hang()
        with pytest.raises(OutcomeUnknownError):
            await StreamRepository().ensure(user.id, "plasmodb", stream)
        for _ in range(2):
            with pytest.raises(UnavailableError):
                await again()
        standby.wake()
        assert await until_it_answers(again)
        primary.crash()
        await asyncio.to_thread(standby.promote)
        await Caller().gap(within=2 + SLACK)
        assert await StreamRepository().get_by_id(stream)


async def until_it_answers(call) -> object:
    for _ in range(10):
        with suppress(UnavailableError):
            return await call()
    return None


async def _caught_up(primary, standby) -> None:
    """Wait until the standby has all that the primary has."""
    connections = [await cluster.server.connect() for cluster in (primary, standby)]
    sent = await connections[0].fetchval("SELECT pg_current_wal_lsn()")
    has_it = partial(connections[1].fetchval, "SELECT pg_last_wal_replay_lsn() >= $1", sent)
    await becomes(has_it, True, "the standby has caught up", within=10)
    for connection in connections:
        await connection.close()
