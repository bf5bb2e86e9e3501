"""Backends that are killed or freeze, servers that go down: nothing acknowledged is lost, no task stays broken."""

import asyncio
import contextlib
import time
from collections import Counter
from uuid import uuid4

import pytest

from tests.support import faults
from tests.support.databases import connected
from tests.support.opened import opened
from tests.support.servers import until
from tests.support.writers import Ledger, write_until
from veupath_store import UserRepository, async_session_factory
from veupath_store.errors import UnavailableError
from veupath_store.session import get_engine

WRITERS = 64


@pytest.fixture
async def private_watcher(private_url):
    async with connected(private_url) as connection:
        yield connection


@pytest.fixture
async def private_store(private_url):
    async with opened(private_url) as client:
        yield client


@pytest.fixture
async def pool_of_4(private_url):
    async with opened(private_url, pool_max_size=4, acquire_timeout=1.5) as client:
        yield client


class Writers:
    def __init__(self) -> None:
        self.ledger, self._stop = Ledger(), asyncio.Event()

    async def __aenter__(self) -> "Writers":
        self._tasks = [asyncio.create_task(write_until(self._stop, n, self.ledger)) for n in range(WRITERS)]
        await self.all_write(within=20)
        return self

    async def __aexit__(self, *error: object) -> None:
        self._stop.set()
        async with asyncio.timeout(20):
            await asyncio.gather(*self._tasks)

    async def all_write(self, within: float) -> None:
        """Wait until each of them has written something again."""
        since = time.monotonic()
        await until(lambda: self.ledger.alive_since(since) == WRITERS, within, f"all {WRITERS} writers write")


@pytest.mark.large
async def test_killed_backends_lose_no_acknowledged_write_of_64_writers(store, watcher):
    async with Writers() as writers:
        killed = 0
        for _ in range(25):
            killed += await faults.kill_backends(watcher)
            await asyncio.sleep(0.06)
        await writers.all_write(within=20)
    assert killed >= 100
    assert writers.ledger.refused, "no writer was told to try again: nothing was tested"
    await writers.ledger.assert_true(watcher)
    await faults.assert_pool_complete()


async def test_an_immediate_restart_loses_no_acknowledged_write_and_the_first_write_follows_in_seconds(
    private_store, private_server, private_url
):
    async with Writers() as writers:
        await asyncio.to_thread(private_server.crash)
        down = time.monotonic()
        await asyncio.to_thread(private_server.start)
        accepting = time.monotonic()
        left = 15 - (time.monotonic() - accepting)
        await until(lambda: writers.ledger.alive_since(down), within=left, what="the first write after the restart")
        await writers.all_write(within=20)
    async with connected(private_url) as connection:
        await writers.ledger.assert_true(connection)
    assert writers.ledger.refused
    await faults.assert_pool_complete()


async def _outcomes(waiters: list, within: float) -> Counter[str]:
    async with asyncio.timeout(within):
        results = await asyncio.gather(*waiters, return_exceptions=True)
    return Counter("ok" if not isinstance(result, BaseException) else type(result).__name__ for result in results)


async def _brief_unit() -> None:
    async with async_session_factory() as session:
        await session.client.execute_rows("SELECT pg_sleep(0.02)")


async def test_100_waiters_on_a_pool_of_4_proceed_when_its_backends_are_killed(pool_of_4, private_watcher):
    waiters = [asyncio.create_task(_brief_unit()) for _ in range(100)]
    await asyncio.sleep(0.1)
    await faults.kill_backends(private_watcher)
    outcomes = await _outcomes(waiters, within=15)
    assert set(outcomes) <= {"ok", "UnavailableError", "OutcomeUnknownError"}
    assert 90 <= outcomes["ok"] < 100


async def test_100_waiters_on_a_pool_of_4_fail_in_time_when_its_backends_are_frozen(pool_of_4, private_watcher):
    await faults.acquire_all(pool_of_4)
    with faults.frozen(await faults.pids(private_watcher)):
        holders = [asyncio.create_task(_brief_unit()) for _ in range(4)]
        await asyncio.sleep(0.05)
        outcomes = await _outcomes([_brief_unit() for _ in range(100)], within=10)
        for holder in holders:
            holder.cancel()
        await asyncio.wait(holders)
    assert outcomes == {"UnavailableError": 100}
    assert await _outcomes([_brief_unit() for _ in range(100)], within=20) == {"ok": 100}


async def test_100_waiters_on_a_pool_of_4_fail_in_time_when_the_server_is_down(pool_of_4, private_server):
    await asyncio.to_thread(private_server.crash)
    try:
        outcomes = await _outcomes([_brief_unit() for _ in range(100)], within=10)
    finally:
        await asyncio.to_thread(private_server.start)
    assert outcomes == {"UnavailableError": 100}
    assert await _outcomes([_brief_unit() for _ in range(100)], within=20) == {"ok": 100}


# Backends that are alive and do nothing: their tasks can be cancelled, and the pool gets its connections back.


async def _in_autocommit(started: asyncio.Event) -> None:
    client = await get_engine().open()
    started.set()
    await client.execute_rows("SELECT pg_sleep(30)")


async def _in_transaction(started: asyncio.Event) -> None:
    async with async_session_factory() as session:
        await UserRepository(session).create()
        started.set()
        await session.client.execute_rows("SELECT pg_sleep(30)")


async def _in_savepoint(started: asyncio.Event) -> None:
    async with async_session_factory() as session, session.savepoint():
        await UserRepository(session).create()
        started.set()
        await session.client.execute_rows("SELECT pg_sleep(30)")


async def _between_statements(started: asyncio.Event) -> None:
    async with async_session_factory() as session:
        await UserRepository(session).create()
        started.set()
        await asyncio.sleep(30)


@pytest.mark.large
@pytest.mark.parametrize("work", [_in_autocommit, _in_transaction, _in_savepoint, _between_statements])
async def test_tasks_on_frozen_backends_are_cancelled_within_a_second(work, private_store, private_watcher):
    started = [asyncio.Event() for _ in range(private_store.settings.pool_max_size)]
    tasks = [asyncio.create_task(work(event)) for event in started]
    for event in started:
        await event.wait()
    await asyncio.sleep(0.05)

    with faults.frozen(await faults.pids(private_watcher)):
        for task in tasks:
            task.cancel()
        async with asyncio.timeout(10):
            await asyncio.wait(tasks)
            await faults.acquire_all(private_store)
        assert all(task.cancelled() for task in tasks)

    await faults.nobody_in_transaction(private_watcher)
    assert await private_watcher.fetchval("SELECT count(*) FROM users") == 0
    for _ in range(100):
        await UserRepository().get_or_create(uuid4())


@pytest.mark.large
async def test_a_commit_on_a_frozen_backend_is_cancelled_within_a_second(private_store, private_watcher):
    ready, go = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        async with async_session_factory() as session:
            await UserRepository(session).create()
            ready.set()
            await go.wait()

    task = asyncio.create_task(work())
    await ready.wait()
    with faults.frozen(await faults.pids(private_watcher)):
        go.set()
        await asyncio.sleep(0.05)
        task.cancel()
        async with asyncio.timeout(10):
            await asyncio.wait([task])
            await faults.acquire_all(private_store)
    await faults.nobody_in_transaction(private_watcher)


@pytest.mark.large
async def test_a_savepoint_that_cannot_be_undone_loses_the_whole_transaction(private_store, private_watcher):
    with contextlib.ExitStack() as stack, pytest.raises(UnavailableError):
        async with async_session_factory() as session:
            await UserRepository(session).create()
            with contextlib.suppress(LookupError):
                async with session.savepoint():
                    await UserRepository(session).create()
                    stack.enter_context(faults.frozen(await faults.pids(private_watcher)))
                    raise LookupError
    await faults.nobody_in_transaction(private_watcher)
    assert await private_watcher.fetchval("SELECT count(*) FROM users") == 0
