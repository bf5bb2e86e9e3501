"""Reading a log in pages of a bounded size: most entries have a few hundred bytes, a snapshot may have megabytes."""

from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Final, TypeAlias

from veupath_store.events.log.entries import Entry, LogKey, Position

if TYPE_CHECKING:
    from veupath_store.events.log.log import EventLog

FIRST: Final = 64
MOST: Final = 2_000
BYTES: Final = 4 * 1024 * 1024
"""What a page should have at the most. Before the first entry of a log their size is not known."""

READ: Final = 5_000
"""Entries that one call of `walk` reads at most, however few of them are wanted: 95 % of a chat's are deltas."""

Ended: TypeAlias = tuple[Position | None, bool]
"""Where reading ended, and whether the log ends there."""


class PageSize:
    """How many entries the next page may have, from the size of those that were read."""

    def __init__(self) -> None:
        self.entries: int = FIRST

    def seen(self, page: Sequence[Entry]) -> bool:
        """Learn from a page; whether it was full, so that there may be more."""
        full = len(page) == self.entries
        size = sum(len(entry.raw) for entry in page)
        fitting = max(1, len(page) * BYTES // max(1, size))
        if full or fitting < self.entries:
            self.entries = min(MOST, self.entries * 4, fitting)
        return full


async def walk(
    log: "EventLog",
    key: LogKey,
    position: Position | None,
    take: Callable[[Entry], bool],
    *,
    backwards: bool = False,
    floor: Position | None = None,
    most: int | None = None,
) -> Ended:
    """Read a log entry by entry, until `take` has enough, the log ends, or about `most` entries were read.

    A round trip to Redis for each piece of the log: 64 entries at first, and up to 2,000 while these are small.

    Args:
        position: Only entries after this one, or before it where `backwards`.
        take: Called with each entry; whether that was enough.
        floor: Where the log ends for this reader: entries up to this one are not read.
        most: Default: `READ`.
    """
    read, most = 0, READ if most is None else most
    async with aclosing(log.pages(key, position, backwards=backwards)) as pages:
        async for page in pages:
            for entry in page:
                if floor is not None and entry.position <= floor:
                    return position, True
                position = entry.position
                if take(entry):
                    return position, False
            read += len(page)
            if read >= most:
                return position, False
    return position, True
