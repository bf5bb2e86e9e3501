"""`register_store`: the store's part of an application's life, opened before its own start and closed after its end."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, Final

from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse
from tortoise.context import TortoiseContext, require_context
from tortoise.contrib.fastapi import RegisterTortoise
from tortoise.exceptions import ConfigurationError as TortoiseConfigurationError

from veupath_store.check.readiness import check_readiness
from veupath_store.config import StoreSettings
from veupath_store.engine import start_detached
from veupath_store.errors import ConfigurationError
from veupath_store.events import ProjectionWorker
from veupath_store.events.log.log import event_log
from veupath_store.integrations.fastapi.handlers import Members, install_problem_handlers
from veupath_store.integrations.fastapi.streaming import heeding_signals
from veupath_store.jobs.worker import SWEEP_EVERY, Sweeper
from veupath_store.session import close_db, init_db, is_open
from veupath_store.session.engine import initialised_context

READINESS_PATH: Final = "/readyz"

_READY, _NOT_READY = 200, 503

_SECOND: Final = (
    "Tortoise was initialised a second time while the application started. Give your apps to "
    "register_store(app, apps=…) and leave your own register_tortoise out; or call register_tortoise after "
    "register_store, with StoreSettings().tortoise_orm(apps=…): what is registered last starts first."
)


def register_store(
    app: FastAPI,
    *,
    settings: StoreSettings | None = None,
    create_schema: bool = False,
    readiness_path: str | None = READINESS_PATH,
    maintain: bool = False,
    problem_members: Members | None = None,
    apps: Mapping[str, Any] | None = None,
    connections: Mapping[str, Any] | None = None,
) -> None:
    """Have an application open the store when it starts, close it when it ends, and answer the store's errors.

    Start: Tortoise is initialised, the database is pinged and its migrations are checked (`init_db`), then the
    application's own lifespan begins, which may use the store. End: that lifespan ends, the document writers are
    drained and work in flight is waited for (`close_db`), then Tortoise is closed. A start that fails leaves nothing
    behind. Where the store is open in this process already, as in an application's tests, that one is used and left
    open. Where Tortoise is initialised already, as by a ``register_tortoise`` that is called after this, that is used.

    Each process of the application (``uvicorn --workers 4``) has its own pool: the database must admit
    ``pool_max_size`` connections for each.

    Args:
        app: The application, before it starts. Its lifespan, and its exception handlers, stay.
        settings: Instead of the environment's, which is read when the application starts.
        create_schema: Apply the migrations at the start. For development.
        readiness_path: Where a load balancer asks whether to send requests here; ``None`` for no such route.
        maintain: For a deployment without a worker process: operations of lost workers are swept up, projections caught
            up and logs of what was deleted removed, by one of the application's processes at a time. Not where the
            store is open already, as in tests.
        problem_members: Makes the members that each problem document has beside those of `Problem`, from the request
            and the error.
        apps: The application's own Tortoise apps beside the store's, as for `StoreSettings.tortoise_orm`.
        connections: Other connections of theirs, as for `StoreSettings.tortoise_orm`.

    Raises:
        ConfigurationError: The application has started already. At the start: a setting is missing or wrong.
        UnavailableError: At the start: no server answers.
        SchemaError: At the start: migrations are behind.
    """
    if app.middleware_stack is not None:
        raise ConfigurationError("The application has started already: call register_store where it is made.")
    own_apps = apps or {}
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Any]:
        # Somebody else's, as an application's tests: with their settings, and theirs to close.
        if is_open():
            _refuse_missing(own_apps)
            async with inner(app) as state:
                yield state
            return
        async with AsyncExitStack() as stack:
            if initialised_context() is None:  # or else what began before, as register_tortoise does, is used
                config = (settings or StoreSettings()).tortoise_orm(apps=own_apps, connections=connections or {})
                await stack.enter_async_context(_tortoise(app, config))
            await init_db(create_schema, settings=settings)
            stack.push_async_callback(close_db)
            _refuse_missing(own_apps)
            if maintain:
                await stack.enter_async_context(_maintained())
            state = await stack.enter_async_context(_begun(inner(app)))
            with heeding_signals():
                yield state

    app.router.lifespan_context = lifespan
    install_problem_handlers(app, members=problem_members)
    if readiness_path is not None:
        app.add_api_route(readiness_path, readiness, methods=["GET", "HEAD"], include_in_schema=False)


async def readiness() -> Response:
    """Whether this process can serve, as JSON: 200 where it can, 503 where not."""
    found = await check_readiness()
    return JSONResponse(
        found.model_dump(mode="json"),
        status_code=_READY if found.ready else _NOT_READY,
        headers={"Cache-Control": "no-store"},
    )


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
