"""Legacy databases for tests, adopted ones among them."""

from contextlib import asynccontextmanager

import asyncpg

from tests.support.databases import connected
from tests.support.legacy.problems import BEFORE, problem_world
from tests.support.legacy.rows import Rows, insert
from tests.support.legacy.schema import NEWEST, schema_sql
from tests.support.servers import Server


async def make_legacy(
    connection: asyncpg.Connection, variant: str, revision: str = NEWEST, rows: Rows | None = None, before: str = ""
) -> None:
    """Make the legacy schema in an empty database, and fill it."""
    await connection.execute(schema_sql(variant, revision))
    if before:
        await connection.execute(before)
    if rows is not None:
        await insert(connection, rows, revision)


@asynccontextmanager
async def legacy_database(
    server: Server, variant: str, revision: str = NEWEST, rows: Rows | None = None, before: str = ""
):
    """A legacy database of one's own, by its URL."""
    async with server.database() as url:
        async with connected(url) as connection:
            await make_legacy(connection, variant, revision, rows, before)
        yield url


def problem_database(server: Server, variant: str, revision: str = NEWEST):
    """One with every kind of problem that its variant can have."""
    return legacy_database(server, variant, revision, problem_world(nullable=variant == "alembic").rows, BEFORE)
