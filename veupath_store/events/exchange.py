"""The commands that read a log and append to it, and what comes of them together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from veupath_store import limits
from veupath_store.events.encoding import entries_of, position_of
from veupath_store.events.entries import Entry, Position
from veupath_store.events.keys import LogKey
from veupath_store.events.redis_client import Command

FIRST: Final = Position(0, 0)
"""Before every entry."""

LAST: Final = Position(limits.UINT64_MAX, limits.UINT64_MAX)
"""The last position there can be."""

# 0: there is no log; 1: it has lost the given entry; 2: it is whole, as far as that one tells.
WHOLE: Final = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
if ARGV[1] == '' then return 2 end
return 1 + #redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])
"""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One log's part of `EventLog.exchange`."""

    key: LogKey
    after: Position | None = None
    """Entries after this one are read; all with ``None``."""
    appended: Sequence[tuple[str, bytes]] = ()
    """Types and JSON texts of what is appended."""
    remove_first: bool = False
    """Whether the log is emptied before it is read."""
    new: bool = False
    """Whether the log is made when it is not there."""
    count: int | None = None
    """Entries that are read at most; all with ``None``."""


@dataclass(frozen=True, slots=True)
class Exchanged:
    """What came of an `Exchange`."""

    entries: list[Entry]
    """What was in the log before anything was appended."""
    positions: list[Position] | None
    """Where the appended ones are; ``None`` when the log is not there."""
    whole: bool
    """Whether the log held the entry `Exchange.after`: one that lost its end does not. ``True`` without one."""


def add(key: str, operation_id: str, kind: str, data: str | bytes, *, new: bool) -> Command:
    """The command that appends an entry; to a log that is there, unless it is to be made."""
    condition = () if new else ("NOMKSTREAM",)
    return ("XADD", key, *condition, "*", "op", operation_id, "type", kind, "data", data)


def entries_between(key: str, after: Position | None, before: Position | None, count: int | None) -> Command:
    """The command that reads entries, neither of the bounds included."""
    start = "-" if after is None else f"({after}"
    end = "+" if before is None else f"({before}"
    return ("XRANGE", key, start, end, *(() if count is None else ("COUNT", count)))


def commands_of(part: Exchange, prefix: str) -> list[Command]:
    """The commands of an exchange's part."""
    key = part.key.text(prefix)
    return [
        *([("UNLINK", key)] if part.remove_first else ()),
        ("EVAL", WHOLE, 1, key, "" if part.after is None else str(part.after)),
        *([entries_between(key, part.after, None, part.count)] if _reads(part) else ()),
        *(add(key, "", kind, raw, new=part.new) for kind, raw in part.appended),
    ]


def exchanged(part: Exchange, replies: Iterator[Any]) -> Exchanged:
    """What came of a part, from the answers to its commands, which are taken from the iterator."""
    if part.remove_first:
        next(replies)
    found = next(replies)
    whole = part.after is None or found > 1
    entries = entries_of(next(replies)) if _reads(part) else []
    positions = [next(replies) for _ in part.appended]
    if None in positions or not (positions or found):
        return Exchanged(entries, None, whole)
    return Exchanged(entries, [position_of(position) for position in positions], whole)


def _reads(part: Exchange) -> bool:
    """Redis refuses a range that begins after the last position there can be."""
    return part.after != LAST and not part.remove_first
