"""Verification: whether a row is the fold of its log, without writing anything (docs/event-log.md, rule 22)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from veupath_store.errors import InternalError, InvalidInputError
from veupath_store.events.fold.fold import COLUMNS, INITIAL, Problem, State, fold_all
from veupath_store.events.log.entries import FIRST, Entry, LogKey, Position
from veupath_store.events.log.log import EventLog
from veupath_store.events.project.catch_up import log_problems
from veupath_store.events.project.rows import COLUMNS as ROW_COLUMNS
from veupath_store.events.project.rows import state_of
from veupath_store.session import get_engine
from veupath_store.values import FieldDifference, StreamVerification, VerifyOutcome

# A link to a gene set that is gone is null, as the foreign key made it; so the sets that are there are read, too.
_ROW: Final = f"""
SELECT {", ".join(f"p.{column}" for column in ROW_COLUMNS)}, p.plan,
       ARRAY (SELECT g.id FROM gene_sets g WHERE g.user_id = p.user_id AND g.id = ANY ($2::uuid[])) AS gene_sets
FROM stream_projections p WHERE p.stream_id = $1"""


@dataclass(slots=True)
class Prefix:
    """What a log says up to some position.

    Attributes:
        state: The state there.
        problems: Entries that were skipped.
        events: How many were folded.
        is_held: Whether the log holds an entry at that position.
    """

    state: State = INITIAL
    problems: list[Problem] = field(default_factory=list)
    events: int = 0
    is_held: bool = False


async def fold_prefix(log: EventLog, stream_id: UUID, last: str | None, first: Sequence[Entry] = ()) -> Prefix:
    """What a log says up to a position that its row has seen, without a lock: there it does not change any more.

    Args:
        last: The position; ``None`` for before the beginning.
        first: The first entries, where they have been read.

    Raises:
        InvalidInputError: The position is none.
    """
    prefix = Prefix()
    if last is None:
        return prefix
    end = Position.parse(last)
    if first:
        _add(prefix, first, end)
    if not first or first[-1].position < end:
        async for page in log.pages(LogKey.stream(stream_id), first[-1].position if first else None):
            _add(prefix, page, end)
            if page[-1].position >= end:
                break
    prefix.is_held = end == FIRST or prefix.state.last_event_id == last
    return prefix


def _add(prefix: Prefix, page: Sequence[Entry], end: Position) -> None:
    folded = fold_all(prefix.state, [entry for entry in page if entry.position <= end])
    prefix.state = folded.state
    prefix.problems += folded.problems
    prefix.events += folded.folded


async def verify_stream(log: EventLog, stream_id: UUID, last_event_id: str | None) -> StreamVerification:
    """Compare a row with the fold of its log up to the row's position, in all but its unlogged columns.

    What the row has not seen yet is lag, not a difference.

    Args:
        last_event_id: What its row had seen a moment ago.
    """
    client = await get_engine().open()
    while True:
        try:
            prefix = await fold_prefix(log, stream_id, last_event_id)
            rows = await client.execute_rows(_ROW, [stream_id, [prefix.state.gene_set_id]])
            if not rows:
                return StreamVerification(stream_id=stream_id, outcome=VerifyOutcome.MISSING)
            if rows[0]["last_event_id"] == last_event_id:
                return _compared(stream_id, rows[0], prefix)
        except (InvalidInputError, InternalError) as exc:
            return StreamVerification(stream_id=stream_id, outcome=VerifyOutcome.UNREADABLE, reason=str(exc))
        last_event_id = rows[0]["last_event_id"]  # it moved while its log was read


def _compared(stream_id: UUID, row: Any, prefix: Prefix) -> StreamVerification:  # noqa: ANN401 - an asyncpg record
    stored = state_of(row)
    differences = tuple(_differences(stored, prefix.state, row["gene_sets"]))
    if stored.last_event_id is None:
        outcome = VerifyOutcome.EMPTY
    elif not prefix.is_held:
        outcome = VerifyOutcome.BEHIND
    elif differences and not prefix.state.begun:
        outcome = VerifyOutcome.INCOMPLETE
    else:
        outcome = VerifyOutcome.DIFFERENT if differences else VerifyOutcome.EQUAL
    return StreamVerification(
        stream_id=stream_id,
        outcome=outcome,
        events=prefix.events,
        differences=differences if prefix.events else (),
        problems=log_problems(prefix.problems),
    )


def _differences(stored: State, folded: State, gene_sets: Sequence[UUID]) -> Iterator[FieldDifference]:
    for column in COLUMNS:
        if column in stored.unlogged or (column == "updated_at" and stored.unlogged):
            continue
        value = getattr(folded, column)
        if column == "gene_set_id" and value not in gene_sets:
            value = None
        if getattr(stored, column) != value:
            yield FieldDifference(column=column, stored=getattr(stored, column), folded=value)
