"""What is kept of an adoption, in the schema of the old tables: its report, and the problems."""

from typing import Any, Final

from veupath_store.adoption import digests
from veupath_store.adoption.catalog import new_tables
from veupath_store.adoption.legacy import SCHEMA
from veupath_store.adoption.values import AdoptionReport, Variant
from veupath_store.adoption.work import Work, problem_of
from veupath_store.documents.json import decode, encode

# An adoption by a build before 0.2.0 has kept adopted_ids, too.
TABLES: Final = ("adoption", "adopted_ids", "problems", digests.TABLE)

_KEPT: Final = ("rows", "bytes", "estimate_seconds", "estimate_bytes", "tolerated", "written", "seconds")
_THERE: Final = "SELECT to_regclass($1) IS NOT NULL"

_MADE: Final = (
    f"""CREATE TABLE {SCHEMA}.adoption (
        adopted_at timestamptz NOT NULL, variant text NOT NULL, revision text NOT NULL,
        schema text NOT NULL, versioned boolean NOT NULL, report jsonb NOT NULL
    )""",
    f"""CREATE TABLE {SCHEMA}.problems AS
        SELECT number, kind, entity, key, field, fixed FROM pg_temp.adopting_problems ORDER BY number""",
    f"ALTER TABLE {SCHEMA}.problems ADD PRIMARY KEY (number)",
)

_RECORD: Final = f"""
INSERT INTO {SCHEMA}.adoption (adopted_at, variant, revision, schema, versioned, report)
VALUES (now(), $1, $2, $3, $4, $5::jsonb)"""

_READ: Final = f"SELECT adopted_at, variant, revision, schema, versioned, report FROM {SCHEMA}.adoption"
_PROBLEMS: Final = f"SELECT kind, entity, key, field, fixed FROM {SCHEMA}.problems ORDER BY number"


async def record(work: Work, report: AdoptionReport, schema: str, *, versioned: bool) -> None:
    """Keep what an adoption found and did. All rows must be written before.

    Args:
        work: The adoption.
        report: What it found and did.
        schema: Where the old tables stood.
        versioned: Whether there is a table ``alembic_version``.
    """
    for statement in _MADE:
        await work.run(statement)
    work.tell("keeping digests", 0, 1)
    await digests.keep_digests(work.connection, new_tables())
    kept = {name: getattr(report, name) for name in _KEPT}
    await work.connection.execute(_RECORD, report.variant, report.revision, schema, versioned, encode(kept))


async def is_recorded(connection: Any) -> bool:  # noqa: ANN401 - an asyncpg connection, which has no types
    """Whether the database was adopted, and the old tables are still there."""
    return bool(await connection.fetchval(_THERE, f"{SCHEMA}.adoption"))


async def recorded(connection: Any) -> AdoptionReport:  # noqa: ANN401
    """The report of an adoption that was recorded."""
    row = await connection.fetchrow(_READ)
    problems = [problem_of(problem) for problem in await connection.fetch(_PROBLEMS)]
    return AdoptionReport(
        variant=Variant(row["variant"]),
        revision=row["revision"],
        adopted_at=row["adopted_at"],
        problems=problems,
        repeated=True,
        **decode(row["report"]),
    )
