"""Tasks and units of work: what a child inherits, and how it does not."""

import asyncio
from contextlib import asynccontextmanager, nullcontext, suppress
from functools import partial

import pytest
from tortoise.transactions import in_transaction

from tests.support import faults
from veupath_store import UserRepository, async_session_factory, start_detached
from veupath_store.errors import UnitOfWorkError
from veupath_store.models import User


async def _create(login: str, when: asyncio.Event | None = None) -> None:
    if when is not None:
        await when.wait()
    await User.create(external_id=login)


@asynccontextmanager
async def in_a_savepoint():
    async with async_session_factory() as session, session.savepoint():
        yield


@pytest.mark.parametrize("around", [nullcontext, partial(in_transaction, "default"), in_a_savepoint])
async def test_a_detached_task_s_queries_run_on_the_pool_whatever_is_open(store, watcher, around):
    with suppress(LookupError):
        async with around():
            await start_detached(_create("detached"), name="a name for logs")
            assert await faults.logins(watcher) == ["detached"]
            if around is not nullcontext:
                await User.create(external_id="undone, as its parent stays in the transaction")
            raise LookupError
    assert await faults.logins(watcher) == ["detached"]


async def test_a_detached_task_goes_on_after_the_transaction_has_ended(store, watcher):
    ended = asyncio.Event()
    async with async_session_factory(), async_session_factory() as session:
        task = start_detached(_create("detached", ended))
        await UserRepository(session).create("in the session")
    ended.set()
    await task
    assert await watcher.fetchval("SELECT count(*) FROM users") == 2


async def test_a_child_task_takes_part_in_the_transaction_while_it_is_open(store, watcher):
    with pytest.raises(LookupError):
        async with in_transaction("default"):
            await asyncio.create_task(_create("child"))
            raise LookupError
    assert await watcher.fetchval("SELECT count(*) FROM users") == 0


async def test_a_child_task_that_outlives_its_transaction_is_told_what_to_do(store, watcher):
    ended = asyncio.Event()
    async with in_transaction("default"):
        child = asyncio.create_task(_create("child", ended))
        await asyncio.sleep(0)
    ended.set()
    with pytest.raises(UnitOfWorkError, match="start_detached"):
        await child
    assert await watcher.fetchval("SELECT count(*) FROM users") == 0


async def test_a_child_task_that_outlives_its_transaction_can_open_its_own(store, watcher):
    ended = asyncio.Event()

    async def work() -> None:
        await ended.wait()
        async with in_transaction("default"):
            await User.create(external_id="plain Tortoise")
            async with in_transaction("default"):
                await User.create(external_id="in a savepoint")
        async with async_session_factory() as session:
            await UserRepository(session).create("in a session")
        await UserRepository().create("in autocommit")

    async with in_transaction("default"):
        child = asyncio.create_task(work())
        await asyncio.sleep(0)
    ended.set()
    await child
    assert await watcher.fetchval("SELECT count(*) FROM users") == 4
    await faults.assert_pool_complete()


async def test_nested_session_factories_are_independent(store, watcher):
    with pytest.raises(LookupError):
        async with async_session_factory() as outer:
            await UserRepository(outer).create("undone")
            async with async_session_factory() as inner:
                await UserRepository(inner).create("kept")
                assert await UserRepository(inner).get_or_create_by_external_id("also kept")
            await User.create(external_id="undone, by the ambient transaction")
            raise LookupError
    assert await faults.logins(watcher) == ["also kept", "kept"]


async def test_a_unit_of_work_under_wait_for_keeps_to_itself(store, watcher):
    async def work() -> None:
        async with async_session_factory() as session:
            await UserRepository(session).create("under wait_for")

    await asyncio.wait_for(work(), 20)
    await User.create(external_id="after")
    assert await watcher.fetchval("SELECT count(*) FROM users") == 2
