"""`migrate` that is cut off in the middle of a file: its connection is lost, or its process is killed."""

import asyncio
import sys

import pytest

from tests.support.checkout import write_migration
from tests.support.databases import catalog_of, connected, recorded
from tests.support.migrating import INDEX, idle_in_transaction, write_index
from tests.support.processes import run, started
from tests.support.servers import until
from veupath_store.config import StoreSettings
from veupath_store.errors import OutcomeUnknownError, SchemaError
from veupath_store.schema.migrations import migrate, migration_files

pytestmark = pytest.mark.large

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


async def test_a_lost_connection_leaves_nothing_of_a_file_and_is_tried_again(database_url, scratch, other):
    write_migration(scratch, "96_slow", SLOW)
    migrating = asyncio.create_task(migrate(StoreSettings(database_url=database_url)))
    pid = await backend(other, "pg_sleep")
    await other.execute("DELETE FROM users")
    await other.execute("SELECT pg_terminate_backend($1, 10000)", pid)
    assert await migrating == ["96_slow.py"]
    assert await other.fetchval("SELECT count(*) FROM deleted_ids") == 1, "the first try left its row"


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
