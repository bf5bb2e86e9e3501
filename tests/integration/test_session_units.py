"""Sessions as dependencies, across tasks, and half-way through a long job."""

import asyncio
import contextvars

import pytest

from tests.support import faults
from veupath_store import UserRepository, async_session_factory, get_db_session
from veupath_store.errors import UnitOfWorkError
from veupath_store.models import User


async def test_a_session_commits_when_the_block_ends_and_not_before(store, watcher):
    async with async_session_factory() as session:
        await UserRepository(session).create("kept")
        assert await faults.logins(watcher) == []
    assert await faults.logins(watcher) == ["kept"]


async def test_a_session_rolls_back_when_the_block_raises_or_is_cancelled(store, watcher):
    async def work(error: BaseException) -> None:
        async with async_session_factory() as session:
            await UserRepository(session).create("undone")
            raise error

    for error in (LookupError(), asyncio.CancelledError(), KeyboardInterrupt(), GeneratorExit()):
        with pytest.raises(type(error)):
            await work(error)
    assert await faults.logins(watcher) == []
    await faults.assert_pool_complete()


async def test_get_db_session_commits_when_it_is_exhausted(store, watcher):
    async for session in get_db_session():
        await UserRepository(session).create("kept")
    assert await faults.logins(watcher) == ["kept"]


async def test_get_db_session_rolls_back_when_an_error_is_thrown_in_or_it_is_closed(store, watcher):
    thrown = get_db_session()
    await UserRepository(await anext(thrown)).create("undone")
    with pytest.raises(LookupError):
        await thrown.athrow(LookupError())
    closed = get_db_session()
    await UserRepository(await anext(closed)).create("undone too")
    await closed.aclose()
    await User.create(external_id="after")
    assert await faults.logins(watcher) == ["after"]
    await faults.assert_pool_complete()


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
    from veupath_store import close_db, init_db

    async def forgetful() -> None:
        await init_db(settings=settings)
        dependency = get_db_session()
        await UserRepository(await anext(dependency)).create("undone")
        await asyncio.get_running_loop().shutdown_asyncgens()
        await faults.assert_pool_complete()
        assert not await User.filter(external_id="undone").using_db(await _pool()).exists()
        await close_db()

    await asyncio.to_thread(asyncio.run, forgetful())


async def _pool():
    from veupath_store import get_engine

    return await get_engine().open()


async def test_a_session_entered_in_one_task_may_be_left_in_another(store, watcher):
    unit = async_session_factory()
    session = await asyncio.create_task(unit.__aenter__())
    await UserRepository(session).create("kept")
    await User.create(external_id="here it is not current")
    await asyncio.create_task(unit.__aexit__(None, None, None))
    await User.create(external_id="after")
    assert await faults.logins(watcher) == ["after", "here it is not current", "kept"]
    await faults.assert_pool_complete()


async def test_a_session_used_after_its_end_is_refused(store, watcher):
    async with async_session_factory() as session:
        await UserRepository(session).create("kept")
    for use in (UserRepository(session).create, session.commit, session.rollback):
        with pytest.raises(UnitOfWorkError, match="has ended"):
            await use()
    assert await faults.logins(watcher) == ["kept"]


async def test_a_commit_half_way_stays_when_the_rest_fails(store, watcher):
    with pytest.raises(LookupError):
        async with async_session_factory() as session:
            await UserRepository(session).create("kept")
            await session.commit()
            assert await faults.logins(watcher) == ["kept"]
            await UserRepository(session).create("undone")
            raise LookupError
    assert await faults.logins(watcher) == ["kept"]


async def test_a_rollback_half_way_undoes_up_to_the_last_commit_and_the_session_goes_on(store, watcher):
    async with async_session_factory() as session:
        await UserRepository(session).create("kept")
        await session.commit()
        await UserRepository(session).create("undone")
        await session.rollback()
        await UserRepository(session).create("kept too")
    assert await faults.logins(watcher) == ["kept", "kept too"]


async def test_half_way_commits_and_rollbacks_inside_a_savepoint_are_refused(store, watcher):
    async with async_session_factory() as session:
        async with session.savepoint():
            for use in (session.commit, session.rollback):
                with pytest.raises(UnitOfWorkError, match="Leave the savepoint"):
                    await use()
            await UserRepository(session).create("kept")
        await session.commit()
    assert await faults.logins(watcher) == ["kept"]
