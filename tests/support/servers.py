"""The PostgreSQL servers that tests talk to."""

import asyncio
import inspect
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import asyncpg

from veupath_store.servers.database_url import DatabaseTarget, parse_database_url
from veupath_store.servers.embedded import start_embedded
from veupath_store.servers.postgres import EmbeddedPostgres


@dataclass(frozen=True)
class Server:
    """A server on which databases can be made and dropped."""

    target: DatabaseTarget
    copying: str = ""
    """How a template is copied, where not as the server chooses."""

    def url(self, database: str) -> str:
        host, port = self.target.hosts[0]
        password = f":{self.target.password}" if self.target.password else ""
        if host.startswith("/"):
            return f"postgresql://{self.target.user}{password}@/{database}?host={host}"
        return f"postgresql://{self.target.user}{password}@{host}:{port}/{database}"

    async def connect(self, database: str = "postgres"):
        host, port = self.target.hosts[0]
        return await asyncpg.connect(
            host=host, port=port, user=self.target.user, password=self.target.password, database=database, timeout=10
        )

    async def run(self, *statements: str, database: str = "postgres") -> None:
        connection = await self.connect(database)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    async def create(self, database: str, template: str = "template0") -> None:
        await self.run(f'CREATE DATABASE "{database}" TEMPLATE "{template}" {self.copying}')

    async def drop(self, database: str) -> None:
        await self.run(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')

    @asynccontextmanager
    async def database(self, template: str = "template0"):
        """A database of one's own, by its URL; dropped afterwards."""
        name = new_name()
        await self.create(name, template)
        try:
            yield self.url(name)
        finally:
            await self.drop(name)


class EmbeddedServer:
    """An embedded server of one's own, to be tormented."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="veupath-store-test-")).resolve() / "pg"
        # Without fsync, copying files costs a seventh of writing all pages to the WAL, in spite of two checkpoints.
        target = start_embedded(DatabaseTarget(user="postgres", embedded=self.path))
        self.server = Server(target, copying="STRATEGY FILE_COPY")
        asyncio.run(
            # Tests survive a crash of the server, not of the machine.
            self.server.run(
                "ALTER SYSTEM SET fsync = off",
                "ALTER SYSTEM SET full_page_writes = off",
                "ALTER SYSTEM SET autovacuum_naptime = '10min'",
                "SELECT pg_reload_conf()",
            )
        )

    def crash(self) -> None:
        """An immediate shutdown: no checkpoint, every connection cut; recovery at the next start."""
        postmaster = int((self.path / "postmaster.pid").read_text().splitlines()[0])
        os.kill(postmaster, signal.SIGQUIT)
        deadline = time.monotonic() + 20
        while (self.path / "postmaster.pid").exists():
            if time.monotonic() > deadline:
                raise TimeoutError("the server did not go down")
            time.sleep(0.01)

    def start(self) -> None:
        EmbeddedPostgres(self.path).join()

    def close(self) -> None:
        EmbeddedPostgres(self.path).leave(wait=True)
        shutil.rmtree(self.path.parent, ignore_errors=True)


def running_server(url: str) -> Server:
    """The server that DATABASE_URL names; the database in it is not touched."""
    return Server(replace(parse_database_url(url), database="postgres"))


def new_name() -> str:
    return f"veupath_store_test_{os.getpid()}_{uuid4().hex[:12]}"


async def until(condition: Callable[[], Awaitable[object] | object], within: float, what: str) -> float:
    """Wait for a condition, a coroutine or not; return the seconds that it took, fail when it takes too long."""

    async def holds() -> object:
        found = condition()
        return await found if inspect.isawaitable(found) else found

    started = time.monotonic()
    while not await holds():
        if time.monotonic() - started > within:
            raise AssertionError(f"not within {within} s: {what}")
        await asyncio.sleep(0.01)
    return time.monotonic() - started
