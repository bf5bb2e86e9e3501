"""What is kept of an adoption, in the schema of the old tables: its report, the problems, and digests of all rows.

By the digests undoing knows what was written since. They go through a dump and a restore, as ``xmin`` does not. What
catch-up writes of a projection is not in them: where it stands, and what its log says.
"""

from collections.abc import Sequence
from typing import Any, Final

from veupath_store.adoption.catalog import new_tables
from veupath_store.adoption.legacy import SCHEMA
from veupath_store.adoption.values import AdoptionReport, Variant
from veupath_store.adoption.work import Work, problems_in
from veupath_store.documents.json import decode, encode

_PROJECTIONS: Final = "stream_projections"
_OF_THE_LOG: Final = ("last_event_id", "unlogged", "lost", "message_count", "updated_at")
_SETTINGS: Final = "SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO, YMD'"

_DIGESTED: Final = """
SELECT array_agg(attname::text ORDER BY attname) FROM pg_attribute
WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped AND attname <> ALL ($2::text[])"""
_KEEP_DIGESTS: Final = f"""
INSERT INTO {SCHEMA}.digests SELECT $1, $2, COALESCE(array_agg({{digest}}), '{{{{}}}}') FROM {{table}} t"""
_KEPT_COLUMNS: Final = f"SELECT columns FROM {SCHEMA}.digests WHERE entity = $1"

# Both ways: a row that was changed is one that came and one that went.
_DIFFERENT: Final = f"""
WITH kept AS MATERIALIZED (SELECT unnest(digests) AS digest FROM {SCHEMA}.digests WHERE entity = $1),
there AS MATERIALIZED (SELECT {{digest}} AS digest, {{is_newer}} AS is_newer FROM {{table}} t)
SELECT GREATEST(
    (SELECT count(*) FROM (SELECT digest FROM kept EXCEPT ALL SELECT digest FROM there WHERE NOT is_newer) gone),
    (SELECT count(*) FROM there WHERE is_newer)
        + (SELECT count(*) FROM (SELECT digest FROM there WHERE NOT is_newer EXCEPT ALL SELECT digest FROM kept) come)
)"""
_IS_NEWER: Final = f"t.updated_at > (SELECT adopted_at FROM {SCHEMA}.adoption)"

# An adoption by a build before 0.2.0 has kept adopted_ids, too.
TABLES: Final = ("adoption", "adopted_ids", "problems", "digests")

_KEPT: Final = ("rows", "bytes", "estimate_seconds", "estimate_bytes", "tolerated", "written", "seconds")
_THERE: Final = "SELECT to_regclass($1) IS NOT NULL"

# Where the connections of the store look.
_OURS: Final = """
SELECT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = to_regclass('users') AND a.attname = 'id'
               AND a.atttypid = 'uuid'::regtype) AND to_regclass('aerich') IS NOT NULL AS ours"""

_MADE: Final = (
    f"""CREATE TABLE {SCHEMA}.adoption (
        adopted_at timestamptz NOT NULL, variant text NOT NULL, revision text NOT NULL,
        schema text NOT NULL, report jsonb NOT NULL
    )""",
    f"CREATE TABLE {SCHEMA}.digests (entity text NOT NULL, columns text[] NOT NULL, digests bigint[] NOT NULL)",
    f"""CREATE TABLE {SCHEMA}.problems AS
        SELECT number, kind, entity, key, field, fixed FROM pg_temp.adopting_problems ORDER BY number""",
    f"ALTER TABLE {SCHEMA}.problems ADD PRIMARY KEY (number)",
)

_RECORD: Final = f"""
INSERT INTO {SCHEMA}.adoption (adopted_at, variant, revision, schema, report) VALUES (now(), $1, $2, $3, $4::jsonb)"""

_READ: Final = f"SELECT adopted_at, variant, revision, report FROM {SCHEMA}.adoption"


async def record(work: Work, report: AdoptionReport, schema: str) -> None:
    """Keep what an adoption found and did, and the schema that it found it in. All rows must be written before."""
    for statement in _MADE:
        await work.run(statement)
    work.tell("keeping digests", 0, 1)
    await work.run(_SETTINGS)
    for table in new_tables():
        columns = await work.connection.fetchval(_DIGESTED, table, _OF_THE_LOG if table == _PROJECTIONS else ())
        await work.connection.execute(_KEEP_DIGESTS.format(digest=_digest(columns), table=table), table, columns)
    kept = {name: getattr(report, name) for name in _KEPT}
    await work.connection.execute(_RECORD, report.variant, report.revision, schema, encode(kept))


async def is_recorded(connection: Any) -> bool:  # noqa: ANN401 - an asyncpg connection, which has no types
    """Whether the database was adopted, and the old tables are still there."""
    return bool(await connection.fetchval(_THERE, f"{SCHEMA}.adoption"))


async def recorded(connection: Any) -> AdoptionReport | None:  # noqa: ANN401
    """The report of an adoption before, with `repeated` set; ``None`` where there may be something to adopt."""
    if not await is_recorded(connection):
        is_store = await connection.fetchval(_OURS)
        return AdoptionReport(variant=None, revision=None, repeated=True) if is_store else None
    row = await connection.fetchrow(_READ)
    return AdoptionReport(
        variant=Variant(row["variant"]),
        revision=row["revision"],
        adopted_at=row["adopted_at"],
        problems=await problems_in(connection, f"{SCHEMA}.problems"),
        repeated=True,
        **decode(row["report"]),
    )


async def count_newer(connection: Any, schema: str, table: str) -> int:  # noqa: ANN401
    """How many rows of a table are not those of the adoption, or are gone. Reads all of them."""
    await connection.execute(_SETTINGS)
    columns = await connection.fetchval(_KEPT_COLUMNS, table) or []  # of a table that is newer all rows are
    is_newer = _IS_NEWER if table == _PROJECTIONS else "false"
    statement = _DIFFERENT.format(digest=_digest(columns), table=f"{schema}.{table}", is_newer=is_newer)
    count: int = await connection.fetchval(statement, table)
    return count


def _digest(columns: Sequence[str]) -> str:
    listed = ", ".join(f"t.{column}" for column in columns)
    return f"hashtextextended(ROW({listed})::text, 0)"
