"""Fixtures of the migration tests."""

import logging
import shutil

import pytest

from tests.support.checkout import REPOSITORY, copy_repository, write_migration
from tests.support.servers import until


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """A copy of the migrations which this process uses, and to which a test may add; see `write_migration`."""
    location = tmp_path / "migrations"
    shutil.copytree(REPOSITORY / "migrations", location, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr("veupath_store.schema.files.migrations_location", lambda: location)
    monkeypatch.setattr("veupath_store.schema.catalog.migrations_location", lambda: location)
    return location


@pytest.fixture
def checkout(tmp_path):
    """A copy of the repository, with migrations of its own."""
    return copy_repository(tmp_path / "checkout")


@pytest.fixture
def release(scratch):
    """A release that adds a column, and drops one when only itself runs."""
    write_migration(scratch, "96_add", "ALTER TABLE users ADD more int", "ALTER TABLE users DROP more")
    write_migration(scratch, "97_drop", "ALTER TABLE experiments DROP batch_id", phase="post-deploy")


@pytest.fixture
def stepped_back(caplog):
    """Waits until a migration has stepped back twice from what it waits for."""
    caplog.set_level(logging.INFO, "veupath_store.schema")

    async def twice() -> bool:
        return "attempt 2 failed" in caplog.text

    return lambda: until(twice, 20, "two attempts that failed")
