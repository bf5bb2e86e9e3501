"""The command in this process, for tests that need no other one. The plugin's project is run by test_plugin."""

import pytest

from tests.support.apart import call_apart
from veupath_store.cli import main

collect_ignore = ["plugin_project"]


@pytest.fixture
def call(monkeypatch, capfd):
    """The command's entry point in this process: returns the exit code and what was printed."""

    def call(*arguments, url):
        monkeypatch.setattr("sys.argv", ["veupath-store", *arguments])
        monkeypatch.setenv("DATABASE_URL", url)
        with pytest.raises(SystemExit) as caught:
            call_apart(main)
        return caught.value.code or 0, *capfd.readouterr()

    return call
