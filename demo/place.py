"""Where the day takes place: the embedded server on a data directory, or the database of DATABASE_URL."""

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from veupath_store import StoreSettings
from veupath_store.engine.connect import connect, connect_arguments
from veupath_store.servers.embedded import start_embedded
from veupath_store.servers.urls import EMBEDDED_PREFIX

DATA: Final = Path(__file__).parents[1] / ".demo" / "pg"
_OWN_NAME: Final = "veupath-store-demo-control"
_LOCK: Final = 0x7665_7570_6174_6802
"""The key of the advisory lock that keeps two demos from telling their days on one database."""


@dataclass(frozen=True)
class Place:
    """The database of the day."""

    settings: StoreSettings
    description: str

    @property
    def application_name(self) -> str:
        """What pg_stat_activity calls the store's connections."""
        return self.settings.target.application_name or "veupath-store"

    async def connect_directly(self) -> Any:  # noqa: ANN401 - an asyncpg connection, which has no types
        """A connection beside the store's pool, to watch and to disturb it; starts the embedded server."""
        target = self.settings.for_migrations().target
        if target.embedded is not None:
            target = await asyncio.to_thread(start_embedded, target)
        arguments = connect_arguments(self.settings, target)
        arguments["server_settings"] = {"application_name": _OWN_NAME}
        return await connect(target, self.settings.connect_timeout, arguments)


def find_place(data: Path | None) -> Place:
    """The given data directory; or else DATABASE_URL; or else the demo's own data directory.

    Raises:
        ConfigurationError: DATABASE_URL cannot be used.
    """
    if data is None and os.environ.get("DATABASE_URL"):
        return Place(StoreSettings(), "the database that DATABASE_URL names; the demo's rows stay in it")
    directory = (data or DATA).resolve()
    log = directory.with_name(f"{directory.name}-log")
    settings = StoreSettings(database_url=f"{EMBEDDED_PREFIX}{directory}", redis_url=f"{EMBEDDED_PREFIX}{log}")
    return Place(settings, f"an embedded PostgreSQL on {_readable(directory)}, with its event log beside it")


def _readable(directory: Path) -> str:
    here = Path.cwd()
    return str(directory.relative_to(here)) if directory.is_relative_to(here) else str(directory)


async def is_alone(direct: Any) -> bool:  # noqa: ANN401
    """Whether no other demo runs on this database; holds its lock until the connection closes."""
    return bool(await direct.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK))
