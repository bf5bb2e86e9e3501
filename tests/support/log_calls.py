"""Calls of an event log that may be repeated."""

from uuid import uuid4

from veupath_store.events.log.entries import LogKey, LogKind, Position
from veupath_store.events.log.log import EventLog, Step

PATCH = ("", "projection_patched", b"{}", "")


def calls(log: EventLog, key: LogKey) -> list:
    """Calls that may be repeated."""
    return [
        log.read(key, count=10),
        log.read_newest(key, 10),
        log.ends([key]),
        log.read_each([(key, None, 10)]),
        log.step([Step(key, None, 10, appended=[PATCH])]),
        log.count_after(key, None, 10),
        log.trim(key, Position(0, 1), beside=Position(0, 1)),
        log.discard(key, [Position(0, 1)]),
        log.remove([LogKey.stream(uuid4())]),
        log.behind(10),
        log.caught_up([(uuid4(), 1.0)]),
        log.backlog(),
        log.scan(LogKind.STREAM, 0),
        log.claim_sweep(0.01),
        log.hold("this"),
        log.holder(),
        log.check_writable(),
        log.ping(),
    ]
