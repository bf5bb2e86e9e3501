"""Whether this process can serve: for the application's health endpoint."""

import asyncio
from collections.abc import Awaitable
from typing import Final, TypeVar

from veupath_store.engine import StoreClient
from veupath_store.errors import SchemaError, StoreError, UnavailableError
from veupath_store.events.holder import other_holder
from veupath_store.events.log.log import Backlog, EventLog, event_log
from veupath_store.schema.files import before_deploy
from veupath_store.schema.migrations import pending_migrations
from veupath_store.session import get_engine
from veupath_store.values import Readiness

T = TypeVar("T")

PATIENCE: Final = 2.0
"""Seconds. A health endpoint that waits longer is taken for dead itself."""


async def check_readiness(patience: float = PATIENCE) -> Readiness:
    """Ask the database, the pool and the event log.

    Three or four small reads on one connection of the pool, and three round trips to Redis at the same time; the first
    time two reads more. A log whose server takes no writes, as one that was demoted, does not serve.

    A pool whose connections are all in use for longer than the patience makes the process not ready: it would not
    serve the next request either. Pending migrations that are for after the deploy are reported, and do no harm.

    Args:
        patience: Seconds to wait for the answers.

    Returns:
        What was found; it never raises for a server that is away.

    Raises:
        ConfigurationError: The store cannot be opened at all: ``DATABASE_URL`` is unset or wrong, or the log needs a
            package that is not installed.
    """
    client, log = await get_engine().open(), event_log()
    (answer, problem), (backlog, log_problem), (shared, _) = await asyncio.gather(
        _answer(_look_at_database(client), patience),
        _answer(_backlog(log), patience),
        _answer(_is_shared(log, client), patience),
    )
    writable, pending = answer or (None, None)
    needed = None if pending is None else before_deploy(pending)
    usage = client.usage()
    return Readiness(
        ready=bool(writable) and needed == [],
        database=pending is not None,
        writable=writable,
        pending_migrations=None if pending is None else tuple(pending),
        pool_size=usage.open,
        pool_in_use=usage.in_use,
        pool_max_size=usage.most,
        log=None if log is None else backlog is not None,
        behind=None if backlog is None else backlog.count,
        behind_seconds=None if backlog is None else round(backlog.seconds, 3),
        log_is_shared=shared,
        problem=problem or _problem(writable, needed) or log_problem,
    )


async def _look_at_database(client: StoreClient) -> tuple[bool, list[str]]:
    """Whether it takes writes, and which migrations it lacks.

    A process that is not ready gets no work, so that no failed write would make it leave a server that takes none.
    """
    pending = await pending_migrations(client)
    [found] = await client.execute_rows(
        "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::bool AS read_only"
    )
    if found["read_only"]:
        client.expire_all_connections()
    return not found["read_only"], pending


def _problem(writable: bool | None, needed: list[str] | None) -> str | None:
    if writable is False:
        return UnavailableError.__name__
    return SchemaError.__name__ if needed else None


async def _answer(question: Awaitable[T], patience: float) -> tuple[T | None, str | None]:
    """What came back in time, or the type of what went wrong."""
    try:
        async with asyncio.timeout(patience):
            return await question, None
    except (StoreError, TimeoutError) as exc:
        return None, type(exc).__name__


async def _backlog(log: EventLog | None) -> Backlog | None:
    if log is None:
        return None
    await log.check_writable()
    return await log.backlog()


async def _is_shared(log: EventLog | None, client: StoreClient) -> bool | None:
    if log is None:
        return None
    other = await other_holder(log, client.execute_rows)
    return other is not None if log.identity else None
