"""The advisory lock under which every tool of the store migrates, and the patience to wait for it and for tables."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, TypeVar

from tortoise.context import TortoiseContext

from veupath_store.config import StoreSettings
from veupath_store.embedded import start_embedded
from veupath_store.engine import StoreClient
from veupath_store.engine.connect import connect, connect_arguments
from veupath_store.engine.translation import DRIVER_ERRORS, Phase, translate
from veupath_store.errors import ConfigurationError, UnavailableError

R = TypeVar("R")

logger = logging.getLogger("veupath_store.migrations")

ADVISORY_LOCK: Final = 0x7665_7570_6174_6801
"""The key of the advisory lock ("veupath" in ASCII, and 1). Every tool that migrates this database takes it."""

_POLL: Final = 0.1
"""Seconds between two tries for the advisory lock: a blocking wait would hold a snapshot and stall
CREATE INDEX CONCURRENTLY of the process that has the lock."""


async def under_lock(settings: StoreSettings, work: Callable[[StoreClient], Awaitable[R]]) -> R:
    """Do some work on the schema while no other process does.

    Args:
        settings: What `StoreSettings.for_migrations` returned.
        work: What to do, in a Tortoise context of its own. Done again, up to `migration_attempts` times, when it
            raises `UnavailableError`, as for a table's lock that was not free.

    Raises:
        UnavailableError: No server answers, another process holds the advisory lock for longer than
            `migration_wait`, or the attempts are used up.
        ConfigurationError: Only a PgBouncer is configured, or the server refused the role or the database.
    """
    if settings.pgbouncer:
        raise ConfigurationError(
            "Migrations hold an advisory lock, which needs a direct connection: "
            "set MIGRATION_DATABASE_URL to a URL that does not go through PgBouncer."
        )
    async with _lock_connection(settings) as lock:
        attempt = 0
        while True:
            attempt += 1
            # Taken again each time: where its connection is gone, so is the lock, and this says so.
            await _take(lock, settings.migration_wait)
            try:
                async with own_client(settings) as client:
                    return await work(client)
            except UnavailableError:
                if attempt >= settings.migration_attempts:
                    raise
                logger.info("a migration could not get its locks; attempt %d failed", attempt)
            await asyncio.sleep(random.uniform(0.05, 0.5))  # noqa: S311 - to get out of step, not for secrets


@asynccontextmanager
async def _lock_connection(settings: StoreSettings) -> AsyncIterator[Any]:
    """A connection for the advisory lock, which is free again when the connection closes."""
    target = settings.target
    if target.embedded is not None:
        target = await asyncio.to_thread(start_embedded, target)
    connection = await connect(target, settings.connect_timeout, connect_arguments(settings, target))
    try:
        yield connection
    finally:
        with suppress(*DRIVER_ERRORS):
            await connection.close(timeout=settings.release_timeout)


async def _take(connection: Any, patience: float) -> None:  # noqa: ANN401 - an asyncpg connection, which has no types
    try:
        async with asyncio.timeout(patience):
            # Another process frees it: there is no event to wait for.
            while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", ADVISORY_LOCK):  # noqa: ASYNC110
                await asyncio.sleep(_POLL)
    except TimeoutError as exc:
        raise UnavailableError(f"Another process has been migrating this database for {patience:g} s.") from exc
    except DRIVER_ERRORS as exc:
        raise translate(exc, Phase.READ) from exc


@asynccontextmanager
async def own_client(settings: StoreSettings) -> AsyncIterator[StoreClient]:
    """A client in a Tortoise context of its own, whatever the process has open; closed afterwards."""
    async with TortoiseContext() as context:
        await context.init(config=settings.tortoise_orm())
        client = context.db()
        if not isinstance(client, StoreClient):
            raise TypeError("the connection is not the store's")
        yield client
