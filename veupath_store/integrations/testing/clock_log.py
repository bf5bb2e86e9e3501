"""Making the entries of logs older: their ids are their times, so that each log is written anew."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from orjson import dumps

from veupath_store.events.fold import fields
from veupath_store.events.fold.patch import PATCHED
from veupath_store.events.fold.text import decoded
from veupath_store.events.log.client import Command, RedisClient
from veupath_store.events.log.entries import LogKind, Position, position_of
from veupath_store.events.log.log import EventLog
from veupath_store.events.log.scripts import BEHIND, ENDS, SWEPT

_TIMES: Final = ("updatedAt", "dismissedAt", "createdAt")
_POSITION: Final = "messagesAfter"


async def make_log_older(log: EventLog, milliseconds: int) -> None:
    """Make all entries of all logs older, and the marks of what is behind. A few round trips for each log.

    Args:
        log: The event log; nothing else may append to it meanwhile.
        milliseconds: By how much.
    """
    client, prefix = log._client, log._prefix
    for kind in LogKind:
        for key in await names_of(client, f"{prefix}{kind}:"):
            await _rewrite(client, key, milliseconds)
    [marks] = await client.run([("ZRANGE", f"{prefix}{BEHIND}", 0, -1, "WITHSCORES")])
    if marks:
        older = zip(marks[::2], marks[1::2], strict=True)
        pairs = (it for member, score in older for it in (repr(float(score) - milliseconds), member))
        await client.run([("ZADD", f"{prefix}{BEHIND}", *pairs)])
    [left] = await client.run([("PTTL", f"{prefix}{SWEPT}")])
    if left > 0:
        await client.run([("PEXPIRE", f"{prefix}{SWEPT}", max(1, left - milliseconds))])


async def names_of(client: RedisClient, start: str) -> set[str]:
    """All keys that begin with a text."""
    found: set[str] = set()
    cursor: Any = None
    while cursor != 0:
        [[after, names]] = await client.run([("SCAN", cursor or 0, "MATCH", f"{start}*", "COUNT", 1_000)])
        found.update(name.decode() for name in names)
        cursor = int(after)
    return found


async def _rewrite(client: RedisClient, key: str, milliseconds: int) -> None:
    ends, entries = await client.run([("EVAL", ENDS, 1, key), ("XRANGE", key, "-", "+")])
    if not ends:
        return  # it has been removed since its name was found
    commands: list[Command] = [("UNLINK", key)]
    for position, values in entries:
        older = str(_older(position_of(position), milliseconds))
        commands.append(("XADD", key, older, *_values(values, milliseconds)))
    # A log remembers the newest entry that it ever had, also when that was removed.
    last = position_of(ends[2])
    if not entries or last > position_of(entries[-1][0]):
        older = str(_older(last, milliseconds))
        commands += [("XADD", key, older, "type", "removed"), ("XDEL", key, older)]
    await client.run(commands)


def _older(position: Position, milliseconds: int) -> Position:
    """What is older than the clock can go back, as the ids that a test makes up, stays."""
    return position._replace(ms=position.ms - milliseconds) if position.ms >= milliseconds else position


def _values(values: Sequence[bytes], milliseconds: int) -> list[bytes]:
    by_name = dict(zip(values[::2], values[1::2], strict=True))
    data = decoded(by_name.get(b"data", b"")) if by_name.get(b"type") == PATCHED.encode() else None
    if data is not None:
        by_name[b"data"] = dumps(_with_older_times(data, milliseconds))
    return [it for pair in by_name.items() for it in pair]


def _with_older_times(data: dict[str, Any], milliseconds: int) -> dict[str, Any]:
    moved = dict(data)
    for name in _TIMES:
        moment = fields.time(data.get(name))
        if moment is not None:
            moved[name] = (moment - timedelta(milliseconds=milliseconds)).isoformat()
    if isinstance(data.get(_POSITION), str):
        moved[_POSITION] = str(_older(Position.parse(data[_POSITION]), milliseconds))
    return moved
