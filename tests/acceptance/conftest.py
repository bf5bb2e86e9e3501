"""Where other processes find the servers. The plugin's project is run by test_plugin."""

import shutil
import tempfile
from pathlib import Path

import pytest

collect_ignore = ["plugin_project"]


@pytest.fixture
def environment(database_url, redis_url, log_prefix):
    """Where other processes find the servers, and the log of this test."""
    return {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "VEUPATH_STORE_LOG_PREFIX": log_prefix}


@pytest.fixture
def place():
    """A directory that the embedded servers' user can reach, which tmp_path need not be."""
    top = Path(tempfile.mkdtemp(prefix="veupath-store-test-")).resolve()
    yield top
    shutil.rmtree(top, ignore_errors=True)
    for link in Path(tempfile.gettempdir()).glob("veupath-store-*-*"):
        if link.is_symlink() and link.readlink().is_relative_to(top):
            link.unlink()
