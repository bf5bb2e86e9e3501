"""Trimming: the old part of a log is removed, below what its row has seen."""

from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from veupath_store.errors import NotFoundError
from veupath_store.events.catch_up import catch_up
from veupath_store.events.entries import Position
from veupath_store.events.keys import LogKey
from veupath_store.events.log import EventLog
from veupath_store.events.recorded import settling
from veupath_store.races import despite_deadlocks

_ZERO: Final = Position(0, 0)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


async def trim_stream(
    log: EventLog, stream_id: UUID, *, keep: int | None, before: datetime | None, checkpoint: bool
) -> int:
    """Remove the entries of a log that are old enough, or too many, and that its row has seen.

    Args:
        log: The event log.
        stream_id: The conversation.
        keep: How many of the newest entries stay.
        before: Only entries that are older.
        checkpoint: Whether the log gets a checkpoint of the row first.

    Returns:
        How many were removed.

    Raises:
        NotFoundError: No such conversation.
    """
    key = LogKey.stream(stream_id)
    caught_up = await catch_up(log, stream_id)
    if caught_up.position is None:
        return 0
    bounds = [Position.parse(caught_up.position)]
    if keep is not None:
        bounds.append(await log.newest_but(key, keep) or _ZERO)
    if before is not None:
        bounds.append(Position(max(0, int((before - _EPOCH) / timedelta(milliseconds=1))), 0))
    bound = min(bounds)
    ends = (await log.ends([key]))[0]
    if ends is None or ends.first is None or ends.first >= bound:
        return 0
    if checkpoint:
        await begin_log(log, stream_id)
    return await log.trim(key, bound)


async def begin_log(log: EventLog, stream_id: UUID) -> None:
    """Append a checkpoint: all that a row holds, as a beginning from which a rebuild can start.

    Args:
        log: The event log; it is made where it is not there.
        stream_id: The conversation.

    Raises:
        NotFoundError: No such conversation.
    """

    async def begin() -> None:
        async with settling(log) as settlement:
            rows = await settlement.load([stream_id])
            if not rows:
                raise NotFoundError("stream")
            await settlement.begin(rows[0])
            await settlement.finish()

    await despite_deadlocks(begin)
