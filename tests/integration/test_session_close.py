"""Closing with work in flight: it drains, refuses what is new, and ends in time."""

import asyncio
import time
from collections import Counter

import pytest

from tests.support import faults
from tests.support.servers import until
from veupath_store import (
    OperationRepository,
    StoreSettings,
    StreamRepository,
    UserRepository,
    async_session_factory,
    close_db,
    init_db,
)
from veupath_store.engine.announcing import ANNOUNCE_TASK
from veupath_store.errors import OutcomeUnknownError, StoreClosedError, UnavailableError


@pytest.fixture(autouse=True)
async def closed_afterwards():
    yield
    await close_db()


async def _saves(login: str, *, first: object = None, seconds: float = 0) -> None:
    """A unit of work that waits for something, and then for the server, before it writes."""
    async with async_session_factory() as session:
        if first is not None:
            await first
        await session.client.execute_rows(f"SELECT pg_sleep({seconds})")
        await UserRepository(session).create(login)


async def _begun(*works) -> list[asyncio.Task]:
    tasks = [asyncio.create_task(work) for work in works]
    await asyncio.sleep(0.05)
    return tasks


async def test_close_db_lets_work_in_flight_commit_and_refuses_new_work(settings, watcher):
    await init_db(settings=settings)
    begun, finish = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        async with async_session_factory() as session:
            user = await UserRepository(session).create()
            begun.set()
            await finish.wait()
            async with session.savepoint():
                await StreamRepository(session).create(user.id, "plasmodb")

    task = asyncio.create_task(work())
    await begun.wait()
    [closing] = await _begun(close_db())
    with pytest.raises(StoreClosedError):
        async_session_factory()
    with pytest.raises(StoreClosedError):
        await UserRepository().create()
    assert not closing.done()
    finish.set()
    await asyncio.gather(task, closing)
    assert await watcher.fetchval("SELECT count(*) FROM streams") == 1
    await faults.nobody_connected(watcher)


async def test_concurrent_close_db_calls_all_wait_for_the_end(settings, watcher):
    await init_db(settings=settings)
    [task] = await _begun(_saves("kept", seconds=0.2))
    await asyncio.gather(*(close_db() for _ in range(5)))
    assert task.done()
    assert await faults.logins(watcher) == ["kept"]
    await faults.nobody_connected(watcher)


async def test_what_waits_for_a_connection_when_closing_begins_is_refused_not_cut_off(database_url, watcher):
    engine = await init_db(settings=StoreSettings(database_url=database_url, pool_max_size=2))
    await faults.acquire_all(await engine.open())
    tasks = await _begun(*(_saves(f"{number}", seconds=0.1) for number in range(50)))
    await close_db()
    outcomes = Counter(type(error) for error in await asyncio.gather(*tasks, return_exceptions=True))
    assert outcomes == {type(None): 2, StoreClosedError: 48}
    assert len(await faults.logins(watcher)) == 2
    await faults.nobody_connected(watcher)


@pytest.mark.parametrize("busy", [True, False])
async def test_work_that_is_longer_than_the_close_timeout_is_cut_off_in_time(database_url, watcher, busy):
    await init_db(settings=StoreSettings(database_url=database_url, close_timeout=0.3))

    async def work() -> None:
        async with async_session_factory() as session:
            await UserRepository(session).create("lost")
            if busy:
                await session.client.execute_rows("SELECT pg_sleep(30)")
            else:
                await asyncio.sleep(0.6)
                await UserRepository(session).create("late")

    [task] = await _begun(work())
    started = time.monotonic()
    await close_db()
    assert 0.2 < time.monotonic() - started < 15
    with pytest.raises(UnavailableError):
        await task
    assert await faults.logins(watcher) == []


async def test_a_commit_that_is_cut_off_is_an_unknown_outcome(database_url, watcher):
    await faults.check_at_commit(watcher)
    await init_db(settings=StoreSettings(database_url=database_url, close_timeout=0.2))
    [task] = await _begun(_saves("slow"))
    await until(lambda: faults.committing(watcher), within=15, what="COMMIT is under way")
    await close_db()
    with pytest.raises(OutcomeUnknownError):
        await task


async def test_close_db_inside_a_session_ends_in_time_and_closes_the_store(database_url, watcher):
    await init_db(settings=StoreSettings(database_url=database_url, close_timeout=0.2))
    with pytest.raises(UnavailableError):
        async with async_session_factory() as session:
            await UserRepository(session).create("lost")
            await close_db()
    await faults.nobody_connected(watcher)
    assert await faults.logins(watcher) == []


async def test_init_db_while_the_store_is_closing_waits_and_opens_it_again(settings, watcher):
    before = await init_db(settings=settings)
    [task] = await _begun(_saves("kept", seconds=0.2))
    closing = asyncio.create_task(close_db())
    await asyncio.sleep(0)
    after = await init_db(settings=settings)
    await asyncio.gather(task, closing)
    assert after is not before
    await UserRepository().create("kept too")
    assert await faults.logins(watcher) == ["kept", "kept too"]


async def test_close_db_while_the_first_connection_is_made_leaves_nothing_open(silent):
    url = f"postgresql://127.0.0.1:{silent}/store"
    [opening] = await _begun(init_db(settings=StoreSettings(database_url=url, connect_timeout=30)))
    async with asyncio.timeout(10):
        await close_db()
        with pytest.raises(StoreClosedError):
            await opening


async def test_what_the_store_does_by_itself_has_ended_when_it_is_closed(settings, watcher):
    for pause in range(10):
        await init_db(settings=settings)
        user = await UserRepository().create()
        await OperationRepository().register(user.id, "batch")  # announced to workers, on a connection that is opened
        await asyncio.sleep(pause / 1_000)
        await close_db()
        assert ANNOUNCE_TASK not in {task.get_name() for task in asyncio.all_tasks()}
        await faults.nobody_connected(watcher)


async def test_a_cancelled_close_db_still_closes(settings, watcher):
    await init_db(settings=settings)
    cancelled = asyncio.Event()
    [task] = await _begun(_saves("lost", first=cancelled.wait()))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await close_db()
    await faults.nobody_connected(watcher)
    cancelled.set()
    with pytest.raises(UnavailableError):
        await task
    await init_db(settings=settings)
    assert await faults.logins(watcher) == []


async def test_close_db_may_be_cancelled_at_any_point(settings, watcher):
    for steps in range(12):
        await init_db(settings=settings)
        user = await UserRepository().create()
        await OperationRepository().register(user.id, "batch")  # its announcement is under way
        closing = asyncio.create_task(close_db())
        for _ in range(steps):
            await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait([closing])
        await close_db()
        await faults.nobody_connected(watcher)
