"""The store's part of an application's life: opened before the application's own start, closed after its own end."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any, Final

from fastapi import FastAPI
from starlette.types import Lifespan
from tortoise.context import TortoiseContext, require_context
from tortoise.contrib.fastapi import RegisterTortoise
from tortoise.exceptions import ConfigurationError as TortoiseConfigurationError

from veupath_store.config import StoreSettings
from veupath_store.engine import start_detached
from veupath_store.errors import ConfigurationError
from veupath_store.events import ProjectionWorker
from veupath_store.events.log.log import event_log
from veupath_store.integrations.fastapi.ending import heeding_signals
from veupath_store.jobs.sweeper import SWEEP_EVERY, Sweeper
from veupath_store.session import close_db, init_db, is_open
from veupath_store.session.engine import initialised_context

_SECOND: Final = (
    "Tortoise was initialised a second time while the application started. Give your apps to "
    "register_store(app, apps=…) and leave your own register_tortoise out; or call register_tortoise after "
    "register_store, with StoreSettings().tortoise_orm(apps=…): what is registered last starts first."
)


def around(
    inner: Lifespan[Any],
    *,
    settings: StoreSettings | None,
    create_schema: bool,
    maintain: bool,
    apps: Mapping[str, Any],
    connections: Mapping[str, Any],
) -> Lifespan[Any]:
    """A lifespan with the store around another one, whose state it hands on.

    Args:
        inner: The application's own.
        settings: Instead of the environment's, which is read when the application starts.
        create_schema: As for `init_db`.
        maintain: As for `register_store`.
        apps: The application's own, as for `StoreSettings.tortoise_orm`.
        connections: The application's own, as for `StoreSettings.tortoise_orm`.

    Returns:
        What an application takes as its ``lifespan``.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Any]:
        # Somebody else's, as an application's tests: with their settings, and theirs to close.
        if is_open():
            _refuse_missing(apps)
            async with inner(app) as state:
                yield state
            return
        if initialised_context() is not None:
            tortoise: AbstractAsyncContextManager[None] = nullcontext()  # what began before, as register_tortoise does
        else:
            config = (settings or StoreSettings()).tortoise_orm(apps=apps, connections=connections)
            tortoise = _tortoise(app, config)
        async with tortoise, _store(settings, create_schema):
            _refuse_missing(apps)
            async with _maintained() if maintain else nullcontext(), _begun(inner(app)) as state:
                with heeding_signals():
                    yield state

    return lifespan


@asynccontextmanager
async def _tortoise(app: FastAPI, config: dict[str, Any]) -> AsyncIterator[None]:
    registration = RegisterTortoise(app, config=config)
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
async def _begun(inner: AbstractAsyncContextManager[Any]) -> AsyncIterator[Any]:
    try:
        async with inner as state:
            yield state
    except TortoiseConfigurationError as exc:
        if "Global context" in str(exc):
            raise ConfigurationError(_SECOND) from exc
        raise


def _refuse_missing(apps: Iterable[str]) -> None:
    missing = sorted(set(apps) - set(require_context().apps or ()))
    if missing:
        raise ConfigurationError(
            f"The store is open in this process without the app {', '.join(missing)}: initialise Tortoise with "
            "StoreSettings().tortoise_orm(apps=…) there too; in tests the fixture store_apps says which."
        )


@asynccontextmanager
async def _store(settings: StoreSettings | None, create_schema: bool) -> AsyncIterator[None]:
    await init_db(create_schema, settings=settings)
    try:
        yield
    finally:
        await close_db()


@asynccontextmanager
async def _maintained() -> AsyncIterator[None]:
    """While the block lasts, take back the operations of lost workers, catch projections up, and remove logs.

    When it ends, what is under way is finished first; nothing of it is longer than a few statements.
    """
    workers: list[Sweeper | ProjectionWorker] = [Sweeper(SWEEP_EVERY)]
    if event_log() is not None:
        workers.append(ProjectionWorker())
    running = [start_detached(worker.run(), name="maintenance") for worker in workers]
    try:
        yield
    finally:
        for worker in workers:
            worker.stop()
        await asyncio.wait(running)
