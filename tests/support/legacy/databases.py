"""Legacy databases for tests, adopted ones among them."""

from contextlib import asynccontextmanager

from tests.support.databases import connected, execute
from tests.support.faults import emptied
from tests.support.legacy.problems import BEFORE, problem_world
from tests.support.legacy.rows import World, insert
from tests.support.legacy.schema import NEWEST, schema_sql
from tests.support.servers import Server
from veupath_store.adoption import adopt
from veupath_store.config import StoreSettings


async def legacy(
    url: str, world: World | None = None, variant: str = "create_all", revision: str = NEWEST, before: str = ""
) -> None:
    """Make a legacy database of an empty one, and fill it after some more statements."""
    async with connected(url) as connection:
        await connection.execute(f"{schema_sql(variant, revision)};{before}")
        if world is not None:
            await insert(connection, world.rows, revision)


@asynccontextmanager
async def legacy_database(server: Server, world: World, variant: str, revision: str = NEWEST, before: str = ""):
    """A legacy database of one's own, by its URL."""
    async with server.database() as url:
        await legacy(url, world, variant, revision, before)
        yield url


def problem_database(server: Server, variant: str, revision: str = NEWEST):
    """One with every kind of problem that its variant can have."""
    return legacy_database(server, problem_world(nullable=variant == "alembic"), variant, revision, BEFORE)


async def make_adopted(url: str) -> None:
    """Adopt a legacy database with every problem, and empty it; the old tables stay aside, as they do at first."""
    await legacy(url, problem_world(nullable=True), "alembic", before=BEFORE)
    assert (await adopt(StoreSettings(database_url=url))).problems
    await emptied(url)
    await execute(url, "VACUUM ANALYZE")
