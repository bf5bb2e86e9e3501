"""Calls of an event log that may be repeated."""

from collections.abc import Awaitable, Callable
from uuid import uuid4

from veupath_store.events.log.entries import LogKey, LogKind, Position
from veupath_store.events.log.log import EventLog, Step

PATCH = ("", "projection_patched", b"{}", "")
AT = Position(1, 0)


def named_calls(log: EventLog, *keys: LogKey) -> dict[str, Callable[[], Awaitable[object]]]:
    """Calls that may be repeated, of one log or more, by the names of their methods."""
    key = keys[0]
    return {
        "step": lambda: log.step([Step(it, None, 10, "new", [PATCH] * 10) for it in keys]),
        "read": lambda: log.read(key, count=10),
        "read_each": lambda: log.read_each([(it, None, 10) for it in keys]),
        "read_newest": lambda: log.read_newest(key, 10),
        "ends": lambda: log.ends(keys),
        "count_after": lambda: log.count_after(key, AT, 10),
        "trim": lambda: log.trim(key, AT, beside=AT),
        "discard": lambda: log.discard(key, [AT, AT.after]),
        "remove": lambda: log.remove([LogKey.stream(uuid4()), LogKey.operation(uuid4())]),
        "behind": lambda: log.behind(10),
        "caught_up": lambda: log.caught_up([(uuid4(), 1.0), (uuid4(), 2.0)]),
        "backlog": log.backlog,
        "scan": lambda: log.scan(LogKind.STREAM, 0),
        "claim_sweep": lambda: log.claim_sweep(0.01),
        "hold": lambda: log.hold("this"),
        "holder": log.holder,
        "check_writable": log.check_writable,
        "ping": log.ping,
    }


def calls(log: EventLog, key: LogKey) -> list[Awaitable[object]]:
    return [call() for call in named_calls(log, key).values()]
