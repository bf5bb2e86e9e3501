"""A page's servers: a migrated database of its own, an event log, and an open store."""

import pytest

from veupath_store.session import close_db, init_db


@pytest.fixture
async def environment(database_url, redis_url, log_prefix, monkeypatch):
    """The variables that name the page's servers; they are set, and the store is open."""
    variables = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "VEUPATH_STORE_LOG_PREFIX": log_prefix}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    await init_db()
    yield variables
    await close_db()
