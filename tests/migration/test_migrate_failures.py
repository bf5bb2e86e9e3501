"""`migrate` when a file fails, and when the application holds the locks that a file needs."""

import asyncio
import time

import asyncpg
import pytest

from tests.support.checkout import add_to_catalog, write_migration
from tests.support.databases import catalog_of, connected, execute, recorded
from tests.support.migrating import INDEX, idle_in_transaction, write_index
from veupath_store.config import StoreSettings
from veupath_store.errors import ConflictError, SchemaError, UnavailableError
from veupath_store.schema.migrations import migrate, migration_files

LOCK_TIMEOUT = 0.3


@pytest.fixture
def impatient(database_url):
    return StoreSettings(database_url=database_url, migration_lock_timeout=LOCK_TIMEOUT)


async def slowest_read(url, done):
    """What the application sees meanwhile: the longest that one small read took, in seconds."""
    slowest = 0.0
    async with connected(url) as connection:
        while not done.is_set():
            began = time.monotonic()
            await connection.fetch("SELECT FROM users")
            slowest = max(slowest, time.monotonic() - began)
            await asyncio.sleep(0.01)
    return slowest


async def test_it_steps_back_from_a_busy_table_until_it_is_free(impatient, database_url, scratch, stepped_back):
    write_migration(scratch, "95_before", "CREATE TABLE before (id int)")
    write_migration(scratch, "96_busy", "ALTER TABLE users ADD more int")
    done = asyncio.Event()
    async with idle_in_transaction(database_url):
        reading = asyncio.create_task(slowest_read(database_url, done))
        migrating = asyncio.create_task(migrate(impatient))
        await stepped_back()
        assert not migrating.done()
    assert await migrating == ["95_before.py", "96_busy.py"], "what an earlier attempt applied is told too"
    done.set()
    # Without a lock timeout the reads would have waited for the idle transaction, and that for us.
    assert await reading < LOCK_TIMEOUT + 10
    assert await recorded(database_url) == migration_files()


async def test_it_gives_up_after_its_attempts_and_leaves_nothing(database_url, scratch):
    write_migration(scratch, "95_busy", "CREATE TABLE more (id int); ALTER TABLE users ADD more int")
    before = await catalog_of(database_url)
    settings = StoreSettings(database_url=database_url, migration_lock_timeout=0.1, migration_attempts=2)
    async with connected(database_url) as holder:
        async with holder.transaction():
            await holder.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(UnavailableError, match="lock timeout"):
                await migrate(settings)
        assert await catalog_of(database_url) == before
        assert await migrate(settings) == ["95_busy.py"]


async def test_a_file_that_fails_half_way_leaves_no_trace(impatient, database_url, scratch):
    write_migration(scratch, "95_good", "CREATE TABLE good (id int)")
    write_migration(scratch, "96_bad", "CREATE TABLE half (id int); ALTER TABLE nowhere ADD more int")
    with pytest.raises(SchemaError, match=r'96_bad.py failed.*relation "nowhere" does not exist') as caught:
        await migrate(impatient)
    assert isinstance(caught.value.__cause__.__cause__, asyncpg.UndefinedTableError)
    assert await recorded(database_url) == migration_files()[:-1]
    catalog = await catalog_of(database_url)
    assert "table good" in catalog
    assert "table half" not in catalog

    write_migration(scratch, "96_bad", "CREATE TABLE half (id int)")
    assert await migrate(impatient) == ["96_bad.py"]


async def test_a_failure_tells_no_stored_value(impatient, database_url, scratch):
    insert = "INSERT INTO users (id, external_id) VALUES (gen_random_uuid(), 'ada@example.org')"
    await execute(database_url, insert)
    write_migration(scratch, "95_bad", insert)
    with pytest.raises(SchemaError, match=r"95_bad.py failed.*users_external_id_key") as caught:
        await migrate(impatient)
    assert isinstance(caught.value.__cause__, ConflictError)
    error = caught.value
    while error is not None:
        assert "ada" not in f"{error} {error!r}"
        error = error.__cause__


async def test_a_failed_concurrent_index_is_named(impatient, database_url, scratch):
    """PostgreSQL leaves it behind, invalid; IF NOT EXISTS would take it for done the second time."""
    await execute(
        database_url,
        "INSERT INTO users (id) SELECT gen_random_uuid() FROM generate_series(1, 2)",
        "INSERT INTO gene_sets (id, user_id, site_id, name) SELECT gen_random_uuid(), id, 'plasmodb', 'x' FROM users",
    )
    create = "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS gene_sets_wrong_key ON gene_sets (name)"
    write_migration(scratch, "95_index", create, in_transaction=False)
    add_to_catalog(scratch, "index gene_sets_wrong_key")
    with pytest.raises(SchemaError, match=r"95_index.py failed.*Invalid indexes.*gene_sets_wrong_key"):
        await migrate(impatient)
    assert await recorded(database_url) == migration_files()[:-1]
    for _ in range(2):
        with pytest.raises(SchemaError, match=r"Invalid indexes.*gene_sets_wrong_key.*are applied"):
            await migrate(impatient)
    await execute(
        database_url, "UPDATE gene_sets SET name = id::text", "REINDEX INDEX CONCURRENTLY gene_sets_wrong_key"
    )
    assert await migrate(impatient) == []


async def test_a_concurrent_index_that_is_dropped_first_is_built_once_old_transactions_end(
    impatient, database_url, scratch, stepped_back
):
    write_index(scratch, "95_index")
    async with idle_in_transaction(database_url):
        migrating = asyncio.create_task(migrate(impatient))
        await stepped_back()
    assert await migrating == ["95_index.py"]
    assert "INVALID" not in (await catalog_of(database_url))[f"index users.{INDEX}"]
