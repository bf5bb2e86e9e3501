"""Legacy databases for tests, adopted ones among them."""

from contextlib import asynccontextmanager

import asyncpg

from tests.support.databases import connected, execute
from tests.support.faults import emptied
from tests.support.legacy.problems import BEFORE, problem_world
from tests.support.legacy.rows import Rows, World, insert
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


async def legacy(
    url: str, world: World | None = None, variant: str = "create_all", revision: str = NEWEST, before: str = ""
) -> None:
    """Make a legacy database with some rows of an empty one, by its URL."""
    async with connected(url) as connection:
        await make_legacy(connection, variant, revision, world and world.rows, before)


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
    await legacy(url, problem_world(nullable=True), "alembic", before=BEFORE)
    assert (await adopt(StoreSettings(database_url=url))).problems
    await emptied(url)
    await execute(url, "VACUUM ANALYZE")
