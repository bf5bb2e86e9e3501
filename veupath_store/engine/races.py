"""Writes that race with others: for a unique value, or for the locks of rows."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Final, TypeVar

import asyncpg

from veupath_store.errors import ConflictError, UnavailableError

T = TypeVar("T")

NAME_KEY: Final = "stream_projections_name_key"
WDK_KEY: Final = "stream_projections_wdk_key"

ATTEMPTS: Final = 200
"""How often a write that lost a race for a unique value is repeated. Of n writers that race for one value one wins
each round, so that n rounds are enough (tests/integration/test_stream_names.py races 50)."""

DEADLOCKS: Final = 10
"""How often a transaction that deadlocks is tried."""


async def once_unique(
    write: Callable[[], Awaitable[T]],
    constraints: frozenset[str],
    savepoint: Callable[[], AbstractAsyncContextManager[object]],
) -> T:
    """Repeat a write that chose a free value until no concurrent writer has taken it first.

    Args:
        write: Chooses a value and writes it.
        constraints: The unique constraints that may be violated meanwhile.
        savepoint: What a try runs in, so that a lost one leaves the transaction usable.
    """
    attempt = 0
    while True:
        attempt += 1
        try:
            async with savepoint():
                return await write()
        except ConflictError as exc:
            if exc.constraint not in constraints or attempt == ATTEMPTS:
                raise


class OutOfOrderError(UnavailableError):
    """A transaction needs a row that others have locked, and to wait for it would be to risk a deadlock.

    It is tried again, and knows better then: its first statement locks that row with the others, in order.
    """


async def despite_deadlocks(work: Callable[[], Awaitable[T]]) -> T:
    """Repeat a whole transaction that deadlocked with others, which lock rows in orders of their own.

    A deadlock takes the server a second to find; one that is avoided by an `OutOfOrderError` takes no time.
    """
    attempts = 0
    while True:
        try:
            return await work()
        except OutOfOrderError:
            continue  # each time one more row is known
        except UnavailableError as exc:
            attempts += 1
            if attempts == DEADLOCKS or not isinstance(exc.__cause__, asyncpg.DeadlockDetectedError):
                raise
