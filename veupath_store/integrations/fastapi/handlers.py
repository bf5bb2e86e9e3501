"""Errors that leave a route: answered, logged, and described in the OpenAPI document."""

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias, cast

from fastapi import FastAPI, Request, Response, WebSocket
from fastapi.exception_handlers import request_validation_exception_handler
from fastapi.exceptions import RequestValidationError
from starlette.requests import HTTPConnection
from starlette.websockets import WebSocketState
from tortoise.exceptions import BaseORMException

from veupath_store.errors import InvalidInputError, NotFoundError, StoreError
from veupath_store.inputs.validation import as_uuid
from veupath_store.integrations.problems import MEDIA_TYPE, Problem, problem_of, safe_traceback

logger: logging.Logger = logging.getLogger("veupath_store.integrations")

_SERVER_ERROR, _UNAVAILABLE = 500, 503
_WEBSOCKET_FAILED, _WEBSOCKET_TRY_LATER = 1011, 1013

HANDLED: Final[tuple[type[Exception], ...]] = (StoreError, BaseORMException)
"""What is answered: the roots of the two trees, so that an application's handler for any class below one wins."""

_NO_UUID: Final = {"uuid_parsing", "uuid_type"}
_IDS: Final = ("stream_id", "operation_id", "experiment_id", "gene_set_id", "control_set_id", "user_id", "id")
"""The store's arguments that are ids of rows."""

Members: TypeAlias = Callable[[HTTPConnection, Exception], Mapping[str, Any]]
"""What an application adds to a problem document, for a request and the error that it met."""


def install_problem_handlers(app: FastAPI, *, members: Members | None = None) -> None:
    """Answer the errors of the store, and of Tortoise, with problem documents. `register_store` does this.

    An id in a path that is no UUID is answered as one that is not there, with 404, whether FastAPI or the store refuses
    it: the path's parameter has the name of the store's argument then, as ``stream_id``.

    Handlers that the application has, or adds later, stay. A mounted application has handlers of its own: call this
    for it.

    Args:
        app: The application.
        members: Makes the members that each document has beside those of `Problem`.
    """

    def problem_for(connection: HTTPConnection, error: Exception) -> Problem:
        problem = problem_of(error)
        return problem if members is None else problem.with_members(members(connection, error))

    async def handle(connection: HTTPConnection, raised: Exception) -> Response | None:
        error = missing(connection, raised) or raised
        problem = problem_for(connection, error)
        log_problem(error, problem, _where(connection))
        if isinstance(connection, WebSocket):
            await _close(connection, problem)
            return None
        return problem_response(problem)

    async def refuse(request: Request, refused: RequestValidationError) -> Response:
        error = missing(request, refused)
        if error is None:
            return await request_validation_exception_handler(request, refused)
        return problem_response(problem_for(request, error))

    for root in HANDLED:
        app.exception_handlers.setdefault(root, cast("Any", handle))  # one for both kinds of connection
    if app.exception_handlers.get(RequestValidationError) is request_validation_exception_handler:
        app.exception_handlers[RequestValidationError] = cast("Any", refuse)


def missing(connection: HTTPConnection, error: Exception) -> NotFoundError | None:
    """What an id in the path that is no UUID means: there is none. ``None`` for every other error."""
    name: str | None = None
    if isinstance(error, RequestValidationError):
        found = (each["loc"] for each in error.errors() if each["loc"][0] == "path" and each["type"] in _NO_UUID)
        name = next((str(place[1]) for place in found), None)
    elif isinstance(error, InvalidInputError):
        given = {name: value for name, value in connection.path_params.items() if name in _IDS}
        # Of a call that names its one argument "id", the path's is the one that is none.
        malformed = (name for name, value in given.items() if not _is_uuid(value)) if error.path == "id" else ()
        name = error.path if error.path in given else next(iter(malformed), None)
    return None if name is None else NotFoundError(name.removesuffix("_id").replace("_", " "))


def _is_uuid(value: object) -> bool:
    try:
        as_uuid(value, "id")
    except InvalidInputError:
        return False
    return True


def problem_response(problem: Problem) -> Response:
    """The response that carries a problem, for a handler of the application's own.

    Args:
        problem: What `problem_of` returned.
    """
    content = problem.model_dump_json(exclude_none=True)
    return Response(content, status_code=problem.status, headers=problem.headers(), media_type=MEDIA_TYPE)


def log_problem(error: BaseException, problem: Problem, where: str) -> None:
    """Log what somebody has to know of: a 503 as a warning, other failures with the traceback, refusals not at all."""
    if problem.status == _UNAVAILABLE:
        logger.warning("%s: %s: %s", where, type(error).__name__, error)
    elif problem.status >= _SERVER_ERROR:
        logger.error("%s failed\n%s", where, safe_traceback(error))


def _where(connection: HTTPConnection) -> str:
    """The route, as it was written: what was called may hold anything."""
    route = connection.scope.get("route")
    return f"{connection.scope.get('method', 'WS')} {getattr(route, 'path', '(no route)')}"


async def _close(websocket: WebSocket, problem: Problem) -> None:
    if websocket.application_state is not WebSocketState.DISCONNECTED:
        code = _WEBSOCKET_TRY_LATER if problem.status == _UNAVAILABLE else _WEBSOCKET_FAILED
        await websocket.close(code, problem.title)


def _documented(description: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - of OpenAPI
    content = {MEDIA_TYPE: {"schema": Problem.model_json_schema()}, **more.pop("content", {})}
    return {"description": description, "content": content, **more}


# FastAPI leaves its own 422 out of the document where a route has one: it is described here, too.
_OF_FASTAPI: Final = {
    "title": "HTTPValidationError",
    "type": "object",
    "properties": {"detail": {"type": "array", "items": {"type": "object"}}},
}

PROBLEM_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    404: _documented("There is none, or it is somebody else's: the two look alike."),
    409: _documented("It contradicts what is stored; `type` says how."),
    422: _documented(
        "A value was refused: by the store, whose `path` names it, or by the application before.",
        content={"application/json": {"schema": _OF_FASTAPI}},
    ),
    500: _documented("The request failed, or it is not known whether it was saved."),
    503: _documented(
        "The store does not answer, or is too busy.",
        headers={"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}},
    ),
}
"""For ``APIRouter(responses=PROBLEM_RESPONSES)``: the problems, in the OpenAPI document of every route."""
