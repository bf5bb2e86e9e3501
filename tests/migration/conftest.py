"""Fixtures of the migration tests."""

import shutil

import pytest

from tests.support.checkout import REPOSITORY, copy_repository


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
