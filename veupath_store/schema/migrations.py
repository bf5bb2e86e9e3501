"""Applying the migrations: one process at a time, patiently, and checked afterwards.

The files are aerich's, and so is the table of what was applied. They are run here, by a few lines of the store's own:
aerich's `upgrade` takes no lock of its own, knows no phases, and has no end but the last file.

A file with ``RUN_IN_TRANSACTION = False``, as for CREATE INDEX CONCURRENTLY, may be cut off and run again: it must
undo its own remains first. It awaits ``db.execute_script("DROP INDEX CONCURRENTLY IF EXISTS …")`` and returns the
CREATE, because CONCURRENTLY must be sent alone; never IF NOT EXISTS, which takes an invalid index for done.
"""

import base64
import logging
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import takewhile
from types import ModuleType
from typing import Final

import asyncpg

from veupath_store.config import StoreSettings
from veupath_store.engine import StoreClient
from veupath_store.engine.statements import Statements
from veupath_store.engine.transaction import StoreTransaction
from veupath_store.errors import OutcomeUnknownError, SchemaError, StoreError, UnavailableError
from veupath_store.inputs.validation import one_of
from veupath_store.schema.catalog import Fetch, expected_catalog, expected_tables, names_of, read_catalog
from veupath_store.schema.files import DeployPhase, before_deploy, in_order, load, migration_files, position
from veupath_store.schema.lock import under_lock
from veupath_store.schema.names import APP

logger: logging.Logger = logging.getLogger("veupath_store.schema")

_NO_RECORD: Final = "aerich has no record of a migration of the store"

# What a generator makes of the models; an id that is no uuid is another application's, or an earlier layer's.
_GENERATED: Final = {"column users.id": "uuid NOT NULL", "column streams.user_id": "uuid NOT NULL"}

_AERICH: Final = """
SELECT to_regclass('aerich') IS NOT NULL AS there,
       ARRAY(SELECT name FROM unnest(ARRAY['app', 'version']) AS name
             EXCEPT SELECT attname FROM pg_attribute WHERE attrelid = to_regclass('aerich') AND NOT attisdropped
             ORDER BY 1) AS lacking
"""

# Needs no privilege; a table that was emptied may count as one with rows until VACUUM.
_WRITTEN: Final = """
SELECT EXISTS (SELECT FROM pg_class WHERE relnamespace = $1::regnamespace AND relname = ANY ($2::text[])
               AND pg_relation_size(oid) > 0) AS written
"""

_DOCUMENT_IDS: Final = (
    "INSERT INTO {schema}.document_ids (user_id, kind, id) SELECT user_id, 'experiments', id FROM {schema}.experiments"
    " UNION ALL SELECT user_id, 'gene_sets', id FROM {schema}.gene_sets;"
)


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
    return await recorded_migrations(fetching(client))


async def migrate(
    settings: StoreSettings | None = None, *, phase: DeployPhase | str = DeployPhase.POST_DEPLOY
) -> list[str]:
    """Apply what is pending, under the advisory lock, and check that nothing is left.

    Safe to start in any number of processes at once: one works, the others wait and find nothing to do. A file that
    cannot get a table's lock within `migration_lock_timeout` is rolled back and tried again, so that it never stalls
    the application's queries for longer.

    Args:
        phase: ``pre-deploy`` stops before the first file that is for after the deploy.

    Returns:
        The names of the files that this call applied, in order; empty when there was nothing to do.

    Raises:
        InvalidInputError: The phase is none.
        UnavailableError: No server answers, another process holds the advisory lock for longer than
            `migration_wait`, or a table's lock was not free in `migration_attempts` tries.
        SchemaError: A file failed, left the database behind, or left an invalid index; or an earlier deploy was never
            finished, so that one of its files for afterwards stands before a file of this one.
        OutcomeUnknownError: The connection was lost in a file that runs outside of a transaction, or in COMMIT.
        ConfigurationError: Only a PgBouncer is configured, or the server refused the role or the database.
    """
    return (await run_migrations(settings, phase=phase)).applied


async def run_migrations(
    settings: StoreSettings | None = None, *, phase: DeployPhase | str = DeployPhase.POST_DEPLOY
) -> Migrated:
    """As `migrate`; tells also what it left for after the deploy."""
    until = one_of(phase, "phase", DeployPhase)
    patient = (settings or StoreSettings()).for_migrations()
    first: list[str] | None = None

    async def work(client: StoreClient) -> Migrated:
        nonlocal first
        pending = await pending_migrations(client)
        if first is None:
            first = pending
            applied = await applied_migrations(client)
            if not applied:
                await _refuse_unrecorded_tables(client)
            _warn(applied, pending)
        needed = before_deploy(pending)
        now = pending if until is DeployPhase.POST_DEPLOY else _until_deploy(pending, needed)
        await _upgrade(client, now)
        left = pending[len(now) :]
        return Migrated(applied=[name for name in first if name not in left], left=left)

    return await under_lock(patient, work)


def _until_deploy(pending: list[str], needed: list[str]) -> list[str]:
    """What comes before the first file for after the deploy."""
    now = list(takewhile(needed.__contains__, pending))
    if len(now) < len(needed):
        raise SchemaError(
            f"Migration {pending[len(now)]} is for after a deploy, and {needed[len(now)]}, which this version needs, "
            "follows it. If it was left over by an earlier deploy, and nothing older than that runs any more, run "
            "'veupath-store migrate'; if it is new with this version, it must get a number after the other."
        )
    return now


async def apply_in(transaction: StoreTransaction) -> None:
    """Apply all migrations in a transaction of the caller's, which is the current one of the Tortoise context.

    For a database that has none of them: its tables are not in use yet, so that nothing needs to be done
    CONCURRENTLY, which a transaction does not allow. The advisory lock is the caller's, too.
    """
    for name in migration_files():
        await _apply(_Unshared(transaction), name, load(name))


class _Unshared:
    """A transaction that does what it can at once."""

    def __init__(self, transaction: StoreTransaction) -> None:
        self._transaction = transaction
        self.execute_query = transaction.execute_query

    async def execute_script(self, query: str) -> None:
        await self._transaction.execute_script(query.replace(" CONCURRENTLY", ""))


async def _upgrade(client: StoreClient, names: list[str]) -> None:
    """Run some files, each in a transaction if it does not say otherwise, and check what they left."""
    for name in names:
        migration = load(name)
        async with explained(client, f"Migration {name}"):
            if getattr(migration, "RUN_IN_TRANSACTION", True):
                async with client.pooled_transaction() as transaction:
                    await _apply(transaction, name, migration)
            else:
                await _apply(client, name, migration)
    behind = in_order({*names} - await applied_migrations(client))
    if behind:
        raise SchemaError(f"The database is still behind after the upgrade: {', '.join(behind)}.")
    if invalid := await _about_invalid_indexes(client):
        raise SchemaError(f"{invalid} The migrations themselves are applied.")


async def _apply(database: Statements | _Unshared, name: str, migration: ModuleType) -> None:
    await database.execute_script(await migration.upgrade(database))
    # The models as they were then, in JSON: what `aerich migrate` compares with.
    state = getattr(migration, "MODELS_STATE", "")
    models = zlib.decompress(base64.b64decode(state)).decode() if state else "{}"
    await database.execute_query(
        "INSERT INTO aerich (version, app, content) VALUES ($1, $2, $3::jsonb)", [name, APP, models]
    )


def _warn(applied: set[str], pending: list[str]) -> None:
    """What is worth a look, and no reason to stop."""
    unknown = in_order(applied - set(migration_files()))
    if unknown:
        # It was migrated by a newer version: leave it alone.
        logger.warning("the database has %d migration(s) that this version does not know: %s", len(unknown), unknown)
    newest = max(map(position, applied), default=(-1, ""))
    late = [name for name in pending if position(name) < newest]
    if late:
        logger.warning(
            "%d migration(s) were merged late: %s come(s) before %s, which is applied", len(late), late, newest[1]
        )


@asynccontextmanager
async def explained(client: StoreClient, what: str) -> AsyncIterator[None]:
    """Around one file.

    Raises:
        SchemaError: It failed: which file, why, and what it left behind. What another try may help is raised as it is.
    """
    try:
        yield
    except (UnavailableError, OutcomeUnknownError):
        raise
    except StoreError as exc:
        lines, cause = [f"{what} failed: {exc}"], exc.__cause__
        # Errors of this class name objects of the schema, never stored values.
        if isinstance(cause, asyncpg.PostgresError) and (cause.sqlstate or "").startswith("42"):
            lines.append(f"The server says: {cause}.")
        lines.append(await _about_invalid_indexes(client))
        raise SchemaError(" ".join(filter(None, lines))) from exc


async def _about_invalid_indexes(client: StoreClient) -> str:
    """What a failed CREATE INDEX CONCURRENTLY leaves: an index that costs writes, serves no read, guards nothing.

    A sentence about the store's own, by what its catalog names; not about others', who may be building them just now.
    """
    own = [name.rpartition(".")[2] for name in names_of("index", expected_catalog())]
    rows = await client.execute_rows(
        "SELECT c.relname AS name FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
        " WHERE NOT i.indisvalid AND pg_table_is_visible(i.indrelid) AND c.relname = ANY ($1::text[]) ORDER BY 1",
        [own],
    )
    names = ", ".join(row["name"] for row in rows)
    return f"Invalid indexes, to be dropped or rebuilt with REINDEX INDEX CONCURRENTLY: {names}." if names else ""


def fetching(client: StoreClient) -> Fetch:
    """To read with a client; its errors are the store's."""
    return lambda query, *values: client.execute_rows(query, values)


async def recorded_migrations(fetch: Fetch) -> set[str]:
    """The store's migrations that aerich has recorded, also those that this version does not know. One or two reads.

    Raises:
        SchemaError: The table ``aerich`` is not aerich's.
    """
    [aerich] = await fetch(_AERICH)
    if not aerich["there"]:
        return set()
    if aerich["lacking"]:
        raise SchemaError(
            f"The table aerich is not one that aerich made: it lacks {' and '.join(aerich['lacking'])}. Rename it, or "
            "give the store a separate schema."
        )
    return {row["version"] for row in await fetch("SELECT version FROM aerich WHERE app = $1", APP)}


async def unrecorded_tables(fetch: Fetch, schema: str) -> list[str]:
    """What tables of the store's names are in a schema, quoted, where no migration is recorded. Two reads.

    A sentence and then what to type, line by line; nothing where there are none, and the migrations can begin. Most
    often Tortoise's ``generate_schemas`` made such tables: bare ones, without indexes, checks and triggers.
    """
    live, every = await read_catalog(fetch, schema), expected_tables()
    tables = [name for name in every if f"table {name}" in live and name != "aerich"]
    if not tables:
        return []
    if len(tables) >= len(every) - 1:
        return [f"The tables are there, but {_NO_RECORD}: restore the rows of the table aerich from the same backup."]
    if not _GENERATED.items() <= live.items():
        return [
            f"Other tables have names that the store needs, and {_NO_RECORD}. Tables of the SQLAlchemy layer are taken "
            "over by 'veupath-store adopt'; beside any others, give the store a separate database or schema.",
            *tables,
        ]
    [row] = await fetch(_WRITTEN, schema, tables)
    return [
        "Tortoise's generate_schemas made the tables, without the migrations' indexes, checks and triggers. Leave "
        "generate_schemas out, stop the application, and as the tables' owner:",
        *_way_out(schema, tables, written=row["written"]),
    ]


def _way_out(schema: str, tables: list[str], *, written: bool) -> list[str]:
    named = [f"{schema}.{table}" for table in tables]
    again = [f"DROP TABLE {', '.join(named)};", "veupath-store migrate"]
    if not written:
        return again
    chosen = " ".join(f"--table='{name}'" for name in named)
    return [
        f'pg_dump --data-only --format=custom --file=rows.dump {chosen} "$DATABASE_URL"',
        *again,
        'pg_restore --data-only --single-transaction --dbname="$DATABASE_URL" rows.dump',
        _DOCUMENT_IDS.format(schema=schema),
    ]


async def _refuse_unrecorded_tables(client: StoreClient) -> None:
    """Refuse to begin with the migrations where their tables are already."""
    [row] = await client.execute_rows("SELECT quote_ident(coalesce(current_schema(), 'public')) AS schema")
    if found := await unrecorded_tables(fetching(client), row["schema"]):
        raise SchemaError("\n".join(found))
