"""What the processes of one test run share: a directory, in it perhaps the embedded server, and the template.

The directory also lists what is on servers that are not the run's own, so that whoever ends the run can remove what a
process that was killed has left there.
"""

import asyncio
import fcntl
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from veupath_store.config import StoreSettings
from veupath_store.events.log.client import RedisClient
from veupath_store.integrations.testing.clock import names_of
from veupath_store.integrations.testing.server import DatabaseServer
from veupath_store.servers.postgres import EmbeddedPostgres
from veupath_store.servers.redis_url import parse_redis_url

# Tests survive a crash of the machine by being run again.
_CARELESS: Final = (
    "ALTER SYSTEM SET fsync = off",
    "ALTER SYSTEM SET full_page_writes = off",
    "ALTER SYSTEM SET autovacuum_naptime = '10min'",
    "SELECT pg_reload_conf()",
)

_PATIENCE: Final = 10.0
"""Seconds for the log's server to answer."""


@dataclass(frozen=True)
class Place:
    """Where a test run keeps what its processes share: a directory of its own, and the servers that were named.

    Where none was named (``None``) it is the embedded one.
    """

    directory: Path
    database_url: str | None
    redis_url: str | None

    @property
    def _data(self) -> Path:
        return self.directory / "pg"

    def server(self) -> DatabaseServer:
        """The server; the embedded one is started, or joined when another process has started it."""
        url = self.database_url or f"embedded:{self._data}"
        # Not the log's and the migrations' URLs of the environment: what tests use is said in each place.
        settings = StoreSettings(database_url=url, redis_url=None, migration_database_url=None)
        return DatabaseServer(settings, self._listed("databases"))

    def log(self, prefix: str) -> str:
        """The URL of an event log for one test, whose keys begin with the prefix."""
        (self._listed("prefixes") / prefix).touch()
        return self._redis_url

    @property
    def _redis_url(self) -> str:
        return self.redis_url or f"embedded:{self.directory / 'redis'}"

    def forget_log(self, url: str, prefix: str) -> None:
        """Remove what is in the log of one test, on a server that others may use as well. Blocks."""
        with ThreadPoolExecutor(1) as thread:
            thread.submit(lambda: asyncio.run(_remove(RedisClient(parse_redis_url(url), _PATIENCE), prefix))).result()
        (self._listed("prefixes") / prefix).unlink(missing_ok=True)

    def _listed(self, kind: str) -> Path:
        listed = self.directory / kind
        listed.mkdir(exist_ok=True)
        return listed

    def template(self, server: DatabaseServer, apps: Mapping[str, Any], migrations: Path | str | None) -> str:
        """The name of a migrated, empty database, which the first process that asks makes."""
        known = self.directory / "template"
        with self._alone():
            if not known.exists():
                if self.database_url is None:
                    server.execute(*_CARELESS)
                name = server.create()
                try:
                    server.migrate(name, apps, migrations)
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
            EmbeddedPostgres(self._data).leave()

    def clear(self) -> None:
        """Remove all that is left on servers, stop the embedded one, and remove the directory."""
        try:
            self._clear_servers()
        finally:
            shutil.rmtree(self.directory, ignore_errors=True)

    def _clear_servers(self) -> None:
        for prefix in list(self._listed("prefixes").iterdir()):
            self.forget_log(self._redis_url, prefix.name)
        if self.database_url is not None:
            server = self.server()
            for database in list(self._listed("databases").iterdir()):
                server.drop(database.name)
            server.close()
        else:
            EmbeddedPostgres(self._data).leave(wait=True)


async def _remove(client: RedisClient, prefix: str) -> None:
    """Remove all keys that begin with a prefix."""
    names = await names_of(client, prefix)
    if names:
        await client.run([("UNLINK", *names)])
    await client.close()
