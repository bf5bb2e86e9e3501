"""What is fixed in rows that need no decision: owners, links, nulls, values that the store does not know."""

from typing import Final

from veupath_store.adoption.kept import note_provenance
from veupath_store.adoption.legacy import COLUMNS
from veupath_store.adoption.source import STORED, TIME
from veupath_store.adoption.values import ProblemKind
from veupath_store.adoption.work import Work
from veupath_store.values.gene_sets import GeneSetSource
from veupath_store.values.operations import OperationStatus, OperationType
from veupath_store.values.streams import DEFAULT_NAME

_FAILED: Final = "made failed, and completed at the time of the adoption where completed_at was null"
_GIVEN: Final = "given to a named owner"

SOURCES: Final = ", ".join(f"'{source}'" for source in GeneSetSource)
ENDED: Final = ", ".join(f"'{status}'" for status in OperationStatus if status is not OperationStatus.ACTIVE)

# Columns that are not taken over, or have notes of their own.
_NOT_ASKED: Final = {
    "stream_projections": {"steps", "site_id", "updated_at", "name"},
    "operations": {"status", "type"},
}

_BEGINS: Final = "made 0-0, where logs begin: the messages of its log are counted anew"
_NUMBERS: Final = {
    **dict.fromkeys(("message_count", "step_count"), "made 0"),
    **dict.fromkeys(("wdk_strategy_id", "result_count"), "made null"),
}

_STAGED_NOTES: Final = (
    (ProblemKind.ORPHAN, "control_sets", "user_id", _GIVEN, "orphan AND user_id IS NOT NULL"),
    (ProblemKind.ORPHAN, "control_sets", "user_id", "public, and of nobody now", "orphan AND user_id IS NULL"),
    (ProblemKind.ORPHAN, "experiments", "user_id", _GIVEN, "orphan"),
    (ProblemKind.ORPHAN, "gene_sets", "user_id", _GIVEN, "orphan"),
    (ProblemKind.ORPHAN, "streams", "user_id", _GIVEN, "orphan AND place IS NOT NULL"),
    (ProblemKind.ORPHAN, "operations", "stream_id", "made null, and given to a named owner", "orphan"),
    (ProblemKind.BROKEN_LINK, "stream_projections", "gene_set_id", "made null", "unlinked"),
    (ProblemKind.MALFORMED_POSITION, "stream_projections", "last_event_id", _BEGINS, "misplaced"),
)

_FROM_STREAM: Final = "the site of the stream was taken"
_SITE: Final = """
SELECT o.id FROM adopting_stream_projections p JOIN old_stream_projections o ON o.place = p.place WHERE {}"""


async def note_all(work: Work) -> None:
    """Note it. Rows must be staged before."""
    for kind, entity, field, fixed, condition in _STAGED_NOTES:
        rows = f"SELECT legacy_id FROM adopting_{entity} WHERE {condition}"
        await work.note(kind, entity, field, fixed, rows)
    await _note_pairs(work)
    for entity in COLUMNS:
        await _note_missing(work, entity)
        await _note_times(work, entity)
    await _note_projections(work)
    await _note_unknown(work)
    await note_provenance(work)


async def _note_pairs(work: Work) -> None:
    """Streams without projections, projections without streams, and where the two differ."""
    entity = "stream_projections"
    made = "SELECT legacy_id FROM adopting_{} WHERE place IS NULL"
    fixed = "a stream was made, for a named owner"
    await work.note(ProblemKind.MISSING_STREAM, entity, None, fixed, made.format("streams"))
    await work.note(ProblemKind.MISSING_PROJECTION, "streams", None, "a projection was made", made.format(entity))
    other = _SITE.format("o.site_id <> '' AND o.site_id <> p.site_id")
    await work.note(ProblemKind.SITE_MISMATCH, entity, "site_id", _FROM_STREAM, other)
    none = _SITE.format("o.site_id IS NULL OR (o.site_id = '' AND p.site_id <> '')")
    await work.note(ProblemKind.MISSING_VALUE, entity, "site_id", _FROM_STREAM, none)


async def _note_projections(work: Work) -> None:
    query, entity = "SELECT id FROM old_stream_projections WHERE {}", "stream_projections"
    missing = query.format("updated_at IS NULL")
    await work.note(ProblemKind.MISSING_VALUE, entity, "updated_at", "the time of the adoption was taken", missing)
    for name, fixed in _NUMBERS.items():
        await work.note(ProblemKind.NEGATIVE_NUMBER, entity, name, fixed, query.format(f"{name} < 0"))
    unnamed = query.format("COALESCE(name, '') = ''")
    await work.note(ProblemKind.MISSING_VALUE, entity, "name", f"named {DEFAULT_NAME}", unnamed)


async def _note_missing(work: Work, entity: str) -> None:
    """Nulls where the store has none."""
    skipped = _NOT_ASKED.get(entity, set())
    for name, column in COLUMNS[entity].items():
        if not column.nullable and column.type != "id" and name not in skipped:
            rows = f"SELECT id FROM old_{entity} WHERE {name} IS NULL"
            await work.note(ProblemKind.MISSING_VALUE, entity, name, "the default was taken", rows)


async def _note_times(work: Work, entity: str) -> None:
    """Times that no driver holds: infinite ones, and those of the years before 1 and after 9999."""
    for name, column in COLUMNS[entity].items():
        if column.type == TIME:
            rows = f"SELECT id FROM old_{entity} WHERE {STORED}{name} <> {name}"
            await work.note(ProblemKind.UNSTORABLE_TIME, entity, name, "the time of the adoption was taken", rows)


async def _note_unknown(work: Work) -> None:
    other = f"SELECT id FROM old_gene_sets WHERE source NOT IN ({SOURCES})"
    await work.note(ProblemKind.UNKNOWN_VALUE, "gene_sets", "source", "made paste", other)
    note, query = work.note, "SELECT id FROM old_operations WHERE {}"
    active = query.format(f"status = '{OperationStatus.ACTIVE}'")
    await note(ProblemKind.OPERATION_ENDED, "operations", "status", _FAILED, active)
    unknown = query.format(f"status NOT IN ('{OperationStatus.ACTIVE}', {ENDED})")
    await note(ProblemKind.UNKNOWN_VALUE, "operations", "status", _FAILED, unknown)
    await note(ProblemKind.MISSING_VALUE, "operations", "status", _FAILED, query.format("status IS NULL"))
    untyped = query.format("COALESCE(type, '') = ''")
    await note(ProblemKind.MISSING_VALUE, "operations", "type", f"made {OperationType.BATCH}", untyped)
