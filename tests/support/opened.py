"""The store, open as long as a block lasts."""

from contextlib import asynccontextmanager

from veupath_store import StoreSettings, close_db, init_db


@asynccontextmanager
async def opened(settings: StoreSettings | str, **options):
    """Its client; given its settings, or a database's URL and what else they say."""
    engine = await init_db(
        settings=StoreSettings(database_url=settings, **options)
        if isinstance(settings, str)
        else settings.model_copy(update=options)
    )
    try:
        yield await engine.open()
    finally:
        await close_db()
