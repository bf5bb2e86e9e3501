"""The pytest plugin of veupath-store: a clean database for each test, factories, a clock, and more.

pytest imports this in every run wherever veupath-store is installed. That is why it imports pytest and nothing else:
what the fixtures need is imported by the first one that is used, from ``veupath_store.integrations.testing``.
"""

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pytest

if TYPE_CHECKING:
    from veupath_store.integrations.testing.place import Place

SHARED_DIRECTORY: Final = "veupath_store_directory"
RUN: Final = pytest.StashKey["Run"]()

MARKER: Final = (
    "store(database='shared', event_log=False): the test's store; database='own' for a test that changes the schema "
    "or needs a database that no other test has used, event_log=True for a store with an event log"
)
_DATABASES: Final = ("shared", "own")

pytest_plugins = ("veupath_store.integrations.pytest_plugin.fixtures",)


def pytest_addoption(parser: pytest.Parser) -> None:
    """The defaults of the marker's options."""
    parser.addini("store_database", "which database a test has: shared (the default) or own", default="shared")
    parser.addini("store_event_log", "whether the store of a test has an event log", type="bool", default=False)


def pytest_configure(config: pytest.Config) -> None:
    """Begin a run: nothing is started, nothing is connected to."""
    config.addinivalue_line("markers", MARKER)
    config.stash[RUN] = Run(config)
    if config.pluginmanager.hasplugin("asyncio"):
        from veupath_store.integrations.pytest_plugin import opened  # noqa: PLC0415 - needs pytest-asyncio

        config.pluginmanager.register(opened, "veupath_store_opened")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:  # noqa: ANN401 - pytest-xdist has no types
    """Tell a worker of pytest-xdist where it finds what all of them share."""
    node.workerinput[SHARED_DIRECTORY] = str(node.config.stash[RUN].directory)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove what the processes of this run shared."""
    run = config.stash.get(RUN, None)
    if run is not None:
        run.end()


class Run:
    """One process of a test run."""

    def __init__(self, config: pytest.Config) -> None:
        # Read once: the fixtures set both variables for what the tests run.
        self._database_url = os.environ.get("DATABASE_URL", "").strip() or None
        self._redis_url = os.environ.get("REDIS_URL", "").strip() or None
        given = getattr(config, "workerinput", {}).get(SHARED_DIRECTORY)
        self._directory = Path(given) if given else None
        self._is_worker = given is not None

    @property
    def directory(self) -> Path:
        """What the processes of the run share; made by the first one, which also removes it."""
        if self._directory is None:
            self._directory = Path(tempfile.mkdtemp(prefix="veupath-store-")).resolve()
        return self._directory

    @property
    def place(self) -> "Place":
        """The servers and the template of the run."""
        from veupath_store.integrations.testing.place import Place  # noqa: PLC0415 - imports Tortoise

        return Place(self.directory, self._database_url, self._redis_url)

    def end(self) -> None:
        """Remove the directory, and what it tells of."""
        directory, self._directory = self._directory, None
        if directory is None or self._is_worker:
            return
        if any(directory.iterdir()):
            self._directory = directory
            self.place.clear()
        else:
            directory.rmdir()


class Options(NamedTuple):
    """The options of one test."""

    database: str
    event_log: bool


def options_of(request: pytest.FixtureRequest) -> Options:
    """What a test's marker says, or the ini file."""
    node, config = request.node, request.config
    given: dict[str, Any] = {"database": config.getini("store_database"), "event_log": config.getini("store_event_log")}
    for mark in reversed(list(node.iter_markers("store"))):  # the closest last
        if mark.args or not mark.kwargs.keys() <= given.keys():
            pytest.fail(f"{node.nodeid}: the marker is {MARKER.partition(':')[0]}", pytrace=False)
        given |= mark.kwargs
    if given["database"] not in _DATABASES:
        pytest.fail(f"{node.nodeid}: database is one of {', '.join(_DATABASES)}", pytrace=False)
    return Options(given["database"], bool(given["event_log"]) or "store_log" in request.fixturenames)


def loop_scope_of(request: pytest.FixtureRequest) -> str:
    """The scope of the event loop in which pytest-asyncio runs a test: its store belongs to that loop."""
    marker = request.node.get_closest_marker("asyncio")
    given = marker.kwargs.get("loop_scope") if marker is not None else None
    return str(given or request.config.getini("asyncio_default_test_loop_scope") or "function")
