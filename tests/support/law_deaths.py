"""A process that dies at a chosen point of a catch-up or a unit of work: what it would do afterwards is not done."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
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


Work = Callable[[], Awaitable[Any]]
_DEATH: ContextVar[tuple[str, Any] | None] = ContextVar("death", default=None)
_BETWEEN: ContextVar[Work | None] = ContextVar("between", default=None)


@contextmanager
def _during(variable: ContextVar[Any], value: Any) -> Iterator[None]:
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


def dying(point: str, kill: Any) -> AbstractContextManager[None]:
    """Let the tasks that are started here die at a point, the first that reaches it.

    Args:
        point: One of `POINTS`, or anything else for not at all.
        kill: Ends a backend by its process id, as PostgreSQL does when its client is gone.
    """
    return _during(_DEATH, (point, kill))


def between(work: Work | None) -> AbstractContextManager[None]:
    """Have something done by others after a catch-up has asked Redis, and before it commits; once in each task."""
    return _during(_BETWEEN, work)


def _is_now(point: str) -> bool:
    """Whether the death that is to come is at this point; there is one only."""
    is_now = (_DEATH.get() or ("",))[0] == point
    if is_now:
        _DEATH.set(None)
    return is_now


_STEP, _COMMIT = EventLog.step, StoreTransaction.commit


async def _step(log: Any, steps: Any) -> Any:
    if _is_now("before asking"):
        raise DeadError
    answers = await _STEP(log, steps)
    if (work := _BETWEEN.get()) is not None:
        _BETWEEN.set(None)
        await work()
    if _is_now("after asking"):
        raise DeadError
    if _is_now("lost answer"):
        raise UnavailableError("the answer was lost")
    return answers


async def _commit(transaction: Any) -> None:
    is_mortal, death = not transaction._savepoint, _DEATH.get()
    if is_mortal and _is_now("before commit"):
        await death[1](await client_pid(transaction))
        raise DeadError
    await _COMMIT(transaction)
    if is_mortal and _is_now("after commit"):
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
