"""Following a log: what it holds, and then what is appended to it, without a gap and without a repeat."""

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Final

import orjson

from veupath_store.events.fold.patch import whole_data
from veupath_store.events.log.entries import FIRST, Entry, Position
from veupath_store.events.log.keys import LogKey
from veupath_store.events.log.log import EventLog
from veupath_store.events.log.pages import PageSize
from veupath_store.events.log.watch import Subscription

GAP: Final = "log_gap"
"""The type of what `follow` yields where the log does not hold the last entry that is known: some may be missing."""


class Hint:
    """Says that what is followed may be over; what is followed asks then, and does not wait for its turn."""

    def __init__(self) -> None:
        self._given = False
        self._news: Subscription | None = None

    def __call__(self) -> None:
        """It may be over now."""
        self._given = True
        if self._news is not None:
            self._news.wake()

    def wakes(self, news: Subscription) -> None:
        """From now on it wakes who waits there; at once if it was given before."""
        self._news = news
        if self._given:
            news.wake()

    def taken(self) -> bool:
        """Whether it was given since the last time."""
        given, self._given = self._given, False
        return given


async def follow(
    log: EventLog,
    key: LogKey,
    position: Position | None,
    is_over: Callable[[], Awaitable[bool]],
    every: float,
    *,
    is_seen: bool = True,
    hint: Hint | None = None,
) -> AsyncGenerator[Entry, None]:
    """All entries after a position, in order, as they are appended.

    Where the log does not hold the last entry that is known, as after a trim or a loss, one of the type `GAP` comes
    first, at the place from which it goes on.

    Holds nothing while its consumer is busy: no connection, and no more than `watch.ROOM` entries.

    Args:
        key: The log to follow.
        position: The last entry that is known already; ``None`` for none.
        is_over: Whether nothing more will be appended. The log is read once more afterwards, so that what was appended
            before it became true is not missed.
        every: Seconds between two times that this is asked.
        is_seen: Whether the entry at `position` was read from the log, which should hold it then.
        hint: What is called when it may be over, so that this is asked at once.

    Raises:
        UnavailableError: Redis does not answer, or the store is being closed.
    """
    over, hint = False, hint or Hint()
    while not over:
        async for entry in _held(log, key, position, is_seen=is_seen):
            position, is_seen = entry.position, True
            yield entry
        with log.watch.subscribe(key, position) as news:
            asked = time.monotonic()
            hint.wakes(news)
            while not (over or news.overflowed):
                for entry in await news.take(every):
                    known, position, is_seen = position, entry.position, True
                    is_lost = known not in (None, FIRST) and _begins_anew(entry)
                    yield _told(position, known, "lost") if is_lost else entry
                if hint.taken() or time.monotonic() - asked >= every:
                    over, asked = await is_over(), time.monotonic()
    async for entry in _held(log, key, position, is_seen=False):
        yield entry


async def _held(log: EventLog, key: LogKey, position: Position | None, *, is_seen: bool) -> AsyncGenerator[Entry, None]:
    """What the log holds now, page by page. A page begins with the entry that is known, to see that it is there."""
    size = PageSize()
    while True:
        known = position if is_seen and position != FIRST else None
        if known is None:
            entries, gap = await log.read(key, after=position, count=size.entries), None
        else:
            page = await log.read(key, after=known.before, count=size.entries + 1)
            entries = [entry for entry in page if entry.position != known]
            gap = await _gap(log, key, known, entries) if len(entries) == len(page) else None
        for entry in entries if gap is None else [gap]:
            position, is_seen = entry.position, True
            yield entry
        if gap is None and not size.seen(entries):
            return


async def _gap(log: EventLog, key: LogKey, known: Position, after: Sequence[Entry]) -> Entry | None:
    """What tells that an entry is not there, at the place from which to go on; ``None`` where nothing can be missing.

    Args:
        known: The entry.
        after: Those that follow it.
    """
    before = await log.read_newest(key, 1, before=known)
    if not before and after and after[0].position.before == known:
        return None
    place = before[0].position if before else after[0].position.before if after else FIRST
    return _told(place, known, "lost" if before or not after or _begins_anew(after[0]) else "trimmed")


def _told(place: Position, known: Position | None, reason: str) -> Entry:
    return Entry(place, GAP, orjson.dumps({"position": str(known), "reason": reason}))


def _begins_anew(entry: Entry) -> bool:
    """Whether it is the whole row with which a log begins that was lost."""
    data = whole_data(entry)
    return data is not None and data.get("whole") == "lost"
