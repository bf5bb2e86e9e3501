"""The load: one INSERT … SELECT for each table, in ranges of the old one so that progress can be shown.

Keys, indexes and foreign keys of the new tables are dropped before and made again after. Made at once from all rows
they cost less than kept up row by row: 200,000 rows, 50,000 of them projections, were written in 9 s instead of 22
(PostgreSQL 15, a busy machine of two cores). Before COMMIT all rows are compared.
"""

import math
from collections.abc import AsyncIterator, Iterator
from typing import Final

from veupath_store.adoption.documents import DOCUMENTS
from veupath_store.adoption.legacy import COLUMNS, KEYS, SCHEMA, Column
from veupath_store.adoption.notes import ENDED, SOURCES
from veupath_store.adoption.plans import STEPS
from veupath_store.adoption.staging import OWNER
from veupath_store.adoption.work import NOBODY, Work
from veupath_store.errors import InternalError
from veupath_store.models.unlogged import LOGGED, PAST, tagged
from veupath_store.schema.catalog import expected_catalog, names_of
from veupath_store.values.operations import OperationStatus, OperationType

RANGE: Final = 50_000
"""Rows of a range, about."""

SWITCHED: Final = "The application was switched over while this was running."
"""The error of an operation that was active."""

_DOCUMENTS: Final = {(document.table, document.field): document for document in DOCUMENTS}

_OWNED: Final = " UNION ALL ".join(
    f"SELECT user_id FROM adopting_{table}"
    for table in ("control_sets", "experiments", "gene_sets", "streams", "operations")
)
_NOBODY: Final = f"""
INSERT INTO users (id, external_id)
SELECT '{OWNER}', CASE WHEN NOT EXISTS (SELECT FROM users WHERE external_id = '{NOBODY}') THEN '{NOBODY}' END
WHERE NOT EXISTS (SELECT FROM users WHERE id = '{OWNER}')
  AND EXISTS (SELECT FROM ({_OWNED}) AS owned WHERE user_id = '{OWNER}')"""

_HAS_ENDED: Final = f"COALESCE(o.status IN ({ENDED}), false)"


def _as_it_was(table: str) -> dict[str, str | None]:
    """Each column as it is, or where null may not be its default; ``None`` for a JSON column."""
    gone = {KEYS[table], "steps", "root_step_id"}
    return {
        name: None if column.type == "json" else _or_default(f"o.{name}", column)
        for name, column in COLUMNS[table].items()
        if name not in gone
    }


def _or_default(value: str, column: Column) -> str:
    if column.nullable or not column.defaults:
        return value
    default = column.defaults[-1]
    return f"COALESCE({value}, {default if default == 'now()' else repr(default)})"


# Each: the columns, and what goes into them (o: the old row, a: the staged row); None for a JSON column.
_COLUMNS: Final[dict[str, dict[str, str | None]]] = {
    "users": {**_as_it_was("users"), "id": "a.id"},
    "control_sets": {**_as_it_was("control_sets"), "id": "a.id", "user_id": "a.user_id"},
    # The document is converted once, and read twice.
    "experiments": {
        **_as_it_was("experiments"),
        "id": "a.id",
        "user_id": "a.user_id",
        "data": "c.data",
        "is_primary": "COALESCE(c.data -> 'isPrimary' = 'true', false)"
        " OR COALESCE(c.data -> 'isPrimaryBenchmark' = 'true', false)",
    },
    "gene_sets": {
        **_as_it_was("gene_sets"),
        "id": "a.id",
        "user_id": "a.user_id",
        "source": f"CASE WHEN o.source IN ({SOURCES}) THEN o.source ELSE 'paste' END",
    },
    "stream_projections": {
        **_as_it_was("stream_projections"),
        "stream_id": "a.id",
        "user_id": "a.user_id",
        "site_id": "a.site_id",
        "name": "a.name",
        "wdk_strategy_id": "a.wdk_strategy_id",
        "message_count": "GREATEST(o.message_count, 0)",
        "step_count": "GREATEST(o.step_count, 0)",
        "unrooted_steps": f"d_{STEPS.field}.document",
        "result_count": "CASE WHEN o.result_count >= 0 THEN o.result_count END",
        "last_event_id": "COALESCE(a.last_event_id, '0-0')",
        "updated_at": "a.updated_at",
        "dismissed_reason": "CASE WHEN o.dismissed_at IS NOT NULL THEN 'user' END",
        "gene_set_id": "a.gene_set_id",
        "unlogged": "(SELECT unlogged FROM adopting_tags)",
    },
    "operations": {
        **_as_it_was("operations"),
        "id": "a.id",
        "stream_id": "a.stream_id",
        "user_id": "a.user_id",
        "type": f"COALESCE(NULLIF(o.type, ''), '{OperationType.BATCH}')",
        "status": f"CASE WHEN {_HAS_ENDED} THEN o.status ELSE '{OperationStatus.FAILED}' END",
        "completed_at": f"CASE WHEN {_HAS_ENDED} THEN o.completed_at ELSE COALESCE(o.completed_at, now()) END",
        "error": f"CASE WHEN NOT {_HAS_ENDED} THEN '{SWITCHED}' END",
    },
}

_STREAMS: Final = """
INSERT INTO streams (id, user_id, site_id, experiment_id, created_at)
SELECT id, user_id, site_id, experiment_id, created_at FROM adopting_streams"""

_MADE_PROJECTIONS: Final = """
INSERT INTO stream_projections (stream_id, user_id, site_id, name, last_event_id, updated_at, unlogged)
SELECT id, user_id, site_id, name, '0-0', updated_at, (SELECT unlogged FROM adopting_tags)
FROM adopting_stream_projections WHERE place IS NULL"""

_DOCUMENT_IDS: Final = """
INSERT INTO document_ids (user_id, kind, id)
SELECT user_id, 'experiments', id FROM adopting_experiments
UNION ALL SELECT user_id, 'gene_sets', id FROM adopting_gene_sets"""

_PAGES: Final = f"""
SELECT pg_relation_size(format('{SCHEMA}.%I', $1::text)::regclass) / current_setting('block_size')::bigint"""

_KEYS: Final = {"stream_projections": "stream_id"}

_COUNTS: Final = ("message_count", "step_count", "result_count")

# Of the plain columns that are no ids, those that may not be the same in both, where the old one has a value.
_CHANGED: Final = {
    "gene_sets": {"source"},
    "stream_projections": {"name", "site_id", "wdk_strategy_id", "last_event_id", "root_step_id"},
    "operations": {"type", "status"},
}

_ROWS: Final = """
SELECT (SELECT count(*) FROM adopting_{table} WHERE place IS NOT NULL) AS staged,
       (SELECT count(*) FROM {table}) - (SELECT count(*) FROM adopting_{table}) AS surplus,
       count(*) FILTER (WHERE n.{key} IS NULL) AS lost,
       count(*) FILTER (WHERE {different}) AS different
FROM old_{table} o LEFT JOIN adopting_{table} a ON a.place = o.place LEFT JOIN {table} n ON n.{key} = a.id"""


async def load(work: Work) -> dict[str, int]:
    """Fill the new tables, which must be empty; how many rows were written to each. Rows must be staged before."""
    dropped = await _drop_secondary(work)
    written: dict[str, int] = {}
    total = sum(work.rows.values())

    async def run(table: str, statement: str) -> None:
        written[table] = written.get(table, 0) + await work.run(statement)
        work.tell("writing rows", min(total, sum(written.values()) - written.get("document_ids", 0)), total)

    work.tell("writing rows", 0, total)
    # Fresh tags: what an adoption before this one has logged, and was undone, says nothing of these rows.
    await work.make("adopting_tags", f"SELECT '{tagged(LOGGED, PAST)}'::jsonb AS unlogged")
    # In an order that foreign keys would allow, too.
    for table in _COLUMNS:
        if table == "stream_projections":
            await run("streams", _STREAMS)
        async for statement in _statements(work, table):
            await run(table, statement)
        if table == "users":
            await run(table, _NOBODY)
    await run("stream_projections", _MADE_PROJECTIONS)
    await run("document_ids", _DOCUMENT_IDS)
    for statement in work.steps("making indexes", dropped):
        await work.run(statement)
    return written


async def verify(work: Work) -> None:
    """Compare each row and its plain columns with the old one's.

    Raises:
        InternalError: A row is lost, is too many, or differs; the transaction must not commit.
    """
    for table in work.steps("comparing", COLUMNS):
        await _compare(work, table)


async def _compare(work: Work, table: str) -> None:
    different = " OR ".join(
        f"(o.{name} {kept} AND n.{name} IS DISTINCT FROM o.{name})"
        for name, column in COLUMNS[table].items()
        if column.type not in ("id", "json") and name not in _CHANGED.get(table, ())
        for kept in (">= 0" if table == "stream_projections" and name in _COUNTS else "IS NOT NULL",)
    )
    key = _KEYS.get(table, "id")
    found = await work.connection.fetchrow(_ROWS.format(table=table, key=key, different=different))
    made = await work.connection.fetchval("SELECT count(*) FROM users WHERE id NOT IN (SELECT id FROM adopting_users)")
    surplus = found["surplus"] - (made if table == "users" else 0)
    if surplus or found["lost"] or found["different"] or found["staged"] != work.rows[table]:
        raise InternalError(
            f"The adopted table {table} is not what it should be: {surplus} rows too many, {found['lost']} lost, "
            f"{found['different']} different, {found['staged']} of {work.rows[table]} matched. Nothing was changed."
        )


async def _statements(work: Work, table: str) -> AsyncIterator[str]:
    """The INSERTs of a table, one for each range of pages of the old one."""
    columns = _COLUMNS[table]
    values = ", ".join(value or _DOCUMENTS[table, name].converted() for name, value in columns.items())
    joins = " ".join(document.join() for document in (*DOCUMENTS, STEPS) if document.table == table)
    if table == "experiments":
        joins += f" CROSS JOIN LATERAL (SELECT {_DOCUMENTS[table, 'data'].converted()} AS data OFFSET 0) c"
    pages: int = await work.connection.fetchval(_PAGES, table)
    for first, last in _ranges(pages, work.rows[table]):
        within = " AND ".join(f"{row}.place >= '({first},0)' AND {row}.place < '({last},0)'" for row in "ao")
        yield (
            f"INSERT INTO {table} ({', '.join(columns)}) SELECT {values} FROM adopting_{table} a "
            f"JOIN old_{table} o ON o.place = a.place {joins} WHERE {within}"
        )


def _ranges(pages: int, rows: int) -> Iterator[tuple[int, int]]:
    step = max(1, math.ceil(pages / max(1, math.ceil(rows / RANGE))))
    return ((first, first + step) for first in range(0, pages, step))


async def _drop_secondary(work: Work) -> list[str]:
    """Drop what the new tables have beside their columns and checks; the statements that make it again, in order."""
    expected = expected_catalog()
    constraints = {name: expected[f"constraint {name}"] for name in names_of("constraint", expected)}
    foreign = {name: it for name, it in constraints.items() if it.startswith("FOREIGN KEY")}
    keys = {name: it for name, it in constraints.items() if it.startswith(("PRIMARY KEY", "UNIQUE"))}
    others = {name: expected[f"index {name}"] for name in names_of("index", expected) if name not in keys}
    # A list in an index's condition is not written as it was read: such an index stays, and the catalog as expected.
    indexes = {name: it for name, it in others.items() if "ANY (" not in it}
    for name in foreign:
        await work.run(_altered(name, "DROP"))
    for name in indexes:
        await work.run(f"DROP INDEX {name.partition('.')[2]}")
    for name in keys:
        await work.run(_altered(name, "DROP"))
    return [
        *(f"{_altered(name, 'ADD')} {it}" for name, it in keys.items()),
        *indexes.values(),
        *(f"{_altered(name, 'ADD')} {it}" for name, it in foreign.items()),
    ]


def _altered(constraint: str, how: str) -> str:
    table, _, name = constraint.partition(".")
    return f"ALTER TABLE {table} {how} CONSTRAINT {name}"
