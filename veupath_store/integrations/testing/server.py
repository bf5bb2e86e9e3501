"""The server on which databases are made for tests, and dropped again."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote
from uuid import uuid4

from aerich import Command
from tortoise.context import TortoiseContext

from veupath_store.config import StoreSettings
from veupath_store.engine.connect import connect, connect_arguments
from veupath_store.errors import ConfigurationError
from veupath_store.schema.migrations import migrate
from veupath_store.schema.names import CONNECTION
from veupath_store.servers.database_url import DatabaseTarget
from veupath_store.servers.embedded import start_embedded

T = TypeVar("T")

NAME_PREFIX: Final = "veupath_store_pytest_"


async def _make_tables(settings: StoreSettings, apps: Mapping[str, Any], migrations: Path | str | None) -> None:
    config = settings.tortoise_orm(apps=apps)
    async with TortoiseContext() as context:
        await context.init(config=config)
        if migrations is None:
            await context.generate_schemas(safe=False)
            return
        for app in apps:
            command = Command(tortoise_config=config, app=app, location=str(migrations))
            await command.init()
            if not await command.upgrade():
                raise ConfigurationError(
                    f"{command.location} holds no migrations of the app {app!r}: what the fixture store_migrations "
                    "returns is the location that [tool.aerich] names."
                )


class DatabaseServer:
    """A server for tests. Its calls block: a separate thread does the work, so that any fixture may use it.

    Args:
        settings: Where it is. The database that they name is connected to, and not touched.
        listed: A directory with an empty file for each database that was made and not dropped yet.
    """

    def __init__(self, settings: StoreSettings, listed: Path | None = None) -> None:
        self._settings = settings
        self._listed = listed
        self._target = start_embedded(settings.target)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="veupath-store-tests")
        self._runner = self._thread.submit(asyncio.Runner).result()
        self._kept: dict[str, Any] = {}

    def url(self, database: str) -> str:
        """The URL of one of its databases."""
        if self._settings.target.embedded is not None:
            return f"postgresql://{self._target.user}@/{database}?host={quote(self._target.hosts[0][0])}"
        scheme, _, rest = self._settings.database_url.get_secret_value().strip().partition("://")
        location, mark, options = rest.partition("?")
        return f"{scheme}://{location.partition('/')[0]}/{database}{mark}{options}"

    def create(self, template: str = "template0") -> str:
        """Make a database, as a copy of another one, and return its name."""
        name = f"{NAME_PREFIX}{os.getpid()}_{uuid4().hex[:12]}"
        if self._listed is not None:
            (self._listed / name).touch()
        self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return name

    def drop(self, database: str) -> None:
        """Drop a database, whoever is connected to it. One that is not there is no error."""
        self.run(lambda: self._let_go(database))
        self.execute(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')
        if self._listed is not None:
            (self._listed / database).unlink(missing_ok=True)

    def migrate(
        self, database: str, apps: Mapping[str, Any] | None = None, migrations: Path | str | None = None
    ) -> None:
        """Apply all migrations to a database, and make the tables of an application's own apps.

        Args:
            apps: As for `StoreSettings.tortoise_orm`; those of another connection have their tables elsewhere.
            migrations: The folder of their aerich migrations; ``None`` for tables as the models say.
        """
        # Said, not left to the environment, which may name the application's own.
        settings = StoreSettings(database_url=self.url(database), migration_database_url=None, redis_url=None)
        here = (None, CONNECTION)
        own = {name: app for name, app in (apps or {}).items() if app.get("default_connection") in here}
        self.run(lambda: migrate(settings))
        if own:
            self.run(lambda: _make_tables(settings, own, migrations))

    def execute(self, *statements: str, database: str | None = None) -> None:
        """Run statements, each by itself; by default where no test's data are."""

        async def run() -> None:
            connection = await self.connection(database)
            for statement in statements:
                await connection.execute(statement)

        self.run(run)

    async def connection(self, database: str | None = None) -> Any:  # noqa: ANN401 - an asyncpg connection
        """The connection to a database that is kept open; for what `run` runs."""
        name = database or self._target.database
        if name not in self._kept or self._kept[name].is_closed():
            target: DatabaseTarget = replace(self._target, database=name)
            arguments = connect_arguments(self._settings, target)
            self._kept[name] = await connect(target, self._settings.connect_timeout, arguments)
        return self._kept[name]

    def run(self, work: Callable[[], Awaitable[T]]) -> T:
        """Have something done in the server's own thread and loop, and wait for it."""

        async def done() -> T:
            return await work()

        return self._thread.submit(lambda: self._runner.run(done())).result()

    async def _let_go(self, database: str) -> None:
        kept = self._kept.pop(database, None)
        if kept is not None:
            await kept.close()

    def close(self) -> None:
        """Close the connections, and end the thread."""
        for name in list(self._kept):
            self.run(lambda name=name: self._let_go(name))  # type: ignore[misc]
        self._thread.submit(self._runner.close).result()
        self._thread.shutdown()
