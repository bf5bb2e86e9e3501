"""The store's part of an application's life: opened before the application's own start, closed after its own end."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.types import Lifespan
from tortoise.context import TortoiseContext
from tortoise.contrib.fastapi import RegisterTortoise

from veupath_store.config import StoreSettings
from veupath_store.integrations.fastapi.ending import heeding_signals
from veupath_store.session import close_db, init_db, is_open


def around(inner: Lifespan[Any], *, settings: StoreSettings | None, create_schema: bool) -> Lifespan[Any]:
    """A lifespan with the store around another one, whose state it hands on.

    Args:
        inner: The application's own.
        settings: Instead of the environment's, which is read when the application starts.
        create_schema: As for `init_db`.

    Returns:
        What an application takes as its ``lifespan``.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Any]:
        # Somebody else's, as an application's tests: with their settings, and theirs to close.
        if is_open():
            async with inner(app) as state:
                yield state
            return
        async with _tortoise(app, settings or StoreSettings()), _store(create_schema), inner(app) as state:
            with heeding_signals():
                yield state

    return lifespan


@asynccontextmanager
async def _tortoise(app: FastAPI, settings: StoreSettings) -> AsyncIterator[None]:
    registration = RegisterTortoise(app, config=settings.tortoise_orm())
    context = TortoiseContext()
    # Current in this task only while it is initialised, or closed: a start that fails leaves nothing behind here, and
    # requests, which run in tasks of their own, find it through Tortoise's global fallback.
    with context:
        await registration.init_orm()
    try:
        yield
    finally:
        with context:
            await registration.close_orm()


@asynccontextmanager
async def _store(create_schema: bool) -> AsyncIterator[None]:
    await init_db(create_schema)
    try:
        yield
    finally:
        await close_db()
