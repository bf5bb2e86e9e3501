"""The load: one INSERT … SELECT for each table, in ranges of the old one so that progress can be shown."""

import math
from collections.abc import AsyncIterator, Iterator
from typing import Final

from veupath_store.adoption.documents import DOCUMENTS
from veupath_store.adoption.legacy import SCHEMA
from veupath_store.adoption.notes import ENDED, SOURCES, TYPES
from veupath_store.adoption.plans import STEPS
from veupath_store.adoption.staging import OWNER
from veupath_store.adoption.work import NOBODY, Work
from veupath_store.models.unlogged import LOGGED, PAST, tagged
from veupath_store.values.operations import OperationStatus, OperationType

RANGE: Final = 50_000
"""Rows of a range, about."""

SWITCHED: Final = "The application was switched over while this was running."
"""The error of an operation that was active."""

_DOCUMENTS: Final = {(document.table, document.field): document for document in DOCUMENTS}

_NOBODY: Final = f"""
INSERT INTO users (id, external_id)
SELECT '{OWNER}', CASE WHEN NOT EXISTS (SELECT FROM users WHERE external_id = '{NOBODY}') THEN '{NOBODY}' END
WHERE NOT EXISTS (SELECT FROM users WHERE id = '{OWNER}')
  AND (EXISTS (SELECT FROM adopting_control_sets WHERE user_id = '{OWNER}')
   OR EXISTS (SELECT FROM adopting_experiments WHERE user_id = '{OWNER}')
   OR EXISTS (SELECT FROM adopting_gene_sets WHERE user_id = '{OWNER}')
   OR EXISTS (SELECT FROM adopting_streams WHERE user_id = '{OWNER}')
   OR EXISTS (SELECT FROM adopting_operations WHERE user_id = '{OWNER}'))"""

_HAS_ENDED: Final = f"COALESCE(o.status IN ({ENDED}), false)"

# Each: the columns, and what goes into them (o: the old row, a: the staged row); None for a JSON column.
_COLUMNS: Final[dict[str, dict[str, str | None]]] = {
    "users": {
        "id": "a.id",
        "external_id": "o.external_id",
        "created_at": "COALESCE(o.created_at, now())",
    },
    "control_sets": {
        "id": "a.id",
        "user_id": "a.user_id",
        "name": "COALESCE(o.name, '')",
        "site_id": "COALESCE(o.site_id, '')",
        "record_type": "COALESCE(o.record_type, '')",
        "positive_ids": None,
        "negative_ids": None,
        "source": "o.source",
        "tags": None,
        "provenance_notes": "o.provenance_notes",
        "version": "COALESCE(o.version, 1)",
        "is_public": "COALESCE(o.is_public, false)",
        "created_at": "COALESCE(o.created_at, now())",
    },
    # The document is converted once, and read twice.
    "experiments": {
        "id": "a.id",
        "user_id": "a.user_id",
        "site_id": "COALESCE(o.site_id, '')",
        "name": "COALESCE(o.name, '')",
        "status": "COALESCE(o.status, 'pending')",
        "data": "c.data",
        "batch_id": "o.batch_id",
        "benchmark_id": "o.benchmark_id",
        "created_at": "COALESCE(o.created_at, now())",
        "updated_at": "COALESCE(o.updated_at, now())",
        "is_primary": "COALESCE(c.data -> 'isPrimary' = 'true', false)"
        " OR COALESCE(c.data -> 'isPrimaryBenchmark' = 'true', false)",
    },
    "gene_sets": {
        "id": "a.id",
        "user_id": "a.user_id",
        "site_id": "COALESCE(o.site_id, '')",
        "name": "COALESCE(o.name, '')",
        "gene_ids": None,
        "source": f"CASE WHEN o.source IN ({SOURCES}) THEN o.source ELSE 'paste' END",
        "wdk_strategy_id": "o.wdk_strategy_id",
        "wdk_step_id": "o.wdk_step_id",
        "search_name": "o.search_name",
        "record_type": "o.record_type",
        "parameters": None,
        "parent_set_ids": None,
        "operation": "o.operation",
        "step_count": "COALESCE(o.step_count, 1)",
        "created_at": "COALESCE(o.created_at, now())",
    },
    "stream_projections": {
        "stream_id": "a.id",
        "user_id": "a.user_id",
        "site_id": "a.site_id",
        "name": "a.name",
        "record_type": "o.record_type",
        "wdk_strategy_id": "a.wdk_strategy_id",
        "is_saved": "COALESCE(o.is_saved, false)",
        "model_id": "o.model_id",
        "message_count": "GREATEST(o.message_count, 0)",
        "step_count": "GREATEST(o.step_count, 0)",
        "plan": None,
        "unrooted_steps": f"d_{STEPS.field}.document",
        "result_count": "CASE WHEN o.result_count >= 0 THEN o.result_count END",
        "last_event_id": "COALESCE(a.last_event_id, '0-0')",
        "updated_at": "a.updated_at",
        "dismissed_at": "o.dismissed_at",
        "dismissed_reason": "CASE WHEN o.dismissed_at IS NOT NULL THEN 'user' END",
        "gene_set_id": "a.gene_set_id",
        "gene_set_auto_imported": "COALESCE(o.gene_set_auto_imported, false)",
        "unlogged": "(SELECT unlogged FROM adopting_tags)",
    },
    "operations": {
        "id": "a.id",
        "stream_id": "a.stream_id",
        "user_id": "a.user_id",
        "type": f"CASE WHEN o.type IN ({TYPES}) THEN o.type ELSE '{OperationType.BATCH}' END",
        "status": f"CASE WHEN {_HAS_ENDED} THEN o.status ELSE '{OperationStatus.FAILED}' END",
        "created_at": "COALESCE(o.created_at, now())",
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


async def load(work: Work) -> dict[str, int]:
    """Fill the new tables, which must be empty. Rows must be staged before.

    Returns:
        How many rows were written to each.
    """
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
    return written


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
