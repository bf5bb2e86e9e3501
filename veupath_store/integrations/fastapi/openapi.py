"""The problems in an application's OpenAPI document."""

from typing import Any, Final

from veupath_store.integrations.problems import MEDIA_TYPE, Problem


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
