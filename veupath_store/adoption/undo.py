"""The way back after an adoption, and its end: the old tables where they were, or dropped."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, TypeVar

import asyncpg

from veupath_store.adoption import record
from veupath_store.adoption.catalog import new_tables
from veupath_store.adoption.legacy import SCHEMA, TABLES, VERSION_TABLE
from veupath_store.adoption.values import FinishedAdoption, UndoneAdoption
from veupath_store.adoption.work import UNHURRIED, own_connection
from veupath_store.config import StoreSettings
from veupath_store.engine import StoreClient
from veupath_store.errors import AdoptionRefusedError
from veupath_store.schema.catalog import expected_catalog, names_of
from veupath_store.schema.lock import LOCKED, under_lock
from veupath_store.schema.names import APP

R = TypeVar("R")

_AERICH: Final = "aerich"

_ADOPTED: Final = f"SELECT schema FROM {SCHEMA}.adoption"
_THERE: Final = (
    "SELECT relname FROM pg_class WHERE relnamespace = $1::regnamespace AND relname = ANY ($2::text[]) ORDER BY 1"
)

_SIZE: Final = """
SELECT COALESCE(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class
WHERE relnamespace = to_regnamespace($1) AND relkind = 'r'"""


async def undo_adoption(settings: StoreSettings | None = None, *, discard_newer: bool = False) -> UndoneAdoption:
    """Go back to the old tables, in one transaction. They are as they were; the new ones are dropped.

    Args:
        discard_newer: Go back also when something was written since the adoption, which is LOST.

    Returns:
        What was brought back, and what was discarded.

    Raises:
        AdoptionRefusedError: There is no adoption to undo, something was written since, or something that is not the
            store's depends on a new table, as a view: the error says where.
        OutcomeUnknownError: The connection was lost in COMMIT; run it again to find out.
    """
    return await _under_lock(settings, lambda connection: _undo(connection, discard_newer=discard_newer))


async def finish_adoption(settings: StoreSettings | None = None) -> FinishedAdoption:
    """Drop the old tables, and with them the way back. Idempotent.

    Returns:
        Whether there was something to drop, and its size.

    Raises:
        AdoptionRefusedError: Something that is not the store's depends on an old table, or is in their schema.
        OutcomeUnknownError: The connection was lost in COMMIT; run it again.
    """
    return await _under_lock(settings, _finish)


async def _under_lock(settings: StoreSettings | None, work: Callable[[Any], Awaitable[R]]) -> R:
    """Do it on the connection of one transaction."""

    async def run(client: StoreClient) -> R:
        async with client.pooled_transaction() as transaction, own_connection(transaction) as connection:
            return await work(connection)

    return await under_lock((settings or StoreSettings()).for_migrations(), run, again=LOCKED)


async def _finish(connection: Any) -> FinishedAdoption:  # noqa: ANN401 - an asyncpg connection
    if not await record.is_recorded(connection):
        return FinishedAdoption(dropped=False, bytes=0)
    size = await connection.fetchval(_SIZE, SCHEMA)
    await _drop(connection, SCHEMA, [*TABLES, VERSION_TABLE, *record.TABLES], f"DROP SCHEMA {SCHEMA}")
    return FinishedAdoption(dropped=True, bytes=size)


async def _undo(connection: Any, *, discard_newer: bool) -> UndoneAdoption:  # noqa: ANN401
    await connection.execute(UNHURRIED)
    if not await record.is_recorded(connection):
        raise AdoptionRefusedError([f"schema {SCHEMA} does not keep old tables"], "There is nothing to go back to")
    schema = await connection.fetchval(_ADOPTED)
    ours = [row["relname"] for row in await connection.fetch(_THERE, schema, [*new_tables(), _AERICH])]
    await connection.execute(f"LOCK TABLE {_named(schema, ours)} IN ACCESS EXCLUSIVE MODE")
    counts = {table: await record.count_newer(connection, schema, table) for table in ours if table != _AERICH}
    counts[_AERICH] = await connection.fetchval(f"SELECT count(*) FROM {schema}.{_AERICH} WHERE app <> '{APP}'")
    newer = {table: count for table, count in counts.items() if count}
    if newer and not discard_newer:
        lines = [f"{table}: {count} rows were written or deleted since" for table, count in newer.items()]
        raise AdoptionRefusedError(lines, "Going back would lose what was written since the adoption")
    await _drop(connection, schema, ours)
    for function in names_of("function", expected_catalog()):
        await connection.execute(f"DROP FUNCTION IF EXISTS {schema}.{function}")
    for table in (*TABLES, VERSION_TABLE):
        await connection.execute(f"ALTER TABLE IF EXISTS {SCHEMA}.{table} SET SCHEMA {schema}")
    await _drop(connection, SCHEMA, record.TABLES, f"DROP SCHEMA {SCHEMA}")
    rows = {table: await connection.fetchval(f"SELECT count(*) FROM {schema}.{table}") for table in TABLES}
    return UndoneAdoption(rows=rows, discarded=newer)


async def _drop(connection: Any, schema: str, tables: Iterable[str], then: str = "") -> None:  # noqa: ANN401
    """Drop some tables of a schema, and nothing that hangs on them: that is named."""
    try:
        await connection.execute(f"DROP TABLE IF EXISTS {_named(schema, tables)}; {then}")
    except asyncpg.DependentObjectsStillExistError as exc:
        lines = (exc.detail or str(exc)).splitlines()
        raise AdoptionRefusedError(lines, "Something that is not the store's would be dropped as well") from exc


def _named(schema: str, tables: Iterable[str]) -> str:
    return ", ".join(f"{schema}.{table}" for table in tables)
