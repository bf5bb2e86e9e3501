"""Errors that leave a route, answered and logged."""

import logging
from typing import Any, Final, cast

from fastapi import FastAPI, Response, WebSocket
from starlette.requests import HTTPConnection
from starlette.websockets import WebSocketState
from tortoise.exceptions import BaseORMException

from veupath_store.errors import StoreError
from veupath_store.integrations.problems import MEDIA_TYPE, Problem, problem_of
from veupath_store.integrations.tracebacks import safe_traceback

logger = logging.getLogger("veupath_store.integrations")

_SERVER_ERROR, _UNAVAILABLE = 500, 503
_WEBSOCKET_FAILED, _WEBSOCKET_TRY_LATER = 1011, 1013

HANDLED: Final[tuple[type[Exception], ...]] = (StoreError, BaseORMException)
"""What is answered: the roots of the two trees, so that an application's handler for any class below one wins."""


def install_problem_handlers(app: FastAPI) -> None:
    """Answer the errors of the store, and of Tortoise, with problem documents. `register_store` does this.

    Handlers that the application has, or adds later, stay. A mounted application has handlers of its own: call this
    for it.

    Args:
        app: The application.
    """
    for root in HANDLED:
        app.exception_handlers.setdefault(root, cast("Any", _handle))  # one for both kinds of connection


async def _handle(connection: HTTPConnection, error: Exception) -> Response | None:
    problem = problem_of(error)
    log_problem(error, problem, _where(connection))
    if isinstance(connection, WebSocket):
        await _close(connection, problem)
        return None
    return problem_response(problem)


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
