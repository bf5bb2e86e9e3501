"""Backends that are alive and do nothing: their tasks can be cancelled, and the pool gets its connections back."""

import asyncio
import contextlib
from uuid import uuid4

import pytest

from tests.support import faults
from veupath_store import StoreSettings, UserRepository, async_session_factory, close_db, init_db
from veupath_store.errors import UnavailableError
from veupath_store.session import get_engine

pytestmark = pytest.mark.large

POOL = 4


@pytest.fixture
async def watcher(private_url):
    connection = await faults.watcher(private_url)
    yield connection
    await connection.close()


@pytest.fixture
async def frozen_store(private_url):
    yield await init_db(settings=StoreSettings(database_url=private_url, pool_max_size=POOL))
    await close_db()


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


@pytest.mark.parametrize("work", [_in_autocommit, _in_transaction, _in_savepoint, _between_statements])
async def test_tasks_on_frozen_backends_are_cancelled_within_a_second(work, frozen_store, watcher):
    started = [asyncio.Event() for _ in range(POOL)]
    tasks = [asyncio.create_task(work(event)) for event in started]
    for event in started:
        await event.wait()
    await asyncio.sleep(0.05)

    with faults.frozen(await faults.pids(watcher)):
        for task in tasks:
            task.cancel()
        async with asyncio.timeout(10):
            await asyncio.wait(tasks)
            await faults.acquire_all(await frozen_store.open())
        assert all(task.cancelled() for task in tasks)

    await faults.nobody_in_transaction(watcher)
    assert await watcher.fetchval("SELECT count(*) FROM users") == 0
    for _ in range(100):
        await UserRepository().get_or_create(uuid4())


async def test_a_commit_on_a_frozen_backend_is_cancelled_within_a_second(frozen_store, watcher):
    async def work(ready: asyncio.Event, frozen: asyncio.Event) -> None:
        async with async_session_factory() as session:
            await UserRepository(session).create()
            ready.set()
            await frozen.wait()

    ready, go = asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(work(ready, go))
    await ready.wait()
    with faults.frozen(await faults.pids(watcher)):
        go.set()
        await asyncio.sleep(0.05)
        task.cancel()
        async with asyncio.timeout(10):
            await asyncio.wait([task])
            await faults.acquire_all(await frozen_store.open())
    await faults.nobody_in_transaction(watcher)


async def test_a_savepoint_that_cannot_be_undone_loses_the_whole_transaction(frozen_store, watcher):
    async def work() -> None:
        async with async_session_factory() as session:
            await UserRepository(session).create()
            with contextlib.suppress(LookupError):
                async with session.savepoint():
                    await UserRepository(session).create()
                    stack.enter_context(faults.frozen(await faults.pids(watcher)))
                    raise LookupError

    with contextlib.ExitStack() as stack, pytest.raises(UnavailableError):
        await work()
    await faults.nobody_in_transaction(watcher)
    assert await watcher.fetchval("SELECT count(*) FROM users") == 0
