"""One database for all tests of a module, emptied before each: a tenth of the time of a new one.

A test that changes more than rows is marked ``own_database``.
"""

import socket
from contextlib import nullcontext
from uuid import uuid4

import pytest
from tortoise.context import get_current_context

from tests.support.any_log import AnyLog, redis_log
from tests.support.documents import Failures
from tests.support.faults import emptied, make_template
from tests.support.projections import Logs
from veupath_store import DocumentWriter, Projector, StreamRepository, async_session_factory, close_db, session
from veupath_store.events.log.entries import LogKey
from veupath_store.events.log.log import EventLog


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


@pytest.fixture(scope="module")
def private_template(private_server, make_store):
    return make_template(private_server.server, make_store)


@pytest.fixture
async def private_url(private_server, private_template):
    """The URL of a migrated, empty database on the module's own server."""
    async with private_server.server.database(private_template) as url:
        yield url


@pytest.fixture
def silent():
    """The port of a host that accepts and never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(50)
        yield listening.getsockname()[1]


@pytest.fixture
def logs(settings):
    """The logs of the test's store, read and harmed past it."""
    logs = Logs(settings.redis_url.get_secret_value(), settings.log_prefix)
    yield logs
    logs.close()


@pytest.fixture
def projector(store):
    return Projector()


@pytest.fixture
async def stream(user):
    """The id of a conversation."""
    return (await StreamRepository().create(user.id, "plasmodb")).id


@pytest.fixture(params=[nullcontext, async_session_factory], ids=["by itself", "in a session"])
def unit(request):
    """Makes what a call is part of: nothing, or a session of its own."""
    return request.param


@pytest.fixture
def failures():
    return Failures()


@pytest.fixture
async def writer(store, failures):
    async with DocumentWriter(on_failure=failures) as made:
        yield made


@pytest.fixture
def any_log(redis_url) -> AnyLog:
    """A log of the test's own."""
    with redis_log(redis_url) as log:
        yield log


@pytest.fixture
async def log(any_log):
    log = EventLog(any_log.settings)
    yield log
    await log.close()


@pytest.fixture
def key():
    """The key of a conversation's log, of which there is none yet."""
    return LogKey.stream(uuid4())


@pytest.fixture
async def fresh_process(monkeypatch):
    """A process in which the store was neither opened nor closed; it is closed afterwards."""
    assert session._process.engine is None
    monkeypatch.setattr(session._process, "closed", False)
    yield
    await close_db()
    assert get_current_context() is None
