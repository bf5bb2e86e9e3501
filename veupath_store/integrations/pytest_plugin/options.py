"""What a test asks of the store: the marker ``store``, and its defaults in the ini file."""

from typing import Any, Final, NamedTuple

import pytest

MARKER: Final = (
    "store(database='shared', event_log=False): the test's store; database='own' for a test that changes the schema "
    "or needs a database that no other test has used, event_log=True for a store with an event log"
)
_DATABASES: Final = ("shared", "own")


class Options(NamedTuple):
    """The options of one test."""

    database: str
    event_log: bool


def options_of(request: pytest.FixtureRequest) -> Options:
    """What a test's marker says, or the ini file.

    Args:
        request: Of a fixture of the test's.
    """
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
