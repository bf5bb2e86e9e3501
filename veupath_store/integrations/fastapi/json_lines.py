"""`json_lines`: a response of any length, one JSON document a line."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from pydantic_core import to_json
from starlette.types import Send

from veupath_store.errors import StoreError
from veupath_store.integrations.fastapi.ending import close_iterator
from veupath_store.integrations.fastapi.handlers import log_problem
from veupath_store.integrations.problems import problem_of

TURN: Final = 100
"""Lines after which other tasks have their turn: an iterator that has a page in memory waits for nothing, nor does the
server before its buffer is full, and a client that has gone away would be noticed late."""


class ResponseCutOffError(Exception):
    """An error ended a response that had begun: the connection is closed, so that the client sees that it is torn."""


def json_lines(iterator: AsyncIterator[Any]) -> StreamingResponse:
    """Send what an iterator yields as JSON lines, as fast as the client reads: `AccountRepository.export`, `iterate_…`.

    No connection is held between two pages, if the iterator comes from a repository *without* a session: the session
    of the request ends before its response begins, and a repository on it is refused with `UnitOfWorkError`.

    An error before the first line is answered like that of a route. One after it tears the response, which is
    logged and which the client sees as an incomplete one. When the client goes away the iterator is closed.

    Args:
        iterator: Of lines of text (sent as they are), pydantic models, or whatever pydantic can make JSON of.

    Returns:
        The response, ``application/x-ndjson``.
    """
    return _JsonLines(iterator)


class _JsonLines(StreamingResponse):
    media_type = "application/x-ndjson"

    def __init__(self, iterator: AsyncIterator[Any]) -> None:
        super().__init__(iterator, headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        self._iterator = iterator

    async def stream_response(self, send: Send) -> None:
        """As any streaming response, but begun only when there is a first line."""
        try:
            self.body_iterator = _lines(self._iterator, await anext(self._iterator, None))
            await super().stream_response(send)
        finally:
            await close_iterator(self._iterator)


async def _lines(rest: AsyncIterator[Any], first: Any) -> AsyncIterator[bytes]:  # noqa: ANN401 - whatever it yields
    if first is None:
        return
    yield _line(first)
    sent = 1
    try:
        async for item in rest:
            yield _line(item)
            sent += 1
            if sent % TURN == 0:
                await asyncio.sleep(0)
    except StoreError as exc:
        log_problem(exc, problem_of(exc), "A response that had begun")
        # Not with its cause: servers log what they are given, with the messages of all that led to it.
        raise ResponseCutOffError(f"the response ended before all of it was sent: {type(exc).__name__}") from None


def _line(item: Any) -> bytes:  # noqa: ANN401
    if isinstance(item, str):
        return item.encode() + b"\n"
    if isinstance(item, BaseModel):
        return item.model_dump_json().encode() + b"\n"
    return to_json(item) + b"\n"
