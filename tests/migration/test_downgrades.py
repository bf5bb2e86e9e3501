"""`downgrade`: what it undoes, what it refuses, and how it waits."""

import asyncio

import pytest

from tests.support.checkout import write_migration
from tests.support.databases import catalog_of, connected, execute, recorded
from tests.support.migrating import idle_in_transaction
from veupath_store.config import StoreSettings
from veupath_store.errors import SchemaError
from veupath_store.schema.catalog import differences
from veupath_store.schema.downgrades import Downgraded, downgrade, undoing
from veupath_store.schema.migrations import migrate, migration_files

FIRST, *_, NEWEST = migration_files()


async def test_down_and_up_again_is_the_same_schema_with_the_rows_that_were_there(settings, database_url):
    before = await catalog_of(database_url)
    async with connected(database_url) as connection:
        await connection.execute("INSERT INTO users (id) VALUES (gen_random_uuid())")
        newest_first = list(reversed(migration_files()[1:]))
        assert await undoing(FIRST, settings) == newest_first
        assert (await downgrade(FIRST, settings)).undone == newest_first
        assert await recorded(database_url) == [FIRST]
        assert "table deleted_ids" not in await catalog_of(database_url)
        assert await downgrade("0", settings) == Downgraded(undone=[], applied=[FIRST]), "nothing more to undo"
        assert await migrate(settings) == migration_files()[1:]
        assert differences(before, await catalog_of(database_url)) == []
        assert await connection.fetchval("SELECT count(*) FROM users") == 1


async def test_several_are_undone_newest_first_and_one_that_fails_is_named(settings, database_url, scratch):
    write_migration(scratch, "96_a", "CREATE TABLE a (id int)", "DROP TABLE nowhere")
    write_migration(scratch, "100_b", "CREATE TABLE b (id int)", "DROP TABLE b")
    await migrate(settings)
    failed = r'Undoing migration 96_a.py \(after 100_b.py, .*\) failed.*"nowhere" does not'
    with pytest.raises(SchemaError, match=failed):
        await downgrade(NEWEST, settings)
    assert await recorded(database_url) == migration_files()[:-1], "what was undone before stays so"
    write_migration(scratch, "96_a", "CREATE TABLE a (id int)", "DROP TABLE a")
    assert (await downgrade(NEWEST, settings)).undone == ["96_a.py"]


@pytest.mark.parametrize(
    ("to", "message"), [("90", f"no migration '90'; the newest is {NEWEST}"), ("x", "no migration 'x'")]
)
async def test_an_unknown_target_is_refused(to, message, settings):
    with pytest.raises(SchemaError, match=message):
        await downgrade(to, settings)


async def test_what_this_version_does_not_know_it_does_not_undo(settings, database_url):
    await execute(database_url, "INSERT INTO aerich (version, app, content) VALUES ('99_x.py', 'store', '{}')")
    with pytest.raises(SchemaError, match=r"Only the version that brought 99_x.py can undo it"):
        await downgrade(FIRST, settings)


async def test_a_target_that_the_database_has_not_reached_is_refused(empty_url):
    with pytest.raises(SchemaError, match="does not have migration 0_"):
        await downgrade(FIRST, StoreSettings(database_url=empty_url))


async def test_a_file_without_a_way_back_is_refused(settings, scratch, database_url):
    write_migration(scratch, "96_a", "CREATE TABLE a (id int)", " ")
    await migrate(settings)
    with pytest.raises(SchemaError, match=r"Undoing migration 96_a.py failed: it has no way back\."):
        await downgrade(NEWEST, settings)
    assert "table a" in await catalog_of(database_url)


@pytest.mark.large
async def test_it_steps_back_from_a_busy_table_until_it_is_free(database_url, stepped_back):
    settings = StoreSettings(database_url=database_url, migration_lock_timeout=0.2)
    async with idle_in_transaction(database_url, "SELECT FROM stream_projections"):
        going_back = asyncio.create_task(downgrade(FIRST, settings))
        await stepped_back()
    assert (await going_back).undone == migration_files()[:0:-1]
