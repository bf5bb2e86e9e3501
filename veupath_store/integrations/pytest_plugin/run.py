"""One test run: what the environment says of it, and the directory that its processes share."""

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from veupath_store.integrations.testing.place import Place

SHARED_DIRECTORY: Final = "veupath_store_directory"
RUN: Final = pytest.StashKey["Run"]()


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
