"""`register_store`: the one call that puts the store into an application."""

from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse

from veupath_store.check.readiness import check_readiness
from veupath_store.config import StoreSettings
from veupath_store.errors import ConfigurationError
from veupath_store.integrations.fastapi.handlers import Members, install_problem_handlers
from veupath_store.integrations.fastapi.lifespan import around

READINESS_PATH: Final = "/readyz"

_READY, _NOT_READY = 200, 503


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
    app.router.lifespan_context = around(
        app.router.lifespan_context,
        settings=settings,
        create_schema=create_schema,
        maintain=maintain,
        apps=apps or {},
        connections=connections or {},
    )
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
