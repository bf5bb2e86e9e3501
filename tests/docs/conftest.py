"""A page's servers: a migrated database of its own, an event log, and an open store."""

import pytest

from tests.docs.setups import OPEN_THE_STORE
from veupath_store.session import close_db, init_db


@pytest.fixture
async def environment(request, database_url, redis_url, log_prefix, monkeypatch):
    """The variables that name the page's servers; they are set, and the store is open unless the page opens it."""
    variables = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "VEUPATH_STORE_LOG_PREFIX": log_prefix}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    if not any(name in request.node.name for name in OPEN_THE_STORE):
        await init_db()
    yield variables
    await close_db()
