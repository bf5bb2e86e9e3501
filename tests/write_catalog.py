"""``python -m tests.write_catalog``: write migrations/catalog.json anew, from a database that was just migrated."""

import asyncio
import json

from tests.support.checkout import REPOSITORY
from tests.support.databases import catalog_of
from tests.support.servers import EmbeddedServer, Server
from veupath_store.config import StoreSettings
from veupath_store.schema.catalog import FILE, Catalog
from veupath_store.schema.migrations import migrate


async def migrated(server: Server) -> Catalog:
    async with server.database() as url:
        await migrate(StoreSettings(database_url=url))
        return await catalog_of(url)


def main() -> None:
    embedded = EmbeddedServer()
    try:
        catalog = asyncio.run(migrated(embedded.server))
    finally:
        embedded.close()
    (REPOSITORY / "migrations" / FILE).write_text(json.dumps(catalog, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
