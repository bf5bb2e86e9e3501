"""Whether this process can serve: for the application's health endpoint."""

import asyncio
from typing import Final

from veupath_store.errors import StoreError
from veupath_store.migration_files import before_deploy
from veupath_store.migrations import pending_migrations
from veupath_store.session import get_engine
from veupath_store.values import Readiness

PATIENCE: Final = 2.0
"""Seconds. A health endpoint that waits longer is taken for dead itself."""


async def check_readiness(patience: float = PATIENCE) -> Readiness:
    """Ask the database and the pool. Two or three small reads on one connection of the pool.

    A pool whose connections are all in use for longer than the patience makes the process not ready: it would not
    serve the next request either. Pending migrations that are for after the deploy are told, and do no harm.

    Args:
        patience: Seconds to wait for the answer.

    Returns:
        What was found; it never raises for a database that is away.

    Raises:
        ConfigurationError: The store cannot be opened at all: ``DATABASE_URL`` is unset or wrong.
    """
    client = await get_engine().open()
    pending: tuple[str, ...] | None = None
    problem: str | None = None
    try:
        async with asyncio.timeout(patience):
            pending = tuple(await pending_migrations(client))
    except (StoreError, TimeoutError) as exc:
        problem = type(exc).__name__
    behind = pending is None or bool(before_deploy(pending))
    usage = client.usage()
    return Readiness(
        ready=not behind,
        database=pending is not None,
        pending_migrations=pending,
        pool_size=usage.open,
        pool_in_use=usage.in_use,
        pool_max_size=usage.most,
        problem=problem or ("SchemaError" if behind else None),
    )
