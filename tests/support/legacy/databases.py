"""Legacy databases for tests, adopted ones among them."""

from contextlib import asynccontextmanager

import asyncpg

from tests.support.databases import connected
from tests.support.faults import emptied
from tests.support.legacy.problems import BEFORE, problem_world
from tests.support.legacy.rows import Rows, insert
from tests.support.legacy.schema import NEWEST, schema_sql
from tests.support.servers import Server
from veupath_store.adoption import adopt
from veupath_store.config import StoreSettings


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


async def make_adopted(url: str) -> None:
    """Adopt a legacy database with every problem, and empty it; the old tables stay aside, as they do at first."""
    async with connected(url) as connection:
        await make_legacy(connection, "alembic", rows=problem_world(nullable=True).rows, before=BEFORE)
    assert (await adopt(StoreSettings(database_url=url))).problems
    await emptied(url)
    async with connected(url) as connection:
        await connection.execute("VACUUM ANALYZE")
