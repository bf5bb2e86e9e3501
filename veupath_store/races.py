"""Writes that choose a unique value, and what they do when another writer takes it first."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Final, TypeVar

from veupath_store.errors import ConflictError

T = TypeVar("T")

NAME_KEY: Final = "stream_projections_name_key"
WDK_KEY: Final = "stream_projections_wdk_key"

ATTEMPTS: Final = 200
"""How often a write that lost a race for a unique value is repeated. Of n writers that race for one value one wins
each round, so that n rounds are enough (tests/integration/test_stream_names.py races 50)."""


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

    Returns:
        What `write` returned.

    Raises:
        ConflictError: Another constraint was violated, or `ATTEMPTS` tries all lost.
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
