"""Whether this process can serve: for the application's health endpoint."""

import asyncio
from collections.abc import Awaitable
from typing import Final, TypeVar

from veupath_store.errors import StoreError
from veupath_store.events.current import event_log
from veupath_store.migration_files import before_deploy
from veupath_store.migrations import pending_migrations
from veupath_store.session import get_engine
from veupath_store.values import Readiness

T = TypeVar("T")

PATIENCE: Final = 2.0
"""Seconds. A health endpoint that waits longer is taken for dead itself."""


async def check_readiness(patience: float = PATIENCE) -> Readiness:
    """Ask the database, the pool and the event log.

    Two or three small reads on one connection of the pool, and one round trip to Redis at the same time.

    A pool whose connections are all in use for longer than the patience makes the process not ready: it would not
    serve the next request either. Pending migrations that are for after the deploy are told, and do no harm.

    Args:
        patience: Seconds to wait for the answers.

    Returns:
        What was found; it never raises for a server that is away.

    Raises:
        ConfigurationError: The store cannot be opened at all: ``DATABASE_URL`` is unset or wrong, or the log needs a
            package that is not installed.
    """
    client, log = await get_engine().open(), event_log()
    (pending, problem), (backlog, log_problem) = await asyncio.gather(
        _answer(pending_migrations(client), patience),
        _answer(log.backlog() if log is not None else _nothing(), patience),
    )
    needed = None if pending is None else before_deploy(pending)
    usage = client.usage()
    return Readiness(
        ready=needed == [],
        database=pending is not None,
        pending_migrations=None if pending is None else tuple(pending),
        pool_size=usage.open,
        pool_in_use=usage.in_use,
        pool_max_size=usage.most,
        log=None if log is None else backlog is not None,
        behind=None if backlog is None else backlog.count,
        behind_seconds=None if backlog is None else round(backlog.seconds, 3),
        problem=problem or ("SchemaError" if needed else log_problem),
    )


async def _answer(question: Awaitable[T], patience: float) -> tuple[T | None, str | None]:
    """What came back in time, or the type of what went wrong."""
    try:
        async with asyncio.timeout(patience):
            return await question, None
    except (StoreError, TimeoutError) as exc:
        return None, type(exc).__name__


async def _nothing() -> None:
    """The answer of a log that is not there."""
