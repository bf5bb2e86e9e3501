"""`veupath-store migrate`, as a deploy runs it."""

import asyncio

import pytest

from tests.support.databases import catalog_of, connected
from tests.support.processes import BIN, run, started
from tests.support.servers import until
from veupath_store.config import StoreSettings
from veupath_store.schema.catalog import differences
from veupath_store.schema.lock import ADVISORY_LOCK
from veupath_store.schema.migrations import migrate, migration_files

COMMAND = BIN / "veupath-store"
PASSWORD = "s3cr3t"


async def test_it_migrates_from_any_directory_and_then_finds_nothing_to_do(tmp_path, empty_url, database_url):
    first = await run(COMMAND, "migrate", cwd=tmp_path, DATABASE_URL=empty_url)
    assert (first.code, first.err) == (0, ""), first
    assert first.out == "".join(f"applied {name}\n" for name in migration_files()) + "The database is at head.\n"
    assert differences(await catalog_of(empty_url), await catalog_of(database_url)) == []
    again = await run(COMMAND, "migrate", cwd=tmp_path, DATABASE_URL=empty_url)
    assert (again.code, again.out, again.err) == (0, "Nothing to do: the database is at head.\n", ""), again


async def refused(tmp_path, **environment):
    finished = await run(COMMAND, "migrate", cwd=tmp_path, **environment)
    assert finished.code == 1, finished
    assert finished.out == "", finished
    assert_readable(finished.err)
    return finished.err


def assert_readable(message):
    assert len(message.splitlines()) == 1, message
    assert "Traceback" not in message
    assert PASSWORD not in message


async def test_it_says_what_to_set_without_a_url(tmp_path):
    assert "DATABASE_URL is not set. Set DATABASE_URL to postgresql://" in await refused(tmp_path)


async def test_it_says_that_the_database_is_missing(tmp_path, server):
    url = server.url("veupath_store_test_missing")
    if server.target.password is None:
        user = server.target.user
        url = url.replace(f"//{user}@", f"//{user}:{PASSWORD}@")
    assert "it has no such database" in await refused(tmp_path, DATABASE_URL=url)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (f"mysql://me:{PASSWORD}@localhost/db", "DATABASE_URL cannot be used: its scheme must be one of"),
        (f"postgresql://me:{PASSWORD}@localhost:x/db", "DATABASE_URL cannot be used: a port must be"),
        (f"postgresql://me:{PASSWORD}@127.0.0.1:1/db", "127.0.0.1:1: the connection was refused, as no server"),
    ],
)
def test_it_says_what_is_wrong_with_a_url(url, message, call):
    code, out, err = call("migrate", DATABASE_URL=url)
    assert (code, out) == (1, "")
    assert message in err
    assert_readable(err)


def test_quietly_it_prints_nothing(database_url, call):
    assert call("migrate", "--quiet", DATABASE_URL=database_url) == (0, "", "")


def test_an_unknown_command_is_a_usage_error(call):
    code, out, err = call("migrat", DATABASE_URL="")
    assert (code, out) == (2, "")
    assert "No such command" in err


@pytest.fixture
async def observer(empty_url):
    async with connected(empty_url) as connection:
        yield connection


def seen(observer, condition):
    async def look():
        return await observer.fetchval(
            f"SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND {condition}"
        )

    return look


async def test_a_migrator_that_is_killed_at_work_does_not_block_the_next(tmp_path, empty_url, observer):
    async with (
        connected(empty_url) as holder,
        started(
            COMMAND, "migrate", cwd=tmp_path, DATABASE_URL=empty_url, VEUPATH_STORE_MIGRATION_LOCK_TIMEOUT="60"
        ) as migrator,
    ):
        held = holder.transaction()
        await held.start()
        await holder.execute("CREATE TABLE aerich (id int)")
        await until(seen(observer, "wait_event_type = 'Lock'"), 30, "the migration waits for a lock")
        assert not await observer.fetchval("SELECT pg_try_advisory_lock($1)", ADVISORY_LOCK)
        await migrator.kill()
        following = asyncio.create_task(migrate(StoreSettings(database_url=empty_url)))
        await until(
            seen(observer, "pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory')"), 10, "the next began"
        )
        await held.rollback()
        assert await following == migration_files()


async def test_two_processes_may_create_the_schema_at_once(tmp_path, empty_url):
    """`init_db(create_schema=True)` on every start, as development servers with several workers do."""
    code = """
import asyncio, veupath_store as store

async def main():
    await store.init_db(create_schema=True)
    await store.UserRepository().create()
    await store.close_db()

asyncio.run(main())
"""
    python = BIN / "python"
    async with (
        started(python, "-c", code, cwd=tmp_path, DATABASE_URL=empty_url) as one,
        started(python, "-c", code, cwd=tmp_path, DATABASE_URL=empty_url) as other,
    ):
        for finished in await asyncio.gather(one.finished(), other.finished()):
            assert (finished.code, finished.out, finished.err) == (0, "", ""), finished
    async with connected(empty_url) as connection:
        assert await connection.fetchval("SELECT count(*) FROM users") == 2
