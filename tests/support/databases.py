"""Talking to a test's database by its URL, past the store."""

from contextlib import asynccontextmanager

import asyncpg

from veupath_store.database_url import parse_database_url


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
