"""Digests of the rows that an adoption wrote: by them undoing it knows what was written since.

They go through a dump and a restore, as ``xmin`` does not. What catch-up writes of a projection is not in them: where
it stands, and what its log says.
"""

from collections.abc import Sequence
from typing import Any, Final

from veupath_store.adoption.legacy import SCHEMA

TABLE: Final = "digests"

_PROJECTIONS: Final = "stream_projections"
_OF_THE_LOG: Final = ("last_event_id", "unlogged", "lost", "message_count", "updated_at")
_SETTINGS: Final = "SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO, YMD'"

_MAKE: Final = (
    f"CREATE TABLE {SCHEMA}.{TABLE} (entity text NOT NULL, columns text[] NOT NULL, digests bigint[] NOT NULL)"
)
_COLUMNS: Final = """
SELECT array_agg(attname::text ORDER BY attname) FROM pg_attribute
WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped AND attname <> ALL ($2::text[])"""
_KEEP: Final = f"""
INSERT INTO {SCHEMA}.{TABLE} SELECT $1, $2, COALESCE(array_agg({{digest}}), '{{{{}}}}') FROM {{table}} t"""
_KEPT: Final = f"SELECT columns FROM {SCHEMA}.{TABLE} WHERE entity = $1"

# Both ways: a row that was changed is one that came and one that went.
_DIFFERENT: Final = f"""
WITH kept AS MATERIALIZED (SELECT unnest(digests) AS digest FROM {SCHEMA}.{TABLE} WHERE entity = $1),
there AS MATERIALIZED (SELECT {{digest}} AS digest, {{is_newer}} AS is_newer FROM {{table}} t)
SELECT GREATEST(
    (SELECT count(*) FROM (SELECT digest FROM kept EXCEPT ALL SELECT digest FROM there WHERE NOT is_newer) gone),
    (SELECT count(*) FROM there WHERE is_newer)
        + (SELECT count(*) FROM (SELECT digest FROM there WHERE NOT is_newer EXCEPT ALL SELECT digest FROM kept) come)
)"""
_IS_NEWER: Final = f"t.updated_at > (SELECT adopted_at FROM {SCHEMA}.adoption)"


async def keep_digests(connection: Any, tables: Sequence[str]) -> None:  # noqa: ANN401 - an asyncpg connection
    """Keep the digests of all rows of the new tables. Reads all of them."""
    await connection.execute(f"{_SETTINGS}; {_MAKE}")
    for table in tables:
        columns = await connection.fetchval(_COLUMNS, table, list(_OF_THE_LOG if table == _PROJECTIONS else ()))
        await connection.execute(_KEEP.format(digest=_digest(columns), table=table), table, columns)


async def count_newer(connection: Any, schema: str, table: str) -> int:  # noqa: ANN401
    """How many rows of a table are not those of the adoption, or are gone. Reads all of them."""
    await connection.execute(_SETTINGS)
    columns = await connection.fetchval(_KEPT, table) or []  # of a table that is newer all rows are
    is_newer = _IS_NEWER if table == _PROJECTIONS else "false"
    statement = _DIFFERENT.format(digest=_digest(columns), table=f"{schema}.{table}", is_newer=is_newer)
    count: int = await connection.fetchval(statement, table)
    return count


def _digest(columns: Sequence[str]) -> str:
    listed = ", ".join(f"t.{column}" for column in columns)
    return f"hashtextextended(ROW({listed})::text, 0)"
