"""A transaction's own asyncpg connection."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from veupath_store.engine.transaction import StoreTransaction
from veupath_store.engine.translation import DRIVER_ERRORS, Phase, translate


@asynccontextmanager
async def own_connection(transaction: StoreTransaction) -> AsyncIterator[Any]:
    """The connection, for COPY and cursors; what it raises is translated as the engine does.

    Raises:
        StoreError: As a statement of the transaction.
    """
    async with transaction.acquire_connection() as connection:
        try:
            yield connection
        except DRIVER_ERRORS as exc:
            raise translate(exc, Phase.IN_TRANSACTION) from exc
