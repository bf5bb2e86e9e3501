"""Trimming: the old part of a log is removed, below what its row has seen (docs/event-log.md, rules 15 and 16)."""

from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from veupath_store.errors import NotFoundError, UnavailableError
from veupath_store.events.log.client import FullError
from veupath_store.events.log.entries import FIRST, Position
from veupath_store.events.log.keys import LogKey
from veupath_store.events.log.log import EventLog
from veupath_store.events.project.catch_up import append_whole, catch_up
from veupath_store.models.unlogged import DECISION, LOGGED, tagged
from veupath_store.session import get_engine

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_STEP: Final = 1_000
_READ: Final = "SELECT last_event_id FROM stream_projections WHERE stream_id = $1"
_DECIDE: Final = """
UPDATE stream_projections SET unlogged = $3::jsonb || unlogged
WHERE stream_id = $1 AND last_event_id = $2 RETURNING stream_id"""


async def trim_stream(log: EventLog, stream_id: UUID, *, keep: int | None, before: datetime | None) -> int:
    """Remove the entries of a log that are old enough, or too many, and that its row has seen.

    The log first gets the whole row, from which a rebuild can start. A full Redis takes no entry: there all columns of
    the row are unlogged meanwhile, so that it needs nothing of what is removed, and are logged when there is room.

    Args:
        keep: How many of the newest entries stay.
        before: Only entries that are older.

    Returns:
        How many were removed.

    Raises:
        NotFoundError: No such conversation.
    """
    key = LogKey.stream(stream_id)
    try:
        position = Position.parse((await catch_up(log, stream_id)).position or str(FIRST))
        bound = await _bound(log, key, position, keep, before)
        [ends] = await log.ends([key])
        first = getattr(ends, "first", None)
        if first is None or first >= bound:
            return 0
        whole = await append_whole(log, stream_id)
        return await log.trim(key, bound, beside=whole)
    except FullError:
        return await _trim_full(log, key, keep, before)


async def _trim_full(log: EventLog, key: LogKey, keep: int | None, before: datetime | None) -> int:
    client = await get_engine().open()
    rows = await client.execute_rows(_READ, [key.id])
    if not rows:
        raise NotFoundError("stream")
    stored = rows[0]["last_event_id"]
    if stored is None:
        return 0
    bound = await _bound(log, key, Position.parse(stored), keep, before)
    if not await client.execute_rows(_DECIDE, [key.id, stored, tagged(LOGGED, DECISION)]):
        raise UnavailableError("The row moved while its log was to be trimmed; the call may be repeated.")
    return await log.make_room(key, bound)


async def _bound(log: EventLog, key: LogKey, position: Position, keep: int | None, before: datetime | None) -> Position:
    """The oldest entry that is to stay: the row's position, or an older one."""
    bounds = [position]
    if keep is not None:
        bounds.append(await _newest_but(log, key, keep))
    if before is not None:
        bounds.append(Position(max(0, int((before - _EPOCH) / timedelta(milliseconds=1))), 0))
    return min(bounds)


async def _newest_but(log: EventLog, key: LogKey, keep: int) -> Position:
    """The oldest of a log's newest entries; `FIRST` where there are not so many."""
    last: Position | None = None
    while keep > 0:
        entries = await log.read_newest(key, min(keep, _STEP), before=last)
        if len(entries) < min(keep, _STEP):
            return FIRST
        keep -= len(entries)
        last = entries[-1].position
    return last or FIRST
