"""Lag: how far rows are behind their logs."""

import time
from collections.abc import Sequence
from typing import Final

from veupath_store.events.entries import Position
from veupath_store.events.keys import LogKey
from veupath_store.events.log import EventLog, LogEnds
from veupath_store.events.selection import Chosen
from veupath_store.values import LagState, StreamLag

STUCK_AFTER: Final = 60.0
"""Seconds after which a row that is behind counts as stuck. The worker needs one or two."""


async def lag_of(log: EventLog, chosen: Sequence[Chosen], stuck_after: float = STUCK_AFTER) -> list[StreamLag]:
    """Where rows stand. One round trip to Redis, and one more for each that is behind.

    Args:
        log: The event log.
        chosen: The conversations, with what their rows have seen.
        stuck_after: Seconds after which a row that is behind counts as stuck.
    """
    ends = await log.ends([LogKey.stream(one.stream_id) for one in chosen])
    return [await _lag(log, one, end, stuck_after) for one, end in zip(chosen, ends, strict=True)]


async def _lag(log: EventLog, one: Chosen, ends: LogEnds | None, stuck_after: float) -> StreamLag:
    position = None if one.last_event_id is None else Position.parse(one.last_event_id)
    newest = None if ends is None else ends.newest
    state, events, seconds = _standing(position, ends), 0, 0.0
    if state is LagState.BEHIND:
        events, first = await log.count_after(LogKey.stream(one.stream_id), position)
        seconds = max(0.0, time.time() - first.ms / 1000) if first else 0.0
        if seconds > stuck_after:
            state = LagState.STUCK
    return StreamLag(
        stream_id=one.stream_id,
        state=state,
        position=one.last_event_id,
        newest=None if newest is None else str(newest),
        events=events,
        seconds=seconds,
    )


def _standing(position: Position | None, ends: LogEnds | None) -> LagState:
    if position is None:
        return LagState.BEHIND if ends is not None and ends.newest is not None else LagState.EMPTY
    if ends is None or ends.newest is None or ends.newest < position:
        return LagState.AHEAD
    return LagState.BEHIND if ends.newest > position else LagState.CURRENT
