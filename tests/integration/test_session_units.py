"""Sessions: those of a block and those of a request, across tasks, and half-way through a long job.

The session of a request takes a connection with its first statement, and is as any other from then on.
"""

import asyncio
import contextvars
from contextlib import asynccontextmanager, suppress

import pytest
from tortoise.transactions import in_transaction

from tests.support import faults
from tests.support.servers import until
from veupath_store import (
    UnavailableError,
    UserRepository,
    async_session_factory,
    close_db,
    get_db_session,
    get_engine,
    init_db,
)
from veupath_store.config import CONNECTION
from veupath_store.errors import SwallowedErrorError, UnitOfWorkError
from veupath_store.models import User

deferred = asynccontextmanager(get_db_session)
either = pytest.mark.parametrize("begin", [async_session_factory, deferred], ids=["of a block", "of a request"])


async def in_use():
    return (await get_engine().open()).usage().in_use


@either
async def test_a_session_commits_when_the_block_ends_and_not_before(store, watcher, begin):
    async with begin() as session:
        await UserRepository(session).create("kept")
        assert await faults.logins(watcher) == []
        assert await in_use() == 1
    assert await faults.logins(watcher) == ["kept"]
    assert await in_use() == 0


@either
async def test_a_session_rolls_back_when_the_block_raises_or_is_cancelled(store, watcher, begin):
    for error in (LookupError(), asyncio.CancelledError(), KeyboardInterrupt(), GeneratorExit()):
        with pytest.raises(type(error)):
            async with begin() as session:
                await UserRepository(session).create("undone")
                raise error
    await User.create(external_id="after")
    assert await faults.logins(watcher) == ["after"]
    await faults.assert_pool_complete()


@either
async def test_a_session_used_after_its_end_is_refused(store, watcher, begin):
    async with begin() as session:
        await UserRepository(session).create("kept")
    for use in (UserRepository(session).create, session.commit, session.rollback):
        with pytest.raises(UnitOfWorkError, match="has ended"):
            await use()
    with pytest.raises(UnitOfWorkError, match="has ended"):
        async with session.savepoint():
            await UserRepository(session).create("saved by nobody's COMMIT")
    assert await faults.logins(watcher) == ["kept"]


@either
async def test_a_commit_half_way_stays_when_the_rest_fails(store, watcher, begin):
    with pytest.raises(LookupError):
        async with begin() as session:
            await UserRepository(session).create("kept")
            await session.commit()
            assert await faults.logins(watcher) == ["kept"]
            await UserRepository(session).create("undone")
            raise LookupError
    assert await faults.logins(watcher) == ["kept"]


@either
async def test_a_rollback_half_way_undoes_up_to_the_last_commit_and_the_session_goes_on(store, watcher, begin):
    async with begin() as session:
        await UserRepository(session).create("kept")
        await session.commit()
        await UserRepository(session).create("undone")
        await session.rollback()
        await UserRepository(session).create("kept too")
    assert await faults.logins(watcher) == ["kept", "kept too"]


@either
async def test_half_way_commits_and_rollbacks_inside_a_savepoint_are_refused(store, watcher, begin):
    async with begin() as session:
        async with session.savepoint():
            for use in (session.commit, session.rollback):
                with pytest.raises(UnitOfWorkError, match="Leave the savepoint"):
                    await use()
            await UserRepository(session).create("kept")
        await session.commit()
    assert await faults.logins(watcher) == ["kept"]


@either
async def test_statements_of_ten_tasks_in_one_session_take_turns_in_one_transaction(store, watcher, begin):
    async with begin() as session:
        await asyncio.gather(*(UserRepository(session).create(f"{number}") for number in range(10)))
        assert await in_use() == 1
    assert len(await faults.logins(watcher)) == 10


async def _finish(dependency) -> None:
    with pytest.raises(StopAsyncIteration):
        await anext(dependency)
    await User.create(external_id="in the task that finished it")


@pytest.mark.parametrize("inherits", [True, False])
async def test_get_db_session_may_be_finished_in_another_task_than_it_began_in(store, watcher, inherits):
    clean = contextvars.copy_context()
    dependency = get_db_session()
    await UserRepository(await anext(dependency)).create("kept")
    await asyncio.create_task(_finish(dependency), context=None if inherits else clean)
    assert await faults.logins(watcher) == ["in the task that finished it", "kept"]
    # Here the transaction still is current. It says so; the store's own calls do not care.
    with pytest.raises(UnitOfWorkError, match="has ended"):
        await User.create(external_id="joins what has ended")
    await UserRepository().create("a repository")
    async with async_session_factory() as session:
        await UserRepository(session).create("a session")
    assert len(await faults.logins(watcher)) == 4
    await faults.assert_pool_complete()


async def test_get_db_session_that_nobody_finishes_is_rolled_back_by_the_loop(settings):
    """As asyncio.run does at its end."""

    async def forgetful() -> None:
        engine = await init_db(settings=settings)
        dependency = get_db_session()
        await UserRepository(await anext(dependency)).create("undone")
        await asyncio.get_running_loop().shutdown_asyncgens()
        await faults.assert_pool_complete()
        assert not await User.filter(external_id="undone").using_db(await engine.open()).exists()
        await close_db()

    await asyncio.to_thread(asyncio.run, forgetful())


async def test_a_session_entered_in_one_task_may_be_left_in_another(store, watcher):
    unit = async_session_factory()
    session = await asyncio.create_task(unit.__aenter__())
    await UserRepository(session).create("kept")
    await User.create(external_id="here it is not current")
    await asyncio.create_task(unit.__aexit__(None, None, None))
    await User.create(external_id="after")
    assert await faults.logins(watcher) == ["after", "here it is not current", "kept"]
    await faults.assert_pool_complete()


# The session of a request before its first statement, and in it.


async def test_a_session_without_a_statement_takes_no_connection_and_its_transaction_may_be_ended(store):
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
    async with deferred() as session:
        await UserRepository(session).create("undone")
        await session.client.rollback()
    assert await User.all().count() == 0
    assert await in_use() == 0


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


@pytest.mark.parametrize("how", ["a full pool", "a cancel"])
async def test_what_could_not_begin_saves_nothing_that_comes_after(store, how):
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

    pool = await store.open()
    await until(lambda: pool.usage().in_use == 0, 15, "all connections are released")
    assert await User.all().count() >= saved > 0
    await faults.assert_pool_complete()
    async with async_session_factory() as session:
        await UserRepository(session).create()
