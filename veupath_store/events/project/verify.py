"""Verification: whether rows are the folds of their logs, without writing anything (docs/event-log.md, rule 22)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeGuard
from uuid import UUID

from veupath_store.errors import InternalError, InvalidInputError, StoreError
from veupath_store.events.fold.fold import COLUMNS, INITIAL, State, fold_all
from veupath_store.events.log.entries import FIRST, Entry, LogKey, Position
from veupath_store.events.log.log import EventLog
from veupath_store.events.log.pages import FIRST as FIRST_PAGE
from veupath_store.events.log.pages import PageSize
from veupath_store.events.project.rows import Snapshot, document, read_rows
from veupath_store.events.project.selection import Chosen
from veupath_store.session import get_engine
from veupath_store.values import FieldDifference, LogProblem, StreamVerification, VerifyOutcome

PROVEN: Final = frozenset({VerifyOutcome.EQUAL, VerifyOutcome.EMPTY})
"""What needs no second look: nothing is wrong with these rows."""

_FEW: Final = 4
"""Entries of a log that are read before it is known how large they are."""

_SMALL: Final = 64 * 1024
"""Bytes of so many entries, up to which a page of each log of a group is read at once."""

_GENE_SET: Final = "SELECT FROM gene_sets WHERE user_id = $1 AND id = $2"


@dataclass(slots=True)
class Folded:
    """A row, and what its log says up to the row's position."""

    row: Snapshot
    state: State = INITIAL
    problems: list[LogProblem] = field(default_factory=list)
    events: int = 0
    is_held: bool = False
    """Whether the log holds an entry at that position."""
    is_last: bool = False
    """Whether that was the log's last entry, as is seen where the log is one page."""

    @property
    def is_level(self) -> bool:
        """Whether row and log were at the same place, and nothing was to be logged."""
        return self.is_last and not self.row.state.unlogged and not self.row.waiting

    def add(self, page: Sequence[Entry], end: Position) -> None:
        """Fold the entries of a page up to a position."""
        if page[-1].position > end:
            page = [entry for entry in page if entry.position <= end]
        folded = fold_all(self.state, page)
        self.state = folded.state
        self.problems += folded.problems
        self.events += folded.folded


async def fold_rows(
    log: EventLog, stream_ids: Sequence[UUID], *, plans: bool = False
) -> dict[UUID, Folded | StoreError]:
    """Read rows, and fold their logs up to where the rows stand, without a lock: there a log does not change any more.

    One statement and two round trips to Redis; one more for each further page of a log.

    Args:
        plans: Whether the rows' plans are read, too.

    Returns:
        By conversation what was found, or why its row or its log cannot be read; without those that `read_rows` leaves
        out.
    """
    rows = await read_rows(stream_ids, stream_ids if plans else ())
    firsts = await _first_pages(log, [LogKey.stream(stream_id) for stream_id in rows])
    return {
        stream_id: await _folded(log, row, first) for (stream_id, row), first in zip(rows.items(), firsts, strict=True)
    }


async def _first_pages(log: EventLog, keys: Sequence[LogKey]) -> list[list[Entry] | StoreError]:
    """How some logs begin: a few entries of each, and where these are small a page more. Two round trips."""
    pages = await log.read_each((key, None, _FEW) for key in keys)
    more = [(n, key, page) for n, (key, page) in enumerate(zip(keys, pages, strict=True)) if _is_small(page)]
    rest = await log.read_each((key, page[-1].position, FIRST_PAGE) for _, key, page in more)
    for (n, _, page), following in zip(more, rest, strict=True):
        pages[n] = [*page, *following] if isinstance(following, list) else following
    return pages


def _is_small(page: list[Entry] | StoreError) -> TypeGuard[list[Entry]]:
    """Whether a page may have more entries, and these are so small that a page of each log is."""
    return isinstance(page, list) and len(page) == _FEW and sum(len(entry.raw) for entry in page) < _SMALL


async def _folded(
    log: EventLog, row: Snapshot | StoreError, first: Sequence[Entry] | StoreError
) -> Folded | StoreError:
    try:
        if isinstance(row, StoreError):
            raise row
        if isinstance(first, StoreError):
            raise first
        found, last = Folded(row), row.state.last_event_id
        if last is not None:
            await _fold(log, found, Position.parse(last), first)
    except (InvalidInputError, InternalError) as exc:
        return exc
    return found


async def _fold(log: EventLog, found: Folded, end: Position, first: Sequence[Entry]) -> None:
    has_more = len(first) in (_FEW, _FEW + FIRST_PAGE)  # or perhaps
    if first:
        found.add(first, end)
        found.is_last = first[-1].position == end and not has_more
    if has_more and first[-1].position < end:
        size = PageSize()
        size.seen(first)
        async for page in log.pages(LogKey.stream(found.row.stream_id), first[-1].position, size=size):
            found.add(page, end)
            if page[-1].position >= end:
                break
    found.is_held = end == FIRST or found.state.last_event_id == found.row.state.last_event_id


async def verify_group(log: EventLog, group: Sequence[Chosen]) -> list[StreamVerification]:
    """Compare rows with the folds of their logs up to the rows' positions, in all but the rows' unlogged columns.

    What a row has not seen yet is lag, not a difference. Of several, large ones and those without a row are left out.
    """
    found = await fold_rows(log, [one.stream_id for one in group], plans=True)
    if not found and len(group) == 1:
        return [StreamVerification(stream_id=group[0].stream_id, outcome=VerifyOutcome.MISSING)]
    return [await _verified(log, stream_id, folded) for stream_id, folded in found.items()]


async def _verified(log: EventLog, stream_id: UUID, found: Folded | StoreError) -> StreamVerification:
    """Compare one; what looks wrong is looked at again where the row has moved since, as while its log is trimmed."""
    try:
        while True:
            if isinstance(found, StoreError):
                raise found
            compared = await _compared(found)
            if compared.outcome in PROVEN:
                return compared
            again = (await fold_rows(log, [stream_id], plans=True)).get(stream_id)
            if again is None:
                return StreamVerification(stream_id=stream_id, outcome=VerifyOutcome.MISSING)
            if isinstance(again, Folded) and again.row.state.last_event_id == found.row.state.last_event_id:
                return compared
            found = again
    except (InvalidInputError, InternalError) as exc:
        return StreamVerification(stream_id=stream_id, outcome=VerifyOutcome.UNREADABLE, reason=str(exc))


async def _compared(found: Folded) -> StreamVerification:
    stored = replace(found.row.state, plan=document(found.row.documents, "plan"))
    differences = tuple(_differences(stored, found.state, is_linkable=await _is_linkable(found)))
    if stored.last_event_id is None:
        outcome = VerifyOutcome.EMPTY
    elif not found.is_held:
        outcome = VerifyOutcome.BEHIND
    elif differences and not found.state.begun:
        outcome = VerifyOutcome.INCOMPLETE
    else:
        outcome = VerifyOutcome.DIFFERENT if differences else VerifyOutcome.EQUAL
    return StreamVerification(
        stream_id=found.row.stream_id,
        outcome=outcome,
        events=found.events,
        differences=differences if found.events else (),
        problems=tuple(found.problems),
    )


async def _is_linkable(found: Folded) -> bool:
    """Whether the gene set is there that the log names and the row does not: of one that is gone the link is null."""
    linked = found.state.gene_set_id
    if linked is None or found.row.state.gene_set_id is not None:
        return True
    client = await get_engine().open()
    return bool(await client.execute_rows(_GENE_SET, [found.row.user_id, linked]))


def _differences(stored: State, folded: State, *, is_linkable: bool) -> Iterator[FieldDifference]:
    for column in COLUMNS:
        if column in stored.unlogged or (column == "updated_at" and stored.unlogged):
            continue
        value = getattr(folded, column)
        if column == "gene_set_id" and not is_linkable:
            value = None
        if getattr(stored, column) != value:
            yield FieldDifference(column=column, stored=getattr(stored, column), folded=value)
