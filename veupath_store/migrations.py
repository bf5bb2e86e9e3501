"""Applying the aerich migrations: one process at a time, patiently, and checked afterwards.

aerich itself takes no lock: two ``aerich upgrade`` at once may run a file twice. `migrate` has aerich run the files
under an advisory lock.

A file with ``RUN_IN_TRANSACTION = False``, as for CREATE INDEX CONCURRENTLY, may be cut off and run again: it must
undo its own remains first. It awaits ``db.execute_script("DROP INDEX CONCURRENTLY IF EXISTS …")`` and returns the
CREATE, because CONCURRENTLY wants a call of its own; never IF NOT EXISTS, which takes an invalid index for done.
"""

import logging
from dataclasses import dataclass, field
from itertools import takewhile

import asyncpg
from aerich import Command
from aerich.migrate import Migrate
from aerich.utils import import_py_module
from tortoise.transactions import in_transaction

from veupath_store import migration_files as files
from veupath_store.config import APP, CONNECTION, StoreSettings
from veupath_store.engine import StoreClient
from veupath_store.engine.transaction import StoreTransaction
from veupath_store.errors import OutcomeUnknownError, SchemaError, StoreError, UnavailableError
from veupath_store.migration_files import DeployPhase, before_deploy, migration_files
from veupath_store.migration_lock import ADVISORY_LOCK, under_lock

__all__ = [
    "ADVISORY_LOCK",
    "Migrated",
    "aerich_command",
    "applied_migrations",
    "apply_in",
    "explanation",
    "invalid_indexes",
    "migrate",
    "migration_files",
    "pending_migrations",
    "run_migrations",
]

logger = logging.getLogger("veupath_store.migrations")


@dataclass(frozen=True, kw_only=True)
class Migrated:
    """What a run of the migrations did.

    Attributes:
        applied: The files that it applied, in order.
        left: The files that it left for after the deploy, in order.
    """

    applied: list[str]
    left: list[str] = field(default_factory=list)


async def pending_migrations(client: StoreClient) -> list[str]:
    """Which migrations the database lacks, those for after the deploy included. One or two small reads.

    Returns:
        Names in the order in which they will run; empty at head.
    """
    applied = await applied_migrations(client)
    return [name for name in migration_files() if name not in applied]


async def applied_migrations(client: StoreClient) -> set[str]:
    """Which migrations the database has, also those that this version does not know. One or two small reads."""
    there = await client.execute_rows("SELECT to_regclass('aerich') IS NOT NULL AS there")
    if not there[0]["there"]:
        return set()
    rows = await client.execute_rows("SELECT version FROM aerich WHERE app = $1", [APP])
    return {row["version"] for row in rows}


async def migrate(settings: StoreSettings | None = None, *, phase: DeployPhase = DeployPhase.POST_DEPLOY) -> list[str]:
    """Apply what is pending, under the advisory lock, and check that nothing is left.

    Safe to start in any number of processes at once: one works, the others wait and find nothing to do. A file that
    cannot get a table's lock within `migration_lock_timeout` is rolled back and tried again, so that it never stalls
    the application's queries for longer.

    Args:
        settings: Default: from the environment.
        phase: ``pre-deploy`` stops before the first file that is for after the deploy.

    Returns:
        The names of the files that this call applied, in order; empty when there was nothing to do.

    Raises:
        UnavailableError: No server answers, another process holds the advisory lock for longer than
            `migration_wait`, or a table's lock was not free in `migration_attempts` tries.
        SchemaError: A file failed, left the database behind, or left an invalid index; or an earlier deploy was never
            finished, so that one of its files for afterwards stands before a file of this one.
        OutcomeUnknownError: The connection was lost in a file that runs outside of a transaction, or in COMMIT.
        ConfigurationError: Only a PgBouncer is configured, or the server refused the role or the database.
    """
    return (await run_migrations(settings, phase=phase)).applied


async def run_migrations(
    settings: StoreSettings | None = None, *, phase: DeployPhase = DeployPhase.POST_DEPLOY
) -> Migrated:
    """As `migrate`; tells also what it left for after the deploy."""
    patient = (settings or StoreSettings()).for_migrations()
    first: list[str] | None = None

    async def work(client: StoreClient) -> Migrated:
        nonlocal first
        pending = await pending_migrations(client)
        if first is None:
            first = pending
            await _warn_of_unknown(client)
        needed = before_deploy(pending)
        now = pending if phase is DeployPhase.POST_DEPLOY else _until_deploy(pending, needed)
        await _upgrade(patient, client, now)
        left = pending[len(now) :]
        return Migrated(applied=[name for name in first if name not in left], left=left)

    return await under_lock(patient, work)


def _until_deploy(pending: list[str], needed: list[str]) -> list[str]:
    """What comes before the first file for after the deploy."""
    now = list(takewhile(needed.__contains__, pending))
    if len(now) < len(needed):
        raise SchemaError(
            f"Migration {pending[len(now)]} was left for after an earlier deploy, and {needed[len(now)]}, which this "
            "version needs, follows it. When nothing older than that deploy runs any more, run 'veupath-store migrate'."
        )
    return now


async def aerich_command(settings: StoreSettings) -> Command:
    """Aerich, on the store's files; its calls run in the current Tortoise context."""
    command = Command(tortoise_config=settings.tortoise_orm(), app=APP, location=str(files.migrations_location()))
    await command.init()
    return command


async def apply_in(transaction: StoreTransaction, command: Command) -> list[str]:
    """Apply all migrations in a transaction of the caller's, which is the current one of the Tortoise context.

    For a database that has none of them; the advisory lock is the caller's, too.

    Args:
        transaction: The transaction.
        command: What `aerich_command` returned before the transaction began: it asks for a table that is not there.

    Returns:
        The names of the files, in order; aerich has recorded them as in an upgrade of its own.

    Raises:
        SchemaError: One of them cannot run in a transaction.
    """
    names = migration_files()
    modules = {f"{module.name}.py": module for module in Migrate.get_all_version_modules()}
    for name in names:
        if not getattr(import_py_module(modules[name]), "RUN_IN_TRANSACTION", True):
            raise SchemaError(f"Migration {name} cannot run in a transaction with others.")
        await command._upgrade(transaction, name, version_module=modules[name])
    return names


async def _upgrade(settings: StoreSettings, client: StoreClient, names: list[str]) -> None:
    """Have aerich run some files in the current Tortoise context, and check what they left."""
    command = await aerich_command(settings)
    # What aerich's own `upgrade` does, but for the files that were asked for: it knows no end but the last file.
    modules = {f"{module.name}.py": module for module in Migrate.get_all_version_modules()}
    for name in names:
        try:
            if getattr(import_py_module(modules[name]), "RUN_IN_TRANSACTION", True):
                async with in_transaction(CONNECTION) as transaction:
                    await command._upgrade(transaction, name, version_module=modules[name])
            else:
                await command._upgrade(client, name, version_module=modules[name])
        except (UnavailableError, OutcomeUnknownError):
            raise
        except StoreError as exc:
            raise SchemaError(await explanation(client, exc, f"Migration {name}")) from exc
    behind = [name for name in names if name in await pending_migrations(client)]
    if behind:
        raise SchemaError(f"The database is still behind after the upgrade: {', '.join(behind)}.")
    invalid = await invalid_indexes(client)
    if invalid:
        raise SchemaError(f"{_about_invalid(invalid)} The migrations themselves are applied.")


async def _warn_of_unknown(client: StoreClient) -> None:
    """A database that is ahead of this version was migrated by a newer one: leave it alone, but say so."""
    unknown = sorted(await applied_migrations(client) - set(migration_files()))
    if unknown:
        logger.warning("the database has %d migration(s) that this version does not know: %s", len(unknown), unknown)


async def explanation(client: StoreClient, error: StoreError, what: str) -> str:
    """Which file failed, why, and what it left behind."""
    lines = [f"{what} failed: {error}"]
    cause = error.__cause__
    # Errors of this class name objects of the schema, never stored values.
    if isinstance(cause, asyncpg.PostgresError) and (cause.sqlstate or "").startswith("42"):
        lines.append(f"The server says: {cause}.")
    invalid = await invalid_indexes(client)
    if invalid:
        lines.append(_about_invalid(invalid))
    return " ".join(lines)


async def invalid_indexes(client: StoreClient) -> list[str]:
    """What a failed CREATE INDEX CONCURRENTLY leaves: an index that costs writes, serves no read, guards nothing."""
    rows = await client.execute_rows(
        "SELECT indexrelid::regclass::text AS name FROM pg_index"
        " WHERE NOT indisvalid AND pg_table_is_visible(indrelid) ORDER BY 1"
    )
    return [row["name"] for row in rows]


def _about_invalid(names: list[str]) -> str:
    return f"Invalid indexes, to be dropped or rebuilt with REINDEX INDEX CONCURRENTLY: {', '.join(names)}."
