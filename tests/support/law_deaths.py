"""A process that dies at a chosen point of a catch-up or a unit of work: what it would do afterwards is not done."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from unittest.mock import patch

from tests.support.faults import client_pid
from veupath_store.engine.transaction import StoreTransaction
from veupath_store.errors import UnavailableError
from veupath_store.events.log import pages
from veupath_store.events.log.log import EventLog

POINTS = ("before asking", "after asking", "lost answer", "before commit", "after commit")


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
        self.kill = kill


_DEATH: ContextVar[Death | None] = ContextVar("death", default=None)


@contextmanager
def dying(point: str, kill: Any) -> Iterator[None]:
    """Let the tasks that are started here die at that point, the first that reaches it. See `Death`."""
    token = _DEATH.set(Death(point, kill))
    try:
        yield
    finally:
        _DEATH.reset(token)


Work = Callable[[], Awaitable[Any]]
_BETWEEN: ContextVar[Work | None] = ContextVar("between", default=None)


@contextmanager
def between(work: Work | None) -> Iterator[None]:
    """Have something done by others after a catch-up has asked Redis, and before it commits; once in each task."""
    token = _BETWEEN.set(work)
    try:
        yield
    finally:
        _BETWEEN.reset(token)


_STEP, _COMMIT = EventLog.step, StoreTransaction.commit


def _now(point: str) -> Death | None:
    """The death that is to come at a point; there is one only."""
    death = _DEATH.get()
    if death is None or death.point != point:
        return None
    _DEATH.set(None)
    return death


async def _step(log: Any, steps: Any) -> Any:
    if _now("before asking"):
        raise DeadError
    answers = await _STEP(log, steps)
    if (work := _BETWEEN.get()) is not None:
        _BETWEEN.set(None)
        await work()
    if _now("after asking"):
        raise DeadError
    if _now("lost answer"):
        raise UnavailableError("the answer was lost")
    return answers


async def _commit(transaction: Any) -> None:
    death = None if transaction._savepoint else _now("before commit")
    if death is not None:
        await death.kill(await client_pid(transaction))
        raise DeadError
    await _COMMIT(transaction)
    if not transaction._savepoint and _now("after commit"):
        raise DeadError


@contextmanager
def mortality() -> Iterator[None]:
    """Make the store's code mortal, and have it read logs in pages of two entries first, so that there are several."""
    with (
        patch.object(EventLog, "step", _step),
        patch.object(StoreTransaction, "commit", _commit),
        patch.object(pages, "FIRST", 2),
    ):
        yield
