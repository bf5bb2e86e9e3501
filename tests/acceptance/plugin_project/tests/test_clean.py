"""Each test has a clean database, whichever it is."""

import asyncio

import pytest

from veupath_store import UserRepository, async_session_factory
from veupath_store.models import User

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize("turn", range(30))
async def test_nobody_else_is_there(store, make_user, turn):
    assert await User.all().count() == 0
    await make_user("ann@example.org")
    await asyncio.gather(*(make_user() for _ in range(5)))
    assert await User.all().count() == 6


@pytest.mark.parametrize("turn", range(2))
@pytest.mark.store(database="own")
async def test_a_database_of_ones_own(store, make_user, turn):
    await (await store.open()).execute_script("ALTER TABLE users ADD COLUMN colour text; CREATE SEQUENCE counter")
    await make_user("ann@example.org")
    assert await User.all().count() == 1


@pytest.mark.parametrize("turn", range(2))
async def test_what_one_test_does_to_the_schema_the_next_does_not_see(store, turn):
    await (await store.open()).execute_script("CREATE TABLE once (id int)")


async def test_commits_and_concurrent_units_of_work_are_real(store):
    async with async_session_factory() as one, async_session_factory() as other:
        user = await UserRepository(one).create()
        assert await UserRepository(other).get_by_id(user.id) is None
        await one.commit()
        assert await UserRepository(other).get_by_id(user.id) is not None


async def test_settings_are_the_projects_own(store):
    assert store.settings.pool_max_size == 3


async def test_fixtures_of_the_same_name_are_the_projects_own(make_gene_set, make_control_set):
    assert make_gene_set == "ours"
    await make_control_set()


@pytest.mark.asyncio(loop_scope="session")
async def test_a_test_in_another_loop_has_its_store_there(store, make_user):
    await asyncio.gather(make_user(), make_user())
