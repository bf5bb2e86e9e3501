"""The commands of Redis that the event log sends, on keys in memory."""

import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias

from veupath_store.events.entries import Position
from veupath_store.events.exchange import FIRST, LAST

Value: TypeAlias = str | bytes | int | float
_Command: TypeAlias = Callable[..., Any]


class Refused(Exception):  # noqa: N818 - what the server says, no error of the store's
    """The server refuses a command."""


@dataclass(slots=True)
class Stream:
    """One stream: its entries in order, and the newest position that it ever had."""

    positions: list[Position] = field(default_factory=list)
    fields: list[list[bytes]] = field(default_factory=list)
    last: Position = FIRST

    @property
    def newest(self) -> Position:
        """The newest entry that is there."""
        return self.positions[-1] if self.positions else FIRST

    def entries(self, first: int, end: int) -> list[list[Any]]:
        """Some of the entries, as Redis answers."""
        return [[_bytes(str(self.positions[at])), self.fields[at]] for at in range(max(first, 0), max(end, 0))]

    def remove(self, at: int) -> None:
        """Remove an entry."""
        del self.positions[at], self.fields[at]


class Keys:
    """All that a server holds."""

    def __init__(self) -> None:
        self.streams: dict[str, Stream] = {}
        self.sets: dict[str, dict[str, float]] = {}
        self._expiring: dict[str, float] = {}

    def unlink(self, *names: str) -> int:
        """Remove keys."""
        holders: tuple[dict[str, Any], ...] = (self.streams, self.sets, self._expiring)
        return sum(holder.pop(name, None) is not None for name in names for holder in holders)

    def remaining(self, name: str) -> float | None:
        """The seconds for which a key with an end is still there."""
        left = self._expiring.get(name, 0.0) - time.monotonic()
        return left if left > 0 else None

    def expire(self, name: str, span: float) -> None:
        """Have a key for some seconds."""
        self._expiring[name] = time.monotonic() + span

    def remove_member(self, name: str, member: str) -> int:
        """Remove a member of a sorted set, and the set with its last one."""
        members = self.sets.get(name, {})
        removed = members.pop(member, None) is not None
        if not members:
            self.sets.pop(name, None)
        return int(removed)


def _xadd(keys: Keys, name: str, *arguments: Value) -> bytes | None:
    options = [_text(argument) for argument in arguments[:2]]
    made = options[0] != "NOMKSTREAM"
    identity, values = (options[0], arguments[1:]) if made else (options[1], arguments[2:])
    stream = keys.streams.get(name)
    if stream is None and not made:
        return None
    last = stream.last if stream is not None else FIRST
    position = _next(last) if identity == "*" else Position.parse(identity)
    if position <= last:
        raise Refused("the position is not after the last one")
    stream = keys.streams.setdefault(name, Stream())
    stream.positions.append(position)
    stream.fields.append([_bytes(value) for value in values])
    stream.last = position
    return _bytes(str(position))


def _next(last: Position) -> Position:
    now = Position(time.time_ns() // 1_000_000, 0)
    if now > last or last == LAST:
        return now
    return Position(last.ms, last.seq + 1) if last.seq < LAST.seq else Position(last.ms + 1, 0)


def _bounds(stream: Stream, start: Value, end: Value) -> tuple[int, int]:
    first, last = _text(start), _text(end)
    begin = 0 if first == "-" else _place(stream, first, outside=bisect_right, at=bisect_left)
    stop = len(stream.positions) if last == "+" else _place(stream, last, outside=bisect_left, at=bisect_right)
    return begin, max(begin, stop)


def _place(stream: Stream, bound: str, *, outside: Callable[..., int], at: Callable[..., int]) -> int:
    search = outside if bound.startswith("(") else at
    return search(stream.positions, Position.parse(bound.removeprefix("(")))


class XRead(NamedTuple):
    """What an ``XREAD`` asks for."""

    most: int
    patience: float
    """Seconds to wait where there is nothing."""
    after: dict[str, Position]
    """The positions after which entries are wanted, by the keys of their streams."""


def xread_of(command: Sequence[Value]) -> XRead:
    """What a command ``XREAD COUNT n BLOCK ms STREAMS key … position …`` asks for."""
    _, _, count, _, milliseconds, _, *rest = command
    half = len(rest) // 2
    after = {_text(key): Position.parse(_text(at)) for key, at in zip(rest[:half], rest[half:], strict=True)}
    return XRead(int(count), int(milliseconds) / 1_000, after)


def _xread(keys: Keys, *arguments: Value) -> list[list[Any]] | None:
    """What is there now; the waiting is `MemoryServer.wait_for`."""
    wanted = xread_of(("XREAD", *arguments))
    found = [
        [_bytes(name), _xrange(keys, name, f"({position}", "+", "COUNT", wanted.most)]
        for name, position in wanted.after.items()
    ]
    return [part for part in found if part[1]] or None


def _time(_keys: Keys) -> list[bytes]:
    seconds, rest = divmod(time.time_ns(), 1_000_000_000)
    return [_bytes(seconds), _bytes(rest // 1_000)]


def _xrange(keys: Keys, name: str, start: Value, end: Value, *count: Value) -> list[Any]:
    stream = keys.streams.get(name)
    if stream is None:
        return []
    first, stop = _bounds(stream, start, end)
    return stream.entries(first, min(stop, first + int(count[1])) if count else stop)


def _xrevrange(keys: Keys, name: str, end: Value, start: Value, *count: Value) -> list[Any]:
    stream = keys.streams.get(name)
    if stream is None:
        return []
    first, stop = _bounds(stream, start, end)
    return stream.entries(max(first, stop - int(count[1])) if count else first, stop)[::-1]


def _xtrim(keys: Keys, name: str, _by: str, _exactly: str, first: str) -> int:
    stream = keys.streams.get(name, Stream())
    removed = bisect_left(stream.positions, Position.parse(first))
    del stream.positions[:removed], stream.fields[:removed]
    return removed


def _xdel(keys: Keys, name: str, *identities: str) -> int:
    stream = keys.streams.get(name, Stream())
    wanted = {Position.parse(identity) for identity in identities}
    found = [at for at, position in enumerate(stream.positions) if position in wanted]
    for at in reversed(found):
        stream.remove(at)
    return len(found)


def _set(keys: Keys, name: str, _value: str, _new: str, _unit: str, span: Value) -> bytes | None:
    if keys.remaining(name) is not None:
        return None
    keys.expire(name, int(span) / 1_000)
    return b"OK"


def _pttl(keys: Keys, name: str) -> int:
    left = keys.remaining(name)
    return -2 if left is None else int(left * 1_000)


def _pexpire(keys: Keys, name: str, span: Value) -> int:
    if keys.remaining(name) is None:
        return 0
    keys.expire(name, int(span) / 1_000)
    return 1


def _zadd(keys: Keys, name: str, *pairs: Value) -> int:
    members = keys.sets.setdefault(name, {})
    before = len(members)
    members.update({_text(member): float(score) for score, member in zip(pairs[::2], pairs[1::2], strict=True)})
    return len(members) - before


def _zrem(keys: Keys, name: str, *members: str) -> int:
    return sum(keys.remove_member(name, member) for member in members)


def _zrange(keys: Keys, name: str, first: Value, last: Value, _with_scores: str) -> list[bytes]:
    ordered = sorted((score, member) for member, score in keys.sets.get(name, {}).items())
    end = len(ordered) if int(last) == -1 else int(last) + 1
    return [it for score, member in ordered[int(first) : end] for it in (_bytes(member), _bytes(repr(score)))]


def _scan(keys: Keys, _cursor: Value, _match: str, pattern: str, *_count: Value) -> list[Any]:
    start = pattern.removesuffix("*")
    names = [*keys.streams, *keys.sets]
    return [b"0", [_bytes(name) for name in names if name.startswith(start)]]


_COMMANDS: Final[dict[str, _Command]] = {
    "PEXPIRE": _pexpire,
    "PING": lambda _keys: b"PONG",
    "PTTL": _pttl,
    "SCAN": _scan,
    "SET": _set,
    "TIME": _time,
    "UNLINK": Keys.unlink,
    "XADD": _xadd,
    "XDEL": _xdel,
    "XRANGE": _xrange,
    "XREAD": _xread,
    "XREVRANGE": _xrevrange,
    "XTRIM": _xtrim,
    "ZADD": _zadd,
    "ZCARD": lambda keys, name: len(keys.sets.get(name, {})),
    "ZRANGE": _zrange,
    "ZREM": _zrem,
}


def command_of(name: str) -> _Command:
    """What carries out a command.

    Raises:
        Refused: It is not known here.
    """
    if name not in _COMMANDS:
        raise Refused(f"the log in memory does not know {name}")
    return _COMMANDS[name]


def _text(value: Value) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _bytes(value: Value) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()
