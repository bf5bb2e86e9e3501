"""`migrate` when a file fails or is cut off, and when the application holds the locks that a file needs."""

import asyncio
import sys
import time

import asyncpg
import pytest

from tests.support.checkout import add_to_catalog, write_migration
from tests.support.databases import catalog_of, connected, execute, recorded
from tests.support.migrating import INDEX, idle_in_transaction, write_index
from tests.support.processes import run, started
from tests.support.servers import until
from veupath_store.config import StoreSettings
from veupath_store.errors import ConflictError, OutcomeUnknownError, SchemaError
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


# cut off in the middle of a file: its connection is lost, or its process is killed


# Slow as long as there is a user; each try would leave a row, if its transaction did not go with it.
SLOW = """
CREATE TABLE half (id int);
INSERT INTO deleted_ids (kind, id) VALUES ('stream', gen_random_uuid());
SELECT pg_sleep(CASE WHEN EXISTS (SELECT FROM users) THEN 60 ELSE 0 END);
"""


@pytest.fixture
async def other(database_url):
    async with connected(database_url) as connection:
        await connection.execute("INSERT INTO users (id) VALUES (gen_random_uuid())")
        yield connection


async def backend(other, query):
    """Wait for the backend that runs a query; its process id."""
    found = None

    async def it_runs():
        nonlocal found
        found = await other.fetchval(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND state = 'active'"
            " AND pid <> pg_backend_pid() AND query LIKE $1",
            f"%{query}%",
        )
        return found is not None

    await until(it_runs, 30, query)
    return found


async def gone(other, pid):
    there = "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $1"
    await until(lambda: other.fetchval(there, pid), 30, "the backend is gone")


async def invalid(other):
    query = "SELECT indexrelid::regclass::text AS name FROM pg_index WHERE NOT indisvalid"
    return [row["name"] for row in await other.fetch(query)]


@pytest.mark.large
async def test_a_lost_connection_leaves_nothing_of_a_file_and_is_tried_again(database_url, scratch, other):
    write_migration(scratch, "96_slow", SLOW)
    migrating = asyncio.create_task(migrate(StoreSettings(database_url=database_url)))
    pid = await backend(other, "pg_sleep")
    await other.execute("DELETE FROM users")
    await other.execute("SELECT pg_terminate_backend($1, 10000)", pid)
    assert await migrating == ["96_slow.py"]
    assert await other.fetchval("SELECT count(*) FROM deleted_ids") == 1, "the first try left its row"


@pytest.mark.large
async def test_a_connection_that_is_lost_while_an_index_is_built_is_told_and_mended_by_running_again(
    database_url, scratch, other
):
    write_index(scratch, "96_index")
    settings = StoreSettings(database_url=database_url, migration_lock_timeout=60)
    async with idle_in_transaction(database_url):
        migrating = asyncio.create_task(migrate(settings))
        pid = await backend(other, "CREATE INDEX CONCURRENTLY")
        waits = "SELECT wait_event = 'virtualxid' FROM pg_stat_activity WHERE pid = $1"
        await until(lambda: other.fetchval(waits, pid), 30, "the index waits for the old transaction")
        await other.execute("SELECT pg_terminate_backend($1, 10000)", pid)
        with pytest.raises((OutcomeUnknownError, SchemaError)):
            await migrating
    assert await invalid(other) == [INDEX]
    assert await recorded(database_url) == migration_files()[:-1]
    assert await migrate(settings) == ["96_index.py"]
    assert await invalid(other) == []
    assert f"index users.{INDEX}" in await catalog_of(database_url)


def command(checkout, database_url):
    """`veupath-store migrate` of a checkout, whose files are its own."""
    code = "from veupath_store.cli import main; main()"
    environment = {"DATABASE_URL": database_url, "VEUPATH_STORE_MIGRATION_LOCK_TIMEOUT": "60"}
    return (sys.executable, "-c", code, "migrate"), {"cwd": checkout, **environment}


@pytest.mark.large
async def test_a_process_that_is_killed_in_the_middle_of_a_file_leaves_nothing_of_it(database_url, checkout, other):
    write_migration(checkout / "migrations", "96_slow", SLOW)
    arguments, options = command(checkout, database_url)
    async with started(*arguments, **options) as migrator:
        pid = await backend(other, "pg_sleep")
        await migrator.kill()
    # The server looks after its client every two seconds, also in the middle of a statement.
    await gone(other, pid)
    assert "table half" not in await catalog_of(database_url)
    await other.execute("DELETE FROM users")
    finished = await run(*arguments, **options)
    assert (finished.code, finished.out) == (0, "applied 96_slow.py\nThe database is at head.\n"), finished
    assert await other.fetchval("SELECT count(*) FROM deleted_ids") == 1


@pytest.mark.large
async def test_a_process_that_is_killed_while_it_builds_an_index_is_mended_by_the_next(database_url, checkout, other):
    write_index(checkout / "migrations", "96_index")
    arguments, options = command(checkout, database_url)
    async with idle_in_transaction(database_url):
        async with started(*arguments, **options) as migrator:
            pid = await backend(other, "CREATE INDEX CONCURRENTLY")
            await until(lambda: invalid(other), 30, "the index is begun")
            await migrator.kill()
        await gone(other, pid)
        assert await invalid(other) == [INDEX]
    finished = await run(*arguments, **options)
    assert (finished.code, finished.out) == (0, "applied 96_index.py\nThe database is at head.\n"), finished
    assert await invalid(other) == []
