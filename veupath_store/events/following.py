"""Following a log: what it holds, and then what is appended to it, without a gap and without a repeat."""

import time
from collections.abc import AsyncGenerator, Awaitable, Callable

from veupath_store.events.entries import Entry, Position
from veupath_store.events.keys import LogKey
from veupath_store.events.log import EventLog
from veupath_store.events.pages import PageSize


async def follow(
    log: EventLog, key: LogKey, position: Position | None, is_over: Callable[[], Awaitable[bool]], every: float
) -> AsyncGenerator[Entry, None]:
    """All entries after a position, in order, as they are appended.

    Holds nothing while its consumer is busy: no connection, and no more than `watch.ROOM` entries.

    Args:
        log: The event log.
        key: The log to follow.
        position: The last entry that is known already; ``None`` for none.
        is_over: Whether nothing more will be appended. The log is read once more afterwards, so that what was appended
            before it became true is not missed.
        every: Seconds between two times that this is asked.

    Raises:
        UnavailableError: Redis does not answer, or the store is being closed.
    """
    over = False
    while not over:
        async for entry in _held(log, key, position):
            position = entry.position
            yield entry
        with log.watch.subscribe(key, position) as news:
            asked = time.monotonic()
            while not (over or news.overflowed):
                for entry in await news.take(every):
                    position = entry.position
                    yield entry
                if time.monotonic() - asked >= every:
                    over, asked = await is_over(), time.monotonic()
    async for entry in _held(log, key, position):
        yield entry


async def _held(log: EventLog, key: LogKey, position: Position | None) -> AsyncGenerator[Entry, None]:
    """What the log holds now, page by page."""
    size = PageSize()
    while True:
        entries = await log.read(key, after=position, count=size.entries)
        for entry in entries:
            position = entry.position
            yield entry
        if not size.seen(entries):
            return
