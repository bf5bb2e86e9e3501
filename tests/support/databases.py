"""A test's database by its URL: past the store, or with the store open on it."""

from contextlib import asynccontextmanager

import asyncpg

from veupath_store.config import StoreSettings
from veupath_store.schema.catalog import Catalog, read_catalog
from veupath_store.schema.migrations import migrate
from veupath_store.servers.database_url import parse_database_url
from veupath_store.session import close_db, init_db


async def make_migrated(url: str) -> None:
    """Make a store of an empty database."""
    await migrate(StoreSettings(database_url=url))


@asynccontextmanager
async def connected(url: str, **options):
    """A plain asyncpg connection."""
    target = parse_database_url(url)
    host, port = target.hosts[0]
    connection = await asyncpg.connect(
        host=host, port=port, user=target.user, password=target.password, database=target.database, **options
    )
    try:
        yield connection
    finally:
        await connection.close()


async def execute(url: str, *statements: str) -> None:
    """Run statements on a connection of their own."""
    async with connected(url) as connection:
        for statement in statements:
            await connection.execute(statement)


async def fetch(url: str, statement: str, *values):
    """The rows of one statement, on a connection of its own."""
    async with connected(url) as connection:
        return await connection.fetch(statement, *values)


async def fetchval(url: str, statement: str, *values):
    """The first value of one statement, on a connection of its own."""
    async with connected(url) as connection:
        return await connection.fetchval(statement, *values)


@asynccontextmanager
async def opened(settings: StoreSettings, **options):
    """The store, open while the block runs."""
    engine = await init_db(settings=settings, **options)
    try:
        yield engine
    finally:
        await close_db()


async def catalog_of(url: str) -> Catalog:
    """The catalog of the database's schema `public`."""
    async with connected(url) as connection:
        return await read_catalog(connection.fetch)


async def recorded(url: str) -> list[str]:
    """The migrations that aerich has recorded, in the order in which they ran."""
    return [row["version"] for row in await fetch(url, "SELECT version FROM aerich ORDER BY id")]
