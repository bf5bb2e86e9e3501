"""A process that dies at a chosen point of its unit of work: nothing that it would do afterwards is done."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from unittest.mock import patch

from tests.support.faults import client_pid
from veupath_store.errors import UnavailableError
from veupath_store.events.log import EventLog
from veupath_store.events.recorded import RecordedChanges

POINTS = ("first exchange", "second exchange", "lost answer", "before commit", "after commit")


class DeadError(Exception):
    """The end of the process: no handler of the store's errors sees it, so that nothing is cleaned up."""


class Death:
    """One death to come.

    Args:
        point: One of `POINTS`, or anything else for not at all.
        kill: Ends a backend by its process id, as PostgreSQL does when its client is gone.
    """

    def __init__(self, point: str, kill: Any) -> None:
        self.point = point
        self.exchanges = {"first exchange": 1, "second exchange": 2, "lost answer": 1}.get(point, 0)
        self.client: Any = None
        self._kill = kill

    async def now(self) -> None:
        if self.client is not None:
            await self._kill(await client_pid(self.client))
        raise DeadError


_DEATH: ContextVar[Death | None] = ContextVar("death", default=None)


@contextmanager
def dying(point: str, kill: Any) -> Iterator[None]:
    """Let the tasks that are started here die at that point, the first that reaches it. See `Death`."""
    token = _DEATH.set(Death(point, kill))
    try:
        yield
    finally:
        _DEATH.reset(token)


_EXCHANGE, _BEFORE, _AFTER = EventLog.exchange, RecordedChanges.before_commit, RecordedChanges.after_commit


async def _exchange(log: Any, parts: Any) -> Any:
    answers = await _EXCHANGE(log, parts)
    death = _DEATH.get()
    if death is not None and any(part.appended for part in parts):
        death.exchanges -= 1
        if death.exchanges == 0 and death.point == "lost answer":
            raise UnavailableError("the answer was lost")
        if death.exchanges == 0:
            await death.now()
    return answers


async def _before_commit(changes: Any, client: Any) -> None:
    death = _DEATH.get()
    if death is not None:
        death.client = client
    await _BEFORE(changes, client)
    if death is not None and death.point == "before commit":
        await death.now()


async def _after_commit(changes: Any) -> None:
    death = _DEATH.get()
    if death is not None and death.point == "after commit":
        raise DeadError
    await _AFTER(changes)


@contextmanager
def mortality() -> Iterator[None]:
    """Make the store's code mortal."""
    with (
        patch.object(EventLog, "exchange", _exchange),
        patch.object(RecordedChanges, "before_commit", _before_commit),
        patch.object(RecordedChanges, "after_commit", _after_commit),
    ):
        yield
