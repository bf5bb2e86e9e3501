"""Migrations go up, down and up while an application works, with a reader that sits idle in a transaction."""

import asyncio
import logging

import pytest

from tests.support.checkout import write_migration
from tests.support.databases import connected, execute, fetch, opened, recorded
from tests.support.traffic import FILL, traffic
from veupath_store.config import StoreSettings
from veupath_store.schema.downgrades import downgrade
from veupath_store.schema.migrations import migrate, migration_files

pytestmark = pytest.mark.large

logger = logging.getLogger(__name__)

ROWS = 50_000
ROUNDS = 2
IDLE = 3.0
"""Seconds that a reader sits in a transaction: longer than a migration waits for its lock."""

A_LITTLE = 1.5
"""Seconds beside the lock timeout: 32 tasks that begin again at once, on two cores."""

HOT = ("stream_projections", "control_sets", "experiments", "operations", "users")


def write_release(scratch):
    """One file changes one table that is in use: two in one transaction would wait for the second's lock while they
    hold the first's."""
    for number, table in enumerate(("stream_projections", "control_sets", "experiments"), 10):
        add = f"ALTER TABLE {table} ADD more integer NOT NULL DEFAULT 7"
        write_migration(scratch, f"{number}_column", add, f"ALTER TABLE {table} DROP more")
    write_migration(
        scratch,
        "13_index",
        "CREATE INDEX CONCURRENTLY stream_projections_more_idx ON stream_projections (user_id, more)",
        "DROP INDEX stream_projections_more_idx",
        first="DROP INDEX CONCURRENTLY IF EXISTS stream_projections_more_idx",
        in_transaction=False,
    )
    write_migration(
        scratch,
        "14_check",
        "ALTER TABLE operations ADD CONSTRAINT operations_attempts_check CHECK (attempts >= 0) NOT VALID",
        "ALTER TABLE operations DROP CONSTRAINT operations_attempts_check",
    )
    write_migration(scratch, "15_validate", "ALTER TABLE operations VALIDATE CONSTRAINT operations_attempts_check")
    table = "CREATE TABLE more (id uuid PRIMARY KEY, user_id uuid REFERENCES users)"
    write_migration(scratch, "16_table", table, "DROP TABLE more")
    write_migration(scratch, "17_drop", "DROP TABLE more", table, phase="post-deploy")


async def sit_idle(url):
    async with connected(url) as reader, reader.transaction():
        for table in HOT:
            await reader.fetch(f"SELECT FROM {table} LIMIT 1")
        await asyncio.sleep(IDLE)


async def test_no_query_fails_and_none_waits_longer_than_a_migration_does(
    database_url, scratch, monkeypatch, caplog, record_property
):
    monkeypatch.setattr("veupath_store.engine.races.DEADLOCKS", 1)
    await execute(database_url, FILL.format(rows=ROWS))
    users = [row["id"] for row in await fetch(database_url, "SELECT id FROM users LIMIT 5")]
    settings = StoreSettings(database_url=database_url, pool_max_size=32, pool_min_size=32)
    base = migration_files()
    write_release(scratch)
    release = migration_files()[len(base) :]
    caplog.set_level(logging.INFO, "veupath_store.schema")
    async with opened(settings, require_head=False), traffic(users, monkeypatch) as seen:
        await asyncio.sleep(1)
        quiet = dict(seen.longest)
        for number in range(ROUNDS):
            for back in (False, True):
                idle = asyncio.create_task(sit_idle(database_url))
                await asyncio.sleep(0.2)
                changed = (await downgrade(base[-1], settings)).undone if back else await migrate(settings)
                await idle
                assert sorted(changed) == release, number
        assert await migrate(settings) == release
        await asyncio.sleep(0.5)
    told = (
        f"{seen.calls.total()} units of work; the longest waits were {seen.slowest}, before {max(quiet.values()):.2f} s"
    )
    record_property("traffic", told)
    logger.info(told)
    assert seen.failures == [], seen.failures[:5]
    assert min(seen.calls.values()) > 20, seen.calls
    assert len(seen.calls) == 7
    assert caplog.text.count("attempt 1 failed") >= ROUNDS, "the idle reader was in nobody's way"
    assert seen.slowest[0][0] < settings.migration_lock_timeout + A_LITTLE, told
    assert await recorded(database_url) == migration_files()
    stored = {row["stream_id"]: row["name"] for row in await fetch(database_url, "SELECT * FROM stream_projections")}
    assert {stream: stored.get(stream) for stream in seen.streams} == seen.streams
