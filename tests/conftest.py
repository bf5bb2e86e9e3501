"""Fixtures: a server, a migrated template once a session, a database of its own for each test.

The servers are embedded ones, or those that DATABASE_URL and REDIS_URL name. Both variables are taken out of the
environment, so that no test depends on them by accident.
"""

import asyncio
import json
import os
from pathlib import Path

import pytest

from tests.support import faults
from tests.support.legacy.databases import make_adopted
from tests.support.redis_servers import PrivateRedis, RunningRedis, new_prefix, remove_keys
from tests.support.servers import EmbeddedServer, new_name, running_server
from veupath_store.config import StoreSettings
from veupath_store.events.projector import Projector
from veupath_store.migrations import migrate
from veupath_store.repositories import UserRepository
from veupath_store.session import close_db, init_db

_RUNNING = os.environ.pop("DATABASE_URL", None)
_RUNNING_REDIS = os.environ.pop("REDIS_URL", None)
_STRATEGIES = Path(__file__).parents[2] / "shared" / "data" / "strategies.json"


@pytest.fixture(scope="session")
def running_servers():
    """The variables that name running servers, for commands that bring their own where there are none."""
    named = {"DATABASE_URL": _RUNNING, "REDIS_URL": _RUNNING_REDIS}
    return {variable: url for variable, url in named.items() if url}


@pytest.fixture(scope="session")
def server():
    if _RUNNING:
        yield running_server(_RUNNING)
        return
    embedded = EmbeddedServer()
    yield embedded.server
    embedded.close()


@pytest.fixture(scope="module")
def private_server():
    """An embedded server of the module's own, which it may crash, freeze and restart."""
    embedded = EmbeddedServer()
    yield embedded
    embedded.close()


@pytest.fixture(scope="session")
def redis_server():
    server = RunningRedis(_RUNNING_REDIS) if _RUNNING_REDIS else PrivateRedis()
    yield server
    server.close()


@pytest.fixture(scope="session")
def redis_url(redis_server):
    """The URL of a Redis that other tests, and with a running one other people, use as well: see `log_prefix`."""
    return redis_server.url


@pytest.fixture
def log_prefix(redis_url):
    """A prefix of the test's own for keys; they are removed afterwards."""
    prefix = new_prefix()
    yield prefix
    remove_keys(redis_url, prefix)


@pytest.fixture(scope="module")
def private_redis():
    """A Redis of the module's own, which it may kill, freeze and restart."""
    server = PrivateRedis()
    yield server
    server.close()


@pytest.fixture(scope="session")
def template(server, request):
    """The name of a migrated, empty database; with ``--adopted`` of one that was adopted."""
    name = new_name()
    asyncio.run(server.create(name))
    if request.config.getoption("--adopted"):
        asyncio.run(make_adopted(server.url(name)))
    else:
        asyncio.run(migrate(StoreSettings(database_url=server.url(name))))
    yield name
    asyncio.run(server.drop(name))


@pytest.fixture
async def empty_url(server):
    """The URL of a database without any table."""
    async with server.database() as url:
        yield url


@pytest.fixture
async def database_url(server, template):
    """The URL of a migrated, empty database."""
    async with server.database(template) as url:
        yield url


@pytest.fixture(scope="module")
def shared_url(server, template):
    """The URL of a migrated database that the tests of a module share; `faults.emptied` makes it as new."""
    name = new_name()
    asyncio.run(server.create(name, template))
    yield server.url(name)
    asyncio.run(server.drop(name))


def pytest_addoption(parser):
    parser.addoption(
        "--with-log",
        action="store_true",
        help="run repositories' tests with an event log, and compare every row with it after each",
    )
    parser.addoption(
        "--adopted",
        action="store_true",
        help="run on databases that were legacy ones with every kind of problem, adopted and then emptied",
    )


@pytest.fixture
def settings(request, database_url):
    if not (request.config.getoption("--with-log") or request.node.get_closest_marker("with_log")):
        return StoreSettings(database_url=database_url)
    redis_url, prefix = request.getfixturevalue("redis_url"), request.getfixturevalue("log_prefix")
    return StoreSettings(database_url=database_url, redis_url=redis_url, log_prefix=prefix)


@pytest.fixture
async def store(request, settings):
    """The open store, on a database of its own."""
    engine = await init_db(settings=settings)
    yield engine
    try:
        if request.config.getoption("--with-log") and not engine._closed:
            suspects = (await Projector().verify()).suspects
            assert not suspects, suspects
    finally:
        await close_db()


@pytest.fixture
async def watcher(database_url):
    """A connection to the same database that the store knows nothing of."""
    connection = await faults.watcher(database_url)
    yield connection
    await connection.close()


@pytest.fixture
async def user(store):
    return await UserRepository().create()


@pytest.fixture
async def stranger(store):
    return await UserRepository().create()


@pytest.fixture(scope="session")
def strategies():
    """The real strategies, each with a plan and a control set."""
    if not _STRATEGIES.exists():
        pytest.skip(f"the real strategies are not beside this checkout ({_STRATEGIES.name})")
    return json.loads(_STRATEGIES.read_text())
