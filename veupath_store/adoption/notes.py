"""What is fixed in rows, beside documents and claims: owners, links, nulls, values that the store does not know."""

from collections.abc import Iterator
from typing import Final

from veupath_store.adoption.legacy import COLUMNS
from veupath_store.adoption.staging import STORED, TIME
from veupath_store.adoption.values import ProblemKind as Kind
from veupath_store.adoption.work import Work
from veupath_store.inputs import limits
from veupath_store.values.gene_sets import GeneSetSource
from veupath_store.values.operations import OperationStatus, OperationType
from veupath_store.values.streams import DEFAULT_NAME

SOURCES: Final = ", ".join(f"'{source}'" for source in GeneSetSource)
ENDED: Final = ", ".join(f"'{status}'" for status in OperationStatus if status is not OperationStatus.ACTIVE)

_Note = tuple[Kind, str, str | None, str, str]
"""What is wrong, the old table, the column, what is done about it, and the rows, in SQL."""

_GIVEN: Final = "given to a named owner"
_PUBLIC: Final = "public, and of nobody now"
_FROM_STREAM: Final = "the site of the stream was taken"
_FROM_NOW: Final = "the time of the adoption was taken"
_BEGINS: Final = "made 0-0, where logs begin: the messages of its log are counted anew"
_FAILED: Final = "made failed, and completed at the time of the adoption where completed_at was null"
_MOST: Final = limits.PROVENANCE_NOTES
_KEPT: Final = f"kept; it cannot be saved again: it has more than {_MOST} characters"

_PROJECTIONS: Final = "stream_projections"
_BOTH: Final = "stream_projections p JOIN old_stream_projections o USING (place)"
_OTHER_SITE: Final = f"{_BOTH} WHERE o.site_id <> '' AND o.site_id <> p.site_id"
_NO_SITE: Final = f"{_BOTH} WHERE o.site_id IS NULL OR (o.site_id = '' AND p.site_id <> '')"

# Of the staged rows.
_STAGED: Final[tuple[_Note, ...]] = (
    (Kind.ORPHAN, "control_sets", "user_id", _GIVEN, "control_sets WHERE orphan AND user_id IS NOT NULL"),
    (Kind.ORPHAN, "control_sets", "user_id", _PUBLIC, "control_sets WHERE orphan AND user_id IS NULL"),
    (Kind.ORPHAN, "experiments", "user_id", _GIVEN, "experiments WHERE orphan"),
    (Kind.ORPHAN, "gene_sets", "user_id", _GIVEN, "gene_sets WHERE orphan"),
    (Kind.ORPHAN, "streams", "user_id", _GIVEN, "streams WHERE orphan AND place IS NOT NULL"),
    (Kind.ORPHAN, "operations", "stream_id", "made null, and given to a named owner", "operations WHERE orphan"),
    (Kind.BROKEN_LINK, _PROJECTIONS, "gene_set_id", "made null", "stream_projections WHERE unlinked"),
    (Kind.MALFORMED_POSITION, _PROJECTIONS, "last_event_id", _BEGINS, "stream_projections WHERE misplaced"),
    (Kind.MISSING_STREAM, _PROJECTIONS, None, "a stream was made, for a named owner", "streams WHERE place IS NULL"),
    (Kind.MISSING_PROJECTION, "streams", None, "a projection was made", "stream_projections WHERE place IS NULL"),
    (Kind.SITE_MISMATCH, _PROJECTIONS, "site_id", _FROM_STREAM, _OTHER_SITE),
    (Kind.MISSING_VALUE, _PROJECTIONS, "site_id", _FROM_STREAM, _NO_SITE),
)

# Of the old rows.
_OLD: Final[tuple[_Note, ...]] = (
    (Kind.MISSING_VALUE, _PROJECTIONS, "updated_at", _FROM_NOW, "updated_at IS NULL"),
    (Kind.NEGATIVE_NUMBER, _PROJECTIONS, "message_count", "made 0", "message_count < 0"),
    (Kind.NEGATIVE_NUMBER, _PROJECTIONS, "step_count", "made 0", "step_count < 0"),
    (Kind.NEGATIVE_NUMBER, _PROJECTIONS, "wdk_strategy_id", "made null", "wdk_strategy_id < 0"),
    (Kind.NEGATIVE_NUMBER, _PROJECTIONS, "result_count", "made null", "result_count < 0"),
    (Kind.MISSING_VALUE, _PROJECTIONS, "name", f"named {DEFAULT_NAME}", "COALESCE(name, '') = ''"),
    (Kind.UNKNOWN_VALUE, "gene_sets", "source", "made paste", f"source NOT IN ({SOURCES})"),
    (Kind.OPERATION_ENDED, "operations", "status", _FAILED, f"status = '{OperationStatus.ACTIVE}'"),
    (Kind.UNKNOWN_VALUE, "operations", "status", _FAILED, f"status NOT IN ('{OperationStatus.ACTIVE}', {ENDED})"),
    (Kind.MISSING_VALUE, "operations", "status", _FAILED, "status IS NULL"),
    (Kind.MISSING_VALUE, "operations", "type", f"made {OperationType.BATCH}", "COALESCE(type, '') = ''"),
    (Kind.OVER_LIMIT, "control_sets", "provenance_notes", _KEPT, f"length(provenance_notes) > {_MOST}"),
)

# Columns that are not taken over, or that are noted above.
_NOT_ASKED: Final = {_PROJECTIONS: {"steps", "site_id", "updated_at", "name"}, "operations": {"status", "type"}}


async def note_all(work: Work) -> None:
    """Note it. Rows must be staged before."""
    for kind, entity, field, fixed, rows in _STAGED:
        await work.note(kind, entity, field, fixed, f"SELECT legacy_id FROM adopting_{rows}")
    for kind, entity, field, fixed, condition in (*_OLD, *_of_columns()):
        await work.note(kind, entity, field, fixed, f"SELECT id FROM old_{entity} WHERE {condition}")


def _of_columns() -> Iterator[_Note]:
    """Nulls where the store has none, and times that no driver holds: infinite, or before the year 1 or after 9999."""
    for entity, columns in COLUMNS.items():
        for name, column in columns.items():
            if not column.nullable and column.type != "id" and name not in _NOT_ASKED.get(entity, ()):
                yield Kind.MISSING_VALUE, entity, name, "the default was taken", f"{name} IS NULL"
            if column.type == TIME:
                yield Kind.UNSTORABLE_TIME, entity, name, _FROM_NOW, f"{STORED}{name} <> {name}"
