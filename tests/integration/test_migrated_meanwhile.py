"""Work on connections whose prepared statements are older than the tables: a migration ran meanwhile."""

import asyncpg
import pytest

from tests.support import faults
from tests.support.cases import owned_cases
from tests.support.world import make_world
from veupath_store import UserRepository, async_session_factory, close_db, init_db
from veupath_store.errors import ConflictError, NotFoundError, UnavailableError, UnitOfWorkError
from veupath_store.models import User
from veupath_store.repositories.accounts import OWNED_TABLES

pytestmark = pytest.mark.own_database


@pytest.fixture
async def store(settings):
    """One connection, so that what one call prepares is what the next one uses."""
    engine = await init_db(settings=settings.model_copy(update={"pool_max_size": 1}))
    yield engine
    await close_db()


class UndoneError(Exception):
    """Takes back what a case changed, so that one world does for all."""


async def add_columns(watcher, name):
    for table in {"users", *(owned.table for owned in OWNED_TABLES)}:
        await watcher.execute(f"ALTER TABLE {table} ADD {name} integer NOT NULL DEFAULT 7")


async def test_a_column_that_is_added_fails_no_unit_of_work(store, watcher):
    """With `*` in its statement it would, once: asyncpg cannot repeat a statement of a transaction by itself."""
    failed = []
    for number in range(2):
        world = await make_world()
        for repository, method, case in owned_cases():
            try:
                async with async_session_factory() as session:
                    await case.call(repository(session).for_user(world.owner), world)
                    raise UndoneError
            except (UndoneError, ConflictError, NotFoundError, UnitOfWorkError):
                pass
            except UnavailableError as exc:
                failed.append((method, repr(exc.__cause__)))
        await add_columns(watcher, f"more_{number}")
    assert failed == []


async def test_a_type_that_is_changed_is_unavailable_once(store, user, watcher):
    """Such a migration rewrites its table, and the linter refuses it; an operator may do it all the same."""

    async def read():
        async with async_session_factory() as session:
            return await UserRepository(session).get_by_id(user.id)

    await read()
    await watcher.execute("ALTER TABLE users ALTER external_id TYPE text")
    with pytest.raises(UnavailableError, match="a migration changed its table") as caught:
        await read()
    assert isinstance(caught.value.__cause__, asyncpg.InvalidCachedStatementError)
    assert (await read()).id == user.id
    await watcher.execute("ALTER TABLE users ALTER external_id TYPE varchar(255)")
    assert (await User.filter(id=user.id).first()).id == user.id, "outside of a transaction asyncpg repeats it"
    await faults.assert_pool_complete()
