"""The event log behind Sentinels: real ones, real failovers."""

import asyncio
import time
from contextlib import asynccontextmanager, closing, contextmanager
from uuid import uuid4

import pytest

from tests.support.checks import NOWHERE, by_name
from tests.support.redis_ports import RedisOnPort, Watched
from veupath_store.check.log import about_log
from veupath_store.config import StoreSettings
from veupath_store.errors import ConfigurationError, OutcomeUnknownError, UnavailableError
from veupath_store.events.log.entries import Event, LogKey
from veupath_store.events.log.log import EventLog
from veupath_store.values import Level

SECRET, WORD = "s3cr3t", "w0rd"
WITHIN = 15
"""Seconds that a failover may take on a busy machine, Sentinels' part included; it takes two or three."""


def event(**data) -> Event:
    return Event(type="user_message", data=data)


@contextmanager
def watched_servers(*given, word: str | None = None):
    with closing(Watched(*given)) as group:
        group.settle(word)
        yield group


@asynccontextmanager
async def opened(url: str, **options):
    log = EventLog(StoreSettings(database_url=NOWHERE, redis_url=url, **{"log_timeout": 1.0, **options}))
    yield log
    await log.close()


@pytest.fixture(scope="module")
def shared():
    """Servers of the module's own, for tests that change nothing."""
    with watched_servers() as group:
        yield group


@pytest.fixture
def watched(request):
    """Servers of the test's own where a failover, or a death, changes them."""
    if request.node.get_closest_marker("large"):
        with watched_servers() as group:
            yield group
    else:
        yield request.getfixturevalue("shared")


@pytest.fixture
async def log(watched):
    async with opened(watched.url) as log:
        yield log


async def appended_anew(log: EventLog, key: LogKey) -> float:
    """Append, again and again until that succeeds; the seconds that it took."""
    started = time.monotonic()
    while True:
        try:
            await log.append(key, [event(after=True)], new=True)
        except (UnavailableError, OutcomeUnknownError):
            assert time.monotonic() - started < WITHIN
            await asyncio.sleep(0.02)
        else:
            return time.monotonic() - started


def master_of(log: EventLog) -> set[int]:
    """The ports that the log's idle connections go to."""
    return {connection.port for connection in log._client._idle}


async def test_the_master_is_written_to_and_not_the_replica(watched, log):
    await asyncio.gather(*(log.append(LogKey.stream(uuid4()), [event()], new=True) for _ in range(10)))
    assert master_of(log) == {watched.servers[0].port}


@pytest.mark.large
async def test_after_a_crash_writes_go_to_the_new_master_without_a_restart(watched, log):
    key = LogKey.stream(uuid4())
    await asyncio.gather(*(log.read(key, count=1) for _ in range(5)))
    watched.servers[0].kill()
    await appended_anew(log, key)
    assert master_of(log) == {watched.servers[1].port}
    assert len(await log.read(key, count=10)) == 1


@pytest.mark.large
async def test_after_a_hang_calls_end_in_time_and_the_silent_server_is_left(watched, log):
    key = LogKey.stream(uuid4())
    await asyncio.gather(*(log.read(key, count=1) for _ in range(5)))
    watched.servers[0].freeze()
    started = time.monotonic()
    with pytest.raises(OutcomeUnknownError, match="within the log's timeout"):
        await log.append(key, [event()], new=True)
    assert time.monotonic() - started < WITHIN
    assert log._client._idle == []
    await appended_anew(log, key)
    assert master_of(log) == {watched.servers[1].port}


@pytest.mark.large
async def test_a_switchover_is_followed_before_the_old_master_knows_of_it(watched, log):
    """It goes on for ten seconds as if it were the master, and then throws away what it took meanwhile."""
    key = LogKey.stream(uuid4())
    await log.append(key, [event()], new=True)
    with watched.servers[0].client() as old:
        old.execute_command("WAIT", 1, 5000)
    with watched.sentinels[0].client() as asked:
        asked.execute_command("SENTINEL", "FAILOVER", watched.service)
    with log.watch.subscribe(key, None) as news:
        await appended_anew(log, key)
        deadline = time.monotonic() + WITHIN
        while master_of(log) != {watched.servers[1].port}:
            assert time.monotonic() < deadline
            await appended_anew(log, key)
            await asyncio.sleep(0.2)
        with watched.servers[0].client() as old:
            assert old.info("replication")["role"] == "master"
        assert await news.take(5)
    assert len(await log.read(key, count=10)) >= 2


async def test_silent_sentinels_cost_nothing_and_one_is_enough(watched):
    async with opened(watched.url, log_timeout=30.0) as log, asyncio.timeout(15):
        with watched.sentinels[0].frozen(), watched.sentinels[1].frozen():
            await log.append(LogKey.stream(uuid4()), [event()], new=True)


@pytest.mark.large
async def test_where_no_sentinel_answers_each_is_named_and_the_call_may_be_repeated(watched, log):
    for sentinel in watched.sentinels:
        sentinel.kill()
    with pytest.raises(UnavailableError, match="the connection was refused") as caught:
        await log.ping()
    assert all(sentinel.place in str(caught.value) for sentinel in watched.sentinels)


async def test_a_name_that_no_sentinel_knows_is_a_matter_of_configuration(watched):
    async with opened(f"redis+sentinel://{watched.places}/another") as log:
        with pytest.raises(ConfigurationError, match="watches no master of the name 'another'"):
            await log.ping()


async def test_a_replica_that_a_sentinel_takes_for_the_master_is_not_used():
    """As right after a failover, where a Sentinel that was away still names the old master."""
    with watched_servers(1) as group, group.servers[0].client() as demoted:
        demoted.replicaof("127.0.0.1", group.servers[1].port)
        async with opened(group.url) as log:
            with pytest.raises(UnavailableError, match="names it as the master, and it is a replica") as caught:
                await log.ping()
        assert group.servers[0].place in str(caught.value)


async def test_passwords_of_the_master_and_of_sentinels_are_two():
    own = (f"requirepass {SECRET}", f"masterauth {SECRET}")
    with watched_servers(1, own, (f"requirepass {WORD}",), word=WORD) as group:
        base = f"redis+sentinel://:{{}}@{group.places}/{group.service}?sentinel_password={{}}"
        async with opened(base.format(SECRET, WORD)) as log:
            await log.append(LogKey.stream(uuid4()), [event()], new=True)
        for words, why in (((SECRET, "x"), "this Sentinel refused"), (("x", WORD), "it refused the user or its pass")):
            async with opened(base.format(*words)) as log:
                with pytest.raises(ConfigurationError, match=why) as caught:
                    await log.ping()
            assert not any(word in str(caught.value) for word in (SECRET, WORD))


async def test_the_check_looks_at_the_master(watched):
    settings = StoreSettings(database_url=NOWHERE, redis_url=watched.url)
    complete, findings = await about_log(settings)
    assert complete
    assert by_name(findings)["log writable"].level is Level.OK


async def test_a_sentinel_that_is_named_as_the_log_is_refused_by_name():
    with closing(RedisOnPort(sentinel=True)) as sentinel:
        async with opened(sentinel.url) as log:
            with pytest.raises(ConfigurationError, match=r"write redis\+sentinel://"):
                await log.ping()


async def test_no_task_and_no_connection_to_a_sentinel_stays(watched, log):
    await asyncio.gather(*(log.ping() for _ in range(10)))
    for sentinel in watched.sentinels:
        deadline = time.monotonic() + WITHIN
        with sentinel.client() as asked:
            # Sentinels keep connections to each other, under names of their own.
            while [one for one in asked.client_list() if one["name"] == "" and one["cmd"].startswith("sentinel|get")]:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.05)
    assert len(asyncio.all_tasks()) <= 2
