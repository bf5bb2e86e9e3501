"""One database for all tests of a module, emptied before each: a tenth of the time of a new one.

A test that changes more than rows is marked ``own_database``.
"""

import pytest
from tortoise.context import get_current_context

from tests.support.any_log import AnyLog, redis_log
from tests.support.faults import emptied
from veupath_store import close_db, session


@pytest.fixture
def shared(request):
    """The URL of the module's database, or ``None`` for a test that gets its own."""
    if request.node.get_closest_marker("own_database"):
        return None
    return request.getfixturevalue("shared_url")


@pytest.fixture
async def database_url(shared, server, template):
    """The URL of a migrated, empty database."""
    if shared is not None:
        yield await emptied(shared)
        return
    async with server.database(template) as url:
        yield url


@pytest.fixture
def any_log(redis_url) -> AnyLog:
    """A log of the test's own."""
    with redis_log(redis_url) as log:
        yield log


@pytest.fixture
async def fresh_process(monkeypatch):
    """A process in which the store was neither opened nor closed; it is closed afterwards."""
    assert session._process.engine is None
    monkeypatch.setattr(session._process, "closed", False)
    yield
    await close_db()
    assert get_current_context() is None
