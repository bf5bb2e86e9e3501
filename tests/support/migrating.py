"""What tests of migrations share: a file that builds an index, somebody who is in its way, and aerich."""

from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aerich import Command
from tortoise.context import TortoiseContext

from tests.support.checkout import write_migration
from tests.support.databases import connected
from veupath_store.schema import files
from veupath_store.schema.names import APP

INDEX = "users_created_idx"


def write_index(migrations: Path, name: str) -> str:
    """Add a migration that builds an index concurrently, and first drops what a failure has left of it."""
    create = f"CREATE INDEX CONCURRENTLY {INDEX} ON users (created_at)"
    drop = f"DROP INDEX CONCURRENTLY IF EXISTS {INDEX}"
    return write_migration(migrations, name, create, first=drop, in_transaction=False)


@asynccontextmanager
async def idle_in_transaction(url: str, *statements: str, name: str = "nightly report"):
    """Somebody who has an old snapshot, and locks of what the statements read: of users, if there are none."""
    async with (
        connected(url, server_settings={"application_name": name}) as reader,
        reader.transaction(isolation="repeatable_read"),
    ):
        for statement in statements or ("SELECT 'sandwich' FROM users",):
            await reader.fetch(statement)
        yield reader


@asynccontextmanager
async def upstream(config: dict[str, Any]):
    """aerich's own command for the store's app, in this process."""
    async with TortoiseContext() as context:
        await context.init(config=config)
        command = Command(tortoise_config=config, app=APP, location=str(files.migrations_location()))
        await command.init()
        yield command
