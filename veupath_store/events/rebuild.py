"""Rebuild: a row anew from its whole log, while the application runs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

import asyncpg

from veupath_store.errors import NotFoundError, UnavailableError
from veupath_store.events.catch_up import log_problems
from veupath_store.events.claims import claim_name
from veupath_store.events.entries import Entry, Position
from veupath_store.events.fold import INITIAL, Problem, State, fold_all
from veupath_store.events.keys import LogKey
from veupath_store.events.log import EventLog, Exchange
from veupath_store.events.origin import ORIGIN
from veupath_store.events.pages import PageSize
from veupath_store.events.patched import Origin
from veupath_store.events.recorded import settling
from veupath_store.events.rows import Row
from veupath_store.events.settlement import Settlement
from veupath_store.races import despite_deadlocks
from veupath_store.values import RebuildOutcome, StreamRebuild

# Also keeps the stream from being deleted while its row is made anew.
_STREAM: Final = f"SELECT user_id, site_id, {ORIGIN} FROM streams WHERE id = $1 FOR UPDATE"


@dataclass(slots=True)
class Prefix:
    """What a log says up to some position.

    Attributes:
        state: The state there.
        problems: Entries that were skipped.
        events: How many were folded.
    """

    state: State = INITIAL
    problems: list[Problem] = field(default_factory=list)
    events: int = 0


async def fold_prefix(log: EventLog, stream_id: UUID, last: str | None, first: Sequence[Entry] | None = None) -> Prefix:
    """What a log says up to a position that its row has seen, without a lock: there it does not change any more.

    Args:
        log: The event log.
        stream_id: The conversation.
        last: The position; ``None`` for before the beginning.
        first: The first `pages.FIRST` entries, where they have been read.
    """
    prefix, pages = Prefix(), PageSize()
    if last is None:
        return prefix
    end, more = Position.parse(last), True
    while more:
        seen = prefix.state.last_event_id
        if seen is None and first is not None:
            entries = first
        else:
            after = None if seen is None else Position.parse(seen)
            entries = await log.read(LogKey.stream(stream_id), after=after, count=pages.entries)
        more = pages.seen(entries) and entries[-1].position < end
        folded = fold_all(prefix.state, [entry for entry in entries if entry.position <= end])
        prefix.state = folded.state
        prefix.problems += folded.problems
        prefix.events += folded.folded
    return prefix


async def rebuild_stream(
    log: EventLog, stream_id: UUID, last_event_id: str | None, *, force: bool = False
) -> StreamRebuild:
    """Fold a log from its beginning, and put the result in the place of the row.

    Args:
        log: The event log.
        stream_id: The conversation.
        last_event_id: What its row had seen a moment ago: so much is folded before the row is locked.
        force: Also where the log cannot be trusted.

    Raises:
        NotFoundError: No such conversation.
    """
    prefix = await fold_prefix(log, stream_id, last_event_id)

    known = set[UUID]()

    async def rebuild() -> StreamRebuild:
        async with settling(log, known) as settlement:
            return await _rebuilt(log, settlement, stream_id, prefix, force=force)

    try:
        return await despite_deadlocks(rebuild)
    except UnavailableError as exc:
        if isinstance(exc.__cause__, asyncpg.LockNotAvailableError):
            return StreamRebuild(stream_id=stream_id, outcome=RebuildOutcome.BUSY)
        raise


async def _rebuilt(
    log: EventLog, settlement: Settlement, stream_id: UUID, prefix: Prefix, *, force: bool
) -> StreamRebuild:
    """The part that is done under the row's lock."""
    row, missing = await _locked(settlement, stream_id)
    seen = row.position
    if prefix.state.last_event_id is not None and (seen is None or seen < Position.parse(prefix.state.last_event_id)):
        prefix = Prefix()  # the row was set back meanwhile: its log may hold what must not be folded
    row.state = prefix.state
    part = Exchange(key=LogKey.stream(stream_id), after=seen, count=1)
    whole = (await log.exchange([part]))[0].whole
    await settlement.fold_rest(row, after=row.position)
    events = prefix.events + settlement.folded
    outcome = outcome_of(row, whole=whole, empty=events == 0)
    refused = outcome in {RebuildOutcome.BEHIND, RebuildOutcome.INCOMPLETE}
    if outcome is RebuildOutcome.REBUILT or (force if refused else missing):
        if missing:
            await claim_name(settlement.client, row, new=True)
        await settlement.finish()
    return StreamRebuild(
        stream_id=stream_id,
        outcome=RebuildOutcome.REBUILT if refused and force else outcome,
        events=events,
        problems=log_problems([*prefix.problems, *settlement.problems]),
    )


async def _locked(settlement: Settlement, stream_id: UUID) -> tuple[Row, bool]:
    """The row, or one to be inserted where it is missing, and whether it is."""
    rows = await settlement.load([stream_id])
    if rows:
        return rows[0], False
    streams = await settlement.client.execute_rows(_STREAM, [stream_id])
    if not streams:
        raise NotFoundError("stream")
    rows = await settlement.load([stream_id])
    if rows:  # the conversation was made between the two statements; from here on it stays as it is
        return rows[0], False
    stream = streams[0]
    origin = Origin(stream["xact"], stream["cluster"])
    row = Row(stream_id, stream["user_id"], stream["site_id"], origin, INITIAL, INITIAL)
    settlement.add(row)
    return row, True


def outcome_of(row: Row, *, whole: bool, empty: bool) -> RebuildOutcome:
    """What is to become of a row whose log is folded.

    Args:
        row: The row, with the state that its log says.
        whole: Whether the log holds what the row has seen.
        empty: Whether it has no entries.
    """
    if not whole:
        return RebuildOutcome.BEHIND
    if empty:
        return RebuildOutcome.EMPTY
    return RebuildOutcome.REBUILT if row.state.begun else RebuildOutcome.INCOMPLETE
