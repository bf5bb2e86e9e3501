"""Reading a log entry by entry, in either direction, up to a bounded number of entries."""

from collections.abc import Callable
from typing import Final, TypeAlias

from veupath_store.events.log.entries import Entry, Position
from veupath_store.events.log.keys import LogKey
from veupath_store.events.log.log import EventLog
from veupath_store.events.log.pages import PageSize

READ: Final = 5_000
"""Entries that one call reads at most, however few of them are wanted: 95 % of a chat's are deltas."""

Ended: TypeAlias = tuple[Position | None, bool]
"""Where reading ended, and whether the log ends there."""


async def walk(
    log: EventLog,
    key: LogKey,
    position: Position | None,
    take: Callable[[Entry], bool],
    *,
    backwards: bool = False,
    floor: Position | None = None,
    most: int | None = None,
) -> Ended:
    """Read a log from a position on, until `take` has enough, the log ends, or about `most` entries were read.

    A round trip to Redis for each piece of the log: 64 entries at first, and up to 2,000 while these are small.

    Args:
        position: Only entries after this one, or before it where `backwards`.
        take: Called with each entry; whether that was enough.
        floor: Where the log ends for this reader: entries up to this one are not read.
        most: Default: `READ`.
    """
    pages, read, most = PageSize(), 0, READ if most is None else most
    while read < most:
        entries = await (
            log.read_newest(key, pages.entries, before=position)
            if backwards
            else log.read(key, after=position, count=pages.entries)
        )
        read += len(entries)
        for entry in entries:
            if floor is not None and entry.position <= floor:
                return position, True
            position = entry.position
            if take(entry):
                return position, False
        if not pages.seen(entries):
            return position, True
    return position, False
