"""The session of a request: it takes a connection with its first statement, and is as any other from then on."""

import asyncio
from contextlib import asynccontextmanager, suppress

import pytest
from tortoise.transactions import in_transaction

from tests.support import faults
from tests.support.servers import until
from veupath_store import UnavailableError, UserRepository, async_session_factory, get_db_session, get_engine
from veupath_store.config import CONNECTION
from veupath_store.errors import SwallowedErrorError, UnitOfWorkError
from veupath_store.models import User

deferred = asynccontextmanager(get_db_session)


async def in_use():
    return (await get_engine().open()).usage().in_use


async def test_a_session_without_a_statement_takes_no_connection(store):
    async with deferred() as session:
        await session.commit()
        await session.rollback()
        assert await in_use() == 0
    with pytest.raises(ZeroDivisionError):
        async with deferred():
            raise ZeroDivisionError
    async with deferred() as session:
        await session.client.commit()
        with pytest.raises(UnitOfWorkError):
            await UserRepository(session).create()
    assert await in_use() == 0


async def test_the_first_statement_begins_and_the_end_commits_or_rolls_back(store):
    async with deferred() as session:
        kept = await UserRepository(session).create()
        assert await in_use() == 1
        assert await UserRepository().get_by_id(kept.id) is None
    with pytest.raises(ZeroDivisionError):
        async with deferred() as session:
            await UserRepository(session).create()
            raise ZeroDivisionError
    assert [user.id for user in await User.all()] == [kept.id]
    assert await in_use() == 0


async def test_parts_are_committed_and_undone_as_in_any_session(store):
    async with deferred() as session:
        first = await UserRepository(session).create()
        await session.commit()
        await UserRepository(session).create()
        await session.rollback()
        second = await UserRepository(session).create()
    assert {user.id for user in await User.all()} == {first.id, second.id}


async def test_a_savepoint_may_be_the_first_thing_in_it(store):
    async with deferred() as session:
        with suppress(ZeroDivisionError):
            async with session.savepoint():
                await UserRepository(session).create()
                raise ZeroDivisionError
        async with in_transaction(CONNECTION):
            kept = await User.create()
        await User.create()
    assert await User.filter(id=kept.id).exists()
    assert await User.all().count() == 2
    assert await in_use() == 0


async def test_tasks_that_send_the_first_statement_together_share_one_transaction(store):
    async with deferred() as session:
        await asyncio.gather(*(UserRepository(session).create() for _ in range(10)))
        assert await in_use() == 1
    assert await User.all().count() == 10


@pytest.mark.parametrize("how", ["a full pool", "a cancel"])
async def test_what_could_not_begin_saves_nothing_that_comes_after(settings, store, how):
    pool = await store.open()
    most = pool.settings.pool_max_size
    taken = [await pool.acquire() for _ in range(most)]
    with pytest.raises(SwallowedErrorError):
        async with deferred() as session:
            with suppress(UnavailableError, TimeoutError):
                async with asyncio.timeout(0.05):
                    await UserRepository(session).create()
            for connection in taken:
                await pool.release(connection)
            with pytest.raises(UnavailableError):
                await UserRepository(session).create()
            if how == "a cancel":
                await session.rollback()
                await UserRepository(session).create()
                await session.rollback()
                raise SwallowedErrorError
    assert await User.all().count() == 0
    await faults.assert_pool_complete()


async def test_a_session_that_ends_while_a_task_begins_it_leaves_no_connection_behind(store):
    pool = await store.open()
    taken = [await pool.acquire() for _ in range(pool.settings.pool_max_size)]
    async with deferred() as session:
        late = asyncio.create_task(UserRepository(session).create())
        await asyncio.sleep(0.05)
    for connection in taken:
        await pool.release(connection)
    with pytest.raises(UnitOfWorkError):
        await late
    await faults.assert_pool_complete()
    assert await User.all().count() == 0


async def test_two_hundred_cancels_at_any_moment_leave_the_pool_whole_and_the_rest_saved(store):
    saved = 0

    async def one(patience):
        nonlocal saved
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                async with deferred() as session:
                    await UserRepository(session).create()
                saved += 1

    for number in range(200):
        await one(0.00002 * number)

    async def settled():
        return await in_use() == 0

    await until(settled, 15, "all connections are released")
    assert await User.all().count() >= saved > 0
    await faults.assert_pool_complete()
    async with async_session_factory() as session:
        await UserRepository(session).create()
