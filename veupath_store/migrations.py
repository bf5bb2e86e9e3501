"""Applying the aerich migrations: one process at a time, patiently, and checked afterwards.

aerich itself takes no lock: two ``aerich upgrade`` at once may run a file twice. `migrate` wraps aerich's own
``Command.upgrade`` in an advisory lock.

A file with ``RUN_IN_TRANSACTION = False``, as for CREATE INDEX CONCURRENTLY, may be cut off and run again: it must
undo its own remains first. It awaits ``db.execute_script("DROP INDEX CONCURRENTLY IF EXISTS …")`` and returns the
CREATE, because CONCURRENTLY wants a call of its own; never IF NOT EXISTS, which takes an invalid index for done.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import asyncpg
from aerich import Command
from tortoise.context import TortoiseContext

from veupath_store.config import APP, StoreSettings
from veupath_store.embedded import start_embedded
from veupath_store.engine import StoreClient
from veupath_store.engine.connect import connect, connect_arguments
from veupath_store.engine.translation import DRIVER_ERRORS, Phase, translate
from veupath_store.errors import (
    ConfigurationError,
    OutcomeUnknownError,
    SchemaError,
    StoreError,
    UnavailableError,
)

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
    """The names of all migrations, in the order in which they run: by the number that leads the name, as in aerich.

    Raises:
        SchemaError: The files are not there.
    """
    # Not through aerich, which would change the class-wide state of `aerich.migrate.Migrate`.
    names = [path.name for path in (migrations_location() / APP).glob("*_*.py")]
    return sorted((name for name in names if _number(name).isdecimal()), key=lambda name: int(_number(name)))


def _number(name: str) -> str:
    return name.partition("_")[0]


async def pending_migrations(client: StoreClient) -> list[str]:
    """Which migrations the database lacks. One or two small reads.

    Returns:
        Names in the order in which they will run; empty at head.
    """
    applied = await _applied(client)
    return [name for name in migration_files() if name not in applied]


async def _applied(client: StoreClient) -> set[str]:
    there = await client.execute_rows("SELECT to_regclass('aerich') IS NOT NULL AS there")
    if not there[0]["there"]:
        return set()
    rows = await client.execute_rows("SELECT version FROM aerich WHERE app = $1", [APP])
    return {row["version"] for row in rows}


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
        SchemaError: A file failed, left the database behind the head, or left an invalid index.
        OutcomeUnknownError: The connection was lost in a file that runs outside of a transaction, or in COMMIT.
        ConfigurationError: Only a PgBouncer is configured, or the server refused the role or the database.
    """
    patient = (settings or StoreSettings()).for_migrations()
    if patient.pgbouncer:
        raise ConfigurationError(
            "Migrations hold an advisory lock, which needs a direct connection: "
            "set MIGRATION_DATABASE_URL to a URL that does not go through PgBouncer."
        )
    async with _lock_connection(patient) as lock:
        first: list[str] | None = None
        attempt = 0
        while True:
            attempt += 1
            # Taken again each time: where its connection is gone, so is the lock, and this says so.
            await _take(lock, patient.migration_wait)
            try:
                async with _own_context(patient) as context:
                    client = _client(context)
                    if first is None:
                        first = await pending_migrations(client)
                        await _warn_of_unknown(client)
                    await _upgrade(patient, client)
                    return first
            except UnavailableError:
                if attempt >= patient.migration_attempts:
                    raise
                logger.info("a migration could not get its locks; attempt %d failed", attempt)
            await asyncio.sleep(random.uniform(0.05, 0.5))  # noqa: S311 - to get out of step, not for secrets


@asynccontextmanager
async def _lock_connection(settings: StoreSettings) -> AsyncIterator[Any]:
    """A connection for the advisory lock, which is free again when the connection closes."""
    target = settings.target
    if target.embedded is not None:
        target = await asyncio.to_thread(start_embedded, target)
    connection = await connect(target, settings.connect_timeout, connect_arguments(settings, target))
    try:
        yield connection
    finally:
        with suppress(*DRIVER_ERRORS):
            await connection.close(timeout=settings.release_timeout)


async def _take(connection: Any, patience: float) -> None:  # noqa: ANN401 - an asyncpg connection, which has no types
    try:
        async with asyncio.timeout(patience):
            # Another process frees it: there is no event to wait for.
            while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", ADVISORY_LOCK):  # noqa: ASYNC110
                await asyncio.sleep(_POLL)
    except TimeoutError as exc:
        raise UnavailableError(f"Another process has been migrating this database for {patience:g} s.") from exc
    except DRIVER_ERRORS as exc:
        raise translate(exc, Phase.READ) from exc


@asynccontextmanager
async def _own_context(settings: StoreSettings) -> AsyncIterator[TortoiseContext]:
    """A Tortoise context of our own, whatever the process has open."""
    async with TortoiseContext() as context:
        await context.init(config=settings.tortoise_orm())
        yield context


def _client(context: TortoiseContext) -> StoreClient:
    client = context.db()
    if not isinstance(client, StoreClient):
        raise TypeError("the connection is not the store's")
    return client


async def _upgrade(settings: StoreSettings, client: StoreClient) -> None:
    """Run aerich in the current Tortoise context, and check what it left."""
    command = Command(tortoise_config=settings.tortoise_orm(), app=APP, location=str(migrations_location()))
    await command.init()
    try:
        await command.upgrade()
    except (UnavailableError, OutcomeUnknownError):
        raise
    except StoreError as exc:
        raise SchemaError(await _explanation(client, exc)) from exc
    behind = await pending_migrations(client)
    if behind:
        raise SchemaError(f"The database is still behind after the upgrade: {', '.join(behind)}.")
    invalid = await _invalid_indexes(client)
    if invalid:
        raise SchemaError(f"{_about_invalid(invalid)} The migrations themselves are at head.")


async def _warn_of_unknown(client: StoreClient) -> None:
    """A database that is ahead of this version was migrated by a newer one: leave it alone, but say so."""
    unknown = sorted(await _applied(client) - set(migration_files()))
    if unknown:
        logger.warning("the database has %d migration(s) that this version does not know: %s", len(unknown), unknown)


async def _explanation(client: StoreClient, error: StoreError) -> str:
    """Which file failed, why, and what it left behind."""
    behind = await pending_migrations(client)
    lines = [f"Migration {behind[0] if behind else '(unknown)'} failed: {error}"]
    cause = error.__cause__
    # Errors of this class name objects of the schema, never stored values.
    if isinstance(cause, asyncpg.PostgresError) and (cause.sqlstate or "").startswith("42"):
        lines.append(f"The server says: {cause}.")
    invalid = await _invalid_indexes(client)
    if invalid:
        lines.append(_about_invalid(invalid))
    return " ".join(lines)


async def _invalid_indexes(client: StoreClient) -> list[str]:
    """What a failed CREATE INDEX CONCURRENTLY leaves: an index that costs writes, serves no read, guards nothing."""
    rows = await client.execute_rows(
        "SELECT indexrelid::regclass::text AS name FROM pg_index"
        " WHERE NOT indisvalid AND pg_table_is_visible(indrelid) ORDER BY 1"
    )
    return [row["name"] for row in rows]


def _about_invalid(names: list[str]) -> str:
    return f"Invalid indexes, to be dropped or rebuilt with REINDEX INDEX CONCURRENTLY: {', '.join(names)}."
