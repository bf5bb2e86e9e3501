"""Lag: how far rows are behind their logs, and what is not in the logs yet."""

import time
from collections.abc import Sequence
from functools import partial
from typing import Final

from veupath_store.errors import InvalidInputError, StoreError
from veupath_store.events.log.entries import LogKey, Position
from veupath_store.events.log.log import EventLog, LogEnds
from veupath_store.events.project.selection import Chosen
from veupath_store.values import LagState, StreamLag

STUCK_AFTER: Final = 60.0
"""Seconds after which a row that is behind counts as stuck. The worker needs one or two."""

COUNTED: Final = 1_000
"""Entries that are counted of one log at the most."""


async def lag_of(log: EventLog, chosen: Sequence[Chosen], stuck_after: float = STUCK_AFTER) -> list[StreamLag]:
    """Where rows stand. One round trip to Redis, and one more for each that is behind."""
    ends = await log.ends([LogKey.stream(one.stream_id) for one in chosen])
    return [await _lag(log, one, end, stuck_after) for one, end in zip(chosen, ends, strict=True)]


async def _lag(log: EventLog, one: Chosen, ends: LogEnds | StoreError | None, stuck_after: float) -> StreamLag:
    lag = partial(StreamLag, stream_id=one.stream_id, position=one.last_event_id)
    try:
        if isinstance(ends, StoreError):
            raise ends
        position = None if one.last_event_id is None else Position.parse(one.last_event_id)
    except (InvalidInputError, StoreError) as exc:
        return lag(state=LagState.UNREADABLE, newest=None, reason=str(exc))
    newest = None if ends is None else ends.newest
    state, events, seconds = _standing(one, position, newest), 0, 0.0
    if state is LagState.BEHIND:
        events, first = await log.count_after(LogKey.stream(one.stream_id), position, COUNTED)
        seconds = max(0.0, time.time() - first.ms / 1000) if first else 0.0
        if seconds > stuck_after:
            state = LagState.STUCK
    shown = None if newest is None else str(newest)
    return lag(state=state, newest=shown, events=events, seconds=seconds, lost=one.lost)


def _standing(one: Chosen, position: Position | None, newest: Position | None) -> LagState:
    if one.is_missing:
        return LagState.MISSING
    if position is not None and (newest is None or newest < position):
        return LagState.AHEAD
    if newest is not None and (position is None or newest > position):
        return LagState.BEHIND
    return LagState.UNLOGGED if one.is_waiting else LagState.CURRENT
