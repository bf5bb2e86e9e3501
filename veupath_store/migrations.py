"""Applying the aerich migrations: one process at a time, patiently, and checked afterwards.

aerich itself takes no lock: two ``aerich upgrade`` at once may run a file twice. `migrate` wraps aerich's own
``Command.upgrade`` in an advisory lock.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from aerich import Command
from aerich.migrate import Migrate
from tortoise.context import TortoiseContext

from veupath_store.config import APP, StoreSettings
from veupath_store.embedded import start_embedded
from veupath_store.engine import StoreClient
from veupath_store.engine.connect import connect, connect_arguments
from veupath_store.errors import SchemaError, UnavailableError

logger = logging.getLogger("veupath_store.migrations")

ADVISORY_LOCK: Final = 0x7665_7570_6174_6801
"""The key of the advisory lock ("veupath" in ASCII, and 1). Every tool that migrates this database takes it."""

_POLL: Final = 0.1
"""Seconds between two tries for the advisory lock: a blocking wait would hold a snapshot and stall
CREATE INDEX CONCURRENTLY of the process that has the lock."""


def migrations_location() -> Path:
    """The directory that holds ``store/``: inside an installed wheel, or at the top of a checkout.

    Raises:
        SchemaError: The files are not there.
    """
    package = Path(str(files("veupath_store")))
    for location in (package / "_migrations", package.parent / "migrations"):
        if (location / APP).is_dir():
            return location
    raise SchemaError("This installation lacks the migration files; install the wheel again.")


def migration_files() -> list[str]:
    """The names of all migrations, in the order in which they run."""
    Migrate.migrate_location = migrations_location() / APP
    return Migrate.get_all_version_files()


async def pending_migrations(client: StoreClient) -> list[str]:
    """Which migrations the database lacks. One or two small reads.

    Returns:
        Names in the order in which they will run; empty at head.
    """
    known = await client.execute_rows("SELECT to_regclass('aerich') IS NOT NULL AS there")
    if not known[0]["there"]:
        return migration_files()
    rows = await client.execute_rows("SELECT version FROM aerich WHERE app = $1", [APP])
    applied = {row["version"] for row in rows}
    return [name for name in migration_files() if name not in applied]


async def migrate(settings: StoreSettings | None = None) -> list[str]:
    """Apply what is pending, under the advisory lock, and check that nothing is left.

    Safe to start in any number of processes at once: one works, the others wait and find nothing to do. A file that
    cannot get a table's lock within `migration_lock_timeout` is rolled back and tried again, so that it never stalls
    the application's queries for longer.

    Args:
        settings: Default: from the environment.

    Returns:
        The names of the files that this call applied, in order; empty when there was nothing to do.

    Raises:
        UnavailableError: No server answers, another process holds the advisory lock for longer than
            `migration_wait`, or a table's lock was not free in `migration_attempts` tries.
        SchemaError: A file left the database behind the head, or left an invalid index.
    """
    patient = (settings or StoreSettings()).for_migrations()
    async with _advisory_lock(patient):
        applied: list[str] = []
        for attempt in range(1, patient.migration_attempts + 1):
            try:
                applied += await _in_own_context(patient)
                break
            except UnavailableError:
                if attempt == patient.migration_attempts:
                    raise
                logger.info("a migration could not get its locks; attempt %d failed", attempt)
                await asyncio.sleep(random.uniform(0.05, 0.5))  # noqa: S311 - to get out of step, not for secrets
        return applied


@asynccontextmanager
async def _advisory_lock(settings: StoreSettings) -> AsyncIterator[None]:
    target = settings.target
    if target.embedded is not None:
        target = await asyncio.to_thread(start_embedded, target)
    connection = await connect(target, settings.connect_timeout, connect_arguments(settings, target))
    try:
        await _take(connection, settings.migration_wait)
        yield
    finally:
        # Closing the connection frees the lock.
        await connection.close(timeout=settings.release_timeout)


async def _take(connection: Any, patience: float) -> None:  # noqa: ANN401 - an asyncpg connection, which has no types
    try:
        async with asyncio.timeout(patience):
            # Another process frees it: there is no event to wait for.
            while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", ADVISORY_LOCK):  # noqa: ASYNC110
                await asyncio.sleep(_POLL)
    except TimeoutError as exc:
        raise UnavailableError(f"Another process has been migrating this database for {patience:g} s.") from exc


async def _in_own_context(settings: StoreSettings) -> list[str]:
    """Run aerich in a Tortoise context of its own, whatever the process has open."""
    config = settings.tortoise_orm()
    async with TortoiseContext() as context:
        await context.init(config=config)
        command = Command(tortoise_config=config, app=APP, location=str(migrations_location()))
        await command.init()
        await _refuse_unknown(command)
        applied = await command.upgrade()
        await _check(command, context)
        return applied


async def _refuse_unknown(command: Command) -> None:
    """A database that is ahead of this version was migrated by a newer one: leave it alone, but say so."""
    try:
        applied = await command.get_applied_migrations(APP)
    except SchemaError:
        return
    unknown = sorted(set(applied) - set(migration_files()))
    if unknown:
        logger.warning("the database has %d migration(s) that this version does not know: %s", len(unknown), unknown)


async def _check(command: Command, context: TortoiseContext) -> None:
    behind = await command.heads()
    if behind:
        raise SchemaError(f"The database is still behind after the upgrade: {', '.join(behind)}.")
    invalid = await context.db().execute_query_dict(
        "SELECT indexrelid::regclass::text AS name FROM pg_index WHERE NOT indisvalid"
    )
    if invalid:
        names = ", ".join(row["name"] for row in invalid)
        raise SchemaError(f"These indexes are invalid, drop them and run the migration again: {names}.")
