"""The Tortoise backend of the store: asyncpg with transactions, timeouts and errors that hold under faults.

Tortoise finds it by ``"engine": "veupath_store.engine"`` and the attribute `client_class`.
"""

from veupath_store.engine.client import StoreClient
from veupath_store.engine.tasks import start_detached
from veupath_store.engine.transaction import StoreTransaction

client_class = StoreClient

__all__ = ["StoreClient", "StoreTransaction", "client_class", "start_detached"]
