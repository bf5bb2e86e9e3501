"""The pytest plugin of veupath-store: a clean database for each test, factories, a clock, and more.

pytest imports this in every run wherever veupath-store is installed. That is why it imports pytest and nothing else:
what the fixtures need is imported by the first one that is used, from ``veupath_store.integrations.testing``.
"""

from typing import Any

import pytest

from veupath_store.integrations.pytest_plugin.options import MARKER
from veupath_store.integrations.pytest_plugin.run import RUN, SHARED_DIRECTORY, Run

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
