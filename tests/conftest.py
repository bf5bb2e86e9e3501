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
from tests.support.apart import call_apart, run_apart
from tests.support.databases import make_migrated
from tests.support.legacy.databases import make_adopted
from tests.support.redis_servers import PrivateRedis, RunningRedis, new_prefix, remove_keys
from tests.support.servers import EmbeddedServer, new_name, running_server
from veupath_store.cli import main
from veupath_store.config import StoreSettings
from veupath_store.events.project.projector import Projector
from veupath_store.events.project.worker import ProjectionWorker
from veupath_store.repositories import UserRepository
from veupath_store.session import close_db, init_db

_RUNNING = {variable: os.environ.pop(variable, "") for variable in ("DATABASE_URL", "REDIS_URL")}
_ORDER = ("acceptance", "migration", "docs", "integration", "unit")
_STRATEGIES = Path(__file__).parents[2] / "shared" / "data" / "strategies.json"


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node):
    """Tell a worker of pytest-xdist, whose environment lacks the variables by now."""
    node.workerinput["running servers"] = _RUNNING


def pytest_configure(config):
    _RUNNING.update(getattr(config, "workerinput", {}).get("running servers", {}))


@pytest.fixture(scope="session")
def running_servers():
    """The variables that name running servers, for commands that bring their own where there are none."""
    return {variable: url for variable, url in _RUNNING.items() if url}


@pytest.fixture(scope="session")
def server():
    if _RUNNING["DATABASE_URL"]:
        yield running_server(_RUNNING["DATABASE_URL"])
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
    server = RunningRedis(_RUNNING["REDIS_URL"]) if _RUNNING["REDIS_URL"] else PrivateRedis()
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
def make_store(request):
    """Makes an empty store of a database without any table: by the migrations, with ``--adopted`` by an adoption."""
    return make_adopted if request.config.getoption("--adopted") else make_migrated


@pytest.fixture(scope="session")
def template(server, make_store):
    """The name of a migrated, empty database."""
    name = new_name()
    run_apart(server.create(name))
    run_apart(make_store(server.url(name)))
    yield name
    run_apart(server.drop(name))


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
    run_apart(server.create(name, template))
    yield server.url(name)
    run_apart(server.drop(name))


_LOOP = asyncio.new_event_loop()


def pytest_sessionstart():
    # The event loop to which pytest-asyncio goes back after each test. Without one its lowest version makes one that
    # nothing closes: whoever is tested when that is collected would fail.
    asyncio.set_event_loop(_LOOP)


def pytest_unconfigure():
    _LOOP.close()


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


def pytest_collection_modifyitems(config, items):
    """What takes long first, and the short files of unit tests last: workers side by side then end together.

    With ``--adopted`` only what asks for `make_store`. The others are the same with and without: those that have no
    store (Redis alone, servers and values that are refused) and those that make their database otherwise because it
    is what they are about (a legacy one, one without tables, one that is behind, one that was never adopted, one whose
    owner is no superuser and could not make the legacy rows).
    """
    if config.getoption("--adopted"):
        config.hook.pytest_deselected(items=[item for item in items if "make_store" not in item.fixturenames])
        items[:] = [item for item in items if "make_store" in item.fixturenames]
    places = {name: place for place, name in enumerate(_ORDER)}
    items.sort(key=lambda item: places.get(item.path.parent.name, 0))


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable():
    """A worker's report, without lone surrogates, which cannot be sent: tests of hostile text print and log some."""
    return _sendable((yield))


def _sendable(value):
    match value:
        case str():
            return value.encode(errors="backslashreplace").decode()
        case dict():
            return {key: _sendable(item) for key, item in value.items()}
        case list() | tuple():
            return type(value)(map(_sendable, value))
    return value


@pytest.fixture
def settings(request, database_url):
    """As the mark ``with_log`` says: `private`, on the module's own Redis; any other option is one of the settings."""
    everywhere = request.config.getoption("--with-log") and not request.node.get_closest_marker("without_log")
    mark = request.node.get_closest_marker("with_log")
    if not (everywhere or mark):
        return StoreSettings(database_url=database_url)
    options = {"catch_up": False, **(mark.kwargs if mark else {})}
    if options.pop("private", False):
        redis_url, prefix = request.getfixturevalue("private_redis").url, new_prefix()
    else:
        redis_url, prefix = request.getfixturevalue("redis_url"), request.getfixturevalue("log_prefix")
    return StoreSettings(database_url=database_url, redis_url=redis_url, log_prefix=prefix, **options)


def is_compared(request, engine) -> bool:
    """Whether every row is compared with its log after a test."""
    wanted = request.config.getoption("--with-log") and not request.node.get_closest_marker("unlike_log")
    return wanted and engine.settings.redis_url is not None and not engine.closed


@pytest.fixture
async def store(request, settings):
    """The open store, on a database of its own."""
    engine = await init_db(settings=settings)
    yield engine
    try:
        if is_compared(request, engine):
            await ProjectionWorker().drain()
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


@pytest.fixture
def call(monkeypatch, capfd):
    """The command line in this process: the exit code, and what was printed on both streams."""

    def call(*arguments, **environment):
        monkeypatch.setattr("sys.argv", ["veupath-store", *arguments])
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as caught:
            call_apart(main)
        return caught.value.code or 0, *capfd.readouterr()

    return call


@pytest.fixture(scope="session")
def strategies():
    """The real strategies, each with a plan and a control set."""
    if not _STRATEGIES.exists():
        pytest.skip(f"the real strategies are not beside this checkout ({_STRATEGIES.name})")
    return json.loads(_STRATEGIES.read_text())
