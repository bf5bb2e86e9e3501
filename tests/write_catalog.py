"""``python -m tests.write_catalog``: write migrations/catalog.json anew, from a database that was just migrated."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tests.support.checkout import REPOSITORY
from tests.support.databases import catalog_of, make_migrated
from tests.support.servers import EmbeddedServer, Server
from veupath_store.schema.catalog import FILE

T = TypeVar("T")


def of_migrated(read: Callable[[str], Awaitable[T]]) -> T:
    """What is read of a database that was just migrated, on an embedded server."""

    async def run(server: Server) -> T:
        async with server.database() as url:
            await make_migrated(url)
            return await read(url)

    embedded = EmbeddedServer()
    try:
        return asyncio.run(run(embedded.server))
    finally:
        embedded.close()


def main() -> None:
    (REPOSITORY / "migrations" / FILE).write_text(json.dumps(of_migrated(catalog_of), indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
