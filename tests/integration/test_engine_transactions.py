"""Transactions, savepoints and tasks: one named test for each trap that the engine works around."""

import asyncio
import contextlib
import contextvars
from contextlib import asynccontextmanager, nullcontext, suppress

import pytest
from tortoise.transactions import in_transaction

from tests.support import faults
from tests.support.servers import until
from veupath_store import UserRepository, async_session_factory, start_detached
from veupath_store.errors import (
    ConflictError,
    OutcomeUnknownError,
    SwallowedErrorError,
    UnavailableError,
    UnitOfWorkError,
)
from veupath_store.models import User

SLOW_BEGIN = "BEGIN; SELECT pg_sleep(30)"


def of_tortoise():
    return in_transaction("default")


@pytest.fixture
async def slow_begin(store, monkeypatch):
    """Transactions whose BEGIN is under way for as long as the block lasts."""
    client = await store.open()

    @contextlib.contextmanager
    def during():
        with monkeypatch.context() as patch:
            patch.setattr(client, "begin_sql", SLOW_BEGIN)
            yield

    return during


async def test_a_cancelled_begin_returns_its_connection(store, slow_begin, watcher):
    async def work() -> None:
        async with in_transaction("default"):
            raise AssertionError("it has begun")

    async def all_sleep() -> bool:
        slow = await watcher.fetchval("SELECT count(*) FROM pg_stat_activity WHERE query = $1", SLOW_BEGIN)
        return slow == len(tasks)

    with slow_begin():
        tasks = [asyncio.create_task(work()) for _ in range(store.settings.pool_max_size)]
        await until(all_sleep, within=15, what="every BEGIN is under way")
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    assert all(task.cancelled() for task in tasks)
    await faults.assert_pool_complete()
    assert await faults.idle_in_transaction(watcher) == 0


async def test_a_create_after_a_begin_that_timed_out_is_committed(store, slow_begin, watcher):
    with slow_begin(), pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1), in_transaction("default"):
            raise AssertionError("it has begun")
    await User.create(external_id="after")
    assert await faults.logins(watcher) == ["after"]


@pytest.mark.parametrize(("login", "seconds", "error"), [("refused", None, ConflictError), ("slow", 0.1, TimeoutError)])
async def test_a_task_whose_commit_failed_or_was_cancelled_goes_on_with_the_pool(store, watcher, login, seconds, error):
    await faults.check_at_commit(watcher)
    with pytest.raises(error):
        async with asyncio.timeout(seconds), in_transaction("default"):
            await User.create(external_id=login)
    await User.create(external_id="after")
    assert await faults.logins(watcher) == ["after"]


async def test_a_transaction_is_withdrawn_before_it_is_committed(store, watcher):
    """Whatever runs in the same context while COMMIT is under way must not join the transaction that ends."""
    await faults.check_at_commit(watcher)
    context = contextvars.copy_context()

    async def work() -> None:
        transaction = in_transaction("default")
        await transaction.__aenter__()
        await User.create(external_id="slow")
        ending = asyncio.create_task(transaction.__aexit__(None, None, None), context=context)
        await until(lambda: faults.committing(watcher), within=15, what="COMMIT is under way")
        await User.create(external_id="meanwhile")
        ending.cancel()
        await asyncio.wait([ending])

    await asyncio.create_task(work(), context=context)
    assert await faults.logins(watcher) == ["meanwhile"]


async def test_a_rollback_on_a_dead_connection_does_not_hide_the_error_of_the_block(store, watcher):
    with pytest.raises(LookupError):
        async with async_session_factory() as session:
            await UserRepository(session).create("lost")
            await faults.kill_backends(watcher)
            raise LookupError
    assert await faults.logins(watcher) == []
    await faults.assert_pool_complete()


@pytest.mark.parametrize("begin", [async_session_factory, of_tortoise])
async def test_a_swallowed_error_makes_a_transaction_raise_instead_of_committing_nothing(user, watcher, begin):
    with pytest.raises(SwallowedErrorError, match="savepoint"):
        async with begin():
            await User.create(external_id="before")
            with contextlib.suppress(ConflictError):
                await User.create(id=user.id)
    assert await faults.logins(watcher) == [None]


async def test_a_swallowed_error_makes_half_way_commits_raise(user, watcher):
    async with async_session_factory() as session:
        await UserRepository(session).create("lost")
        with contextlib.suppress(ConflictError):
            await User.create(id=user.id, using_db=session.client)
        with pytest.raises(SwallowedErrorError):
            await session.commit()
        await UserRepository(session).create("kept")
    assert await faults.logins(watcher) == ["kept", None]


@pytest.mark.parametrize("swallowed", [False, True])
async def test_an_error_inside_a_savepoint_undoes_the_savepoint_only_and_is_raised(user, watcher, swallowed):
    async with async_session_factory() as session:
        await UserRepository(session).create("before")
        with pytest.raises(SwallowedErrorError if swallowed else ConflictError) as caught:
            async with session.savepoint():
                await UserRepository(session).create("undone")
                with contextlib.suppress(ConflictError if swallowed else ()):
                    await User.create(id=user.id, using_db=session.client)
        assert not swallowed or "Nothing of this savepoint" in str(caught.value)
        await UserRepository(session).create("after")
    assert await faults.logins(watcher) == ["after", "before", None]


async def test_a_timeout_inside_a_savepoint_undoes_the_savepoint_only(store, watcher):
    async with async_session_factory() as session:
        await UserRepository(session).create("before")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1), session.savepoint():
                await UserRepository(session).create("undone")
                await session.client.execute_rows("SELECT pg_sleep(30)")
        await UserRepository(session).create("after")
    assert await faults.logins(watcher) == ["after", "before"]


@pytest.mark.parametrize("plain", [False, True])
async def test_savepoints_nest(store, watcher, plain):
    async with async_session_factory() as session:
        savepoint = of_tortoise if plain else session.savepoint
        async with savepoint():
            await User.create(external_id="outer")
            with contextlib.suppress(LookupError):
                async with savepoint():
                    await User.create(external_id="inner")
                    raise LookupError
            async with savepoint():
                await User.create(external_id="second")
        with contextlib.suppress(LookupError):
            async with savepoint():
                async with savepoint():
                    await User.create(external_id="kept inside, undone around")
                raise LookupError
    assert await faults.logins(watcher) == ["outer", "second"]


async def test_savepoints_of_two_tasks_in_one_session_are_refused(store, watcher):
    async def item(session, login: str) -> None:
        async with session.savepoint():
            await UserRepository(session).create(login)
            await asyncio.sleep(0.05)

    with pytest.raises(UnitOfWorkError, match="belongs to one task"):
        async with async_session_factory() as session:
            await asyncio.gather(item(session, "one"), item(session, "two"))
    assert await faults.logins(watcher) == []
    await faults.assert_pool_complete()


async def test_a_dead_connection_makes_the_whole_transaction_unavailable_not_half_of_it(store, watcher):
    with pytest.raises(UnavailableError):
        async with async_session_factory() as session:
            await UserRepository(session).create("before")
            with contextlib.suppress(UnavailableError):
                async with session.savepoint():
                    await UserRepository(session).create("inside")
                    await faults.kill_backends(watcher)
                    await UserRepository(session).create("killed")
            await UserRepository(session).create("after")
    assert await faults.logins(watcher) == []


async def test_a_connection_killed_before_commit_is_unavailable(store, watcher):
    with pytest.raises(UnavailableError, match="before COMMIT"):
        async with async_session_factory() as session:
            await UserRepository(session).create("lost")
            await faults.kill_backends(watcher)
            await asyncio.sleep(0.1)
    assert await faults.logins(watcher) == []


async def test_a_connection_killed_during_commit_is_an_unknown_outcome(store, watcher):
    await faults.check_at_commit(watcher)

    async def work() -> None:
        async with async_session_factory() as session:
            await UserRepository(session).create("slow")

    task = asyncio.create_task(work())
    await until(lambda: faults.committing(watcher), within=15, what="COMMIT is under way")
    await faults.kill_backends(watcher)
    with pytest.raises(OutcomeUnknownError):
        await task
    await faults.assert_pool_complete()


async def test_a_half_way_commit_that_fails_ends_the_session_and_nothing_is_saved_afterwards(store, watcher):
    await faults.check_at_commit(watcher)
    async with async_session_factory() as session:
        await UserRepository(session).create("kept")
        await session.commit()
        await UserRepository(session).create("refused")
        with pytest.raises(ConflictError):
            await session.commit()
        # The server has begun no new transaction: a statement now would be saved at once.
        with pytest.raises(UnitOfWorkError):
            await UserRepository(session).create("in autocommit")
    assert await faults.logins(watcher) == ["kept"]
    await faults.assert_pool_complete()


async def test_an_explicit_commit_or_rollback_ends_a_plain_transaction(store, watcher):
    async with in_transaction("default") as transaction:
        await User.create(external_id="kept")
        await transaction.commit()
    async with in_transaction("default") as transaction:
        await User.create(external_id="undone")
        await transaction.rollback()
        with pytest.raises(UnitOfWorkError, match="has ended"):
            await User.create(external_id="late")
    assert await faults.logins(watcher) == ["kept"]
    await faults.assert_pool_complete()


@pytest.mark.parametrize("outer", [async_session_factory, of_tortoise])
async def test_a_session_inside_another_transaction_is_independent_of_it(store, watcher, outer):
    with pytest.raises(LookupError):
        async with outer():
            await User.create(external_id="undone")
            async with async_session_factory() as inner:
                await UserRepository(inner).create("kept")
                assert await UserRepository(inner).get_or_create_by_external_id("also kept")
            await User.create(external_id="undone, by the ambient transaction")
            raise LookupError
    assert await faults.logins(watcher) == ["also kept", "kept"]


# Tasks: what a child inherits, and how it does not.


async def _create(login: str, when: asyncio.Event | None = None) -> None:
    if when is not None:
        await when.wait()
    await User.create(external_id=login)


@asynccontextmanager
async def in_a_savepoint():
    async with async_session_factory() as session, session.savepoint():
        yield


@pytest.mark.parametrize("around", [nullcontext, of_tortoise, in_a_savepoint])
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
