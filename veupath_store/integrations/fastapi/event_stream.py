"""`event_stream`: the events of a log as server-sent events."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Annotated, Final

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from fastapi import Header
from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event
from pydantic_core import to_json
from starlette.types import Send

from veupath_store.engine import start_detached
from veupath_store.errors import StoreError
from veupath_store.integrations.fastapi.ending import PATIENCE, close_iterator, ends_with_the_process
from veupath_store.integrations.fastapi.handlers import log_problem
from veupath_store.integrations.problems import problem_of
from veupath_store.values import LoggedEvent

logger: logging.Logger = logging.getLogger("veupath_store.integrations")

KEEPALIVE: Final = 15.0
"""Seconds after which a comment is sent, so that no proxy takes a silent stream for a dead one."""

RETRY: Final = 2_000
"""Milliseconds after which a browser whose stream has ended asks again."""

_LINE_ENDS: Final = "\x85\u2028\u2029"

LastEventId = Annotated[str | None, Header(alias="Last-Event-ID")]
"""The last event that the client has seen, as a browser says when it comes back. Give the parameter the default
``None``."""


def event_stream(events: AsyncIterator[LoggedEvent], *, keepalive: float = KEEPALIVE) -> EventSourceResponse:
    """Send events as they come, until there are no more or the client goes away.

    Each is a message whose ``id`` is the event's id, ``event`` its type, and ``data`` its data as JSON and nothing
    else (``null`` where the log holds no object). The first thing sent is a hint to come back after `RETRY`.

    The iterator runs in a separate task, one event ahead of the client, and is closed when the client goes away.
    An error of the store ends the stream as if there were nothing more, and is logged: the client comes back with its
    last id, and is then answered by the route. Any other error tears the response. When the process is asked to end
    (SIGTERM, SIGINT) so does the stream, and the client comes back to another one.

    Args:
        events: What to send, for instance ``await LogReader().for_user(id).follow(stream_id, position=last_event_id)``.
        keepalive: Seconds without an event after which a comment is sent.

    Returns:
        The response. A route returns it as any response; it does not name it as its ``response_class``, which in
        FastAPI is for routes that yield.
    """
    return _EventStream(events, keepalive)


class _EventStream(EventSourceResponse):
    def __init__(self, events: AsyncIterator[LoggedEvent], keepalive: float) -> None:
        super().__init__((), headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        self._events = events  # read once the response begins: one that is never sent opens nothing
        self._keepalive = keepalive

    async def stream_response(self, send: Send) -> None:
        """As any streaming response, and read the events meanwhile."""
        # A hand-over: of events that a slow client has not read yet, one waits here, and the others in the log.
        into, out = anyio.create_memory_object_stream[LoggedEvent](0)
        reading = start_detached(_read(self._events, into), name="event_stream")
        ends_with_the_process(reading)
        self.body_iterator = _messages(out, reading, self._keepalive)
        try:
            await super().stream_response(send)
        finally:
            reading.cancel()
            with anyio.move_on_after(PATIENCE, shield=True):
                await asyncio.wait([reading])
            into.close()
            out.close()


async def _read(events: AsyncIterator[LoggedEvent], into: MemoryObjectSendStream[LoggedEvent]) -> None:
    """In one task from beginning to end, which an asynchronous generator may rely on."""
    with into:
        try:
            async for event in events:
                await into.send(event)
        except StoreError as exc:
            logger.info("an event stream ended: %s", type(exc).__name__)
            log_problem(exc, problem_of(exc), "An event stream")
        finally:
            await close_iterator(events)


async def _messages(
    events: MemoryObjectReceiveStream[LoggedEvent], reading: asyncio.Task[None], keepalive: float
) -> AsyncIterator[bytes]:
    yield format_sse_event(retry=RETRY)
    while True:
        message = KEEPALIVE_COMMENT
        with anyio.move_on_after(keepalive):
            try:
                message = _message(await events.receive())
            except anyio.EndOfStream:
                break
        yield message
    await asyncio.wait([reading])
    if not reading.cancelled():
        reading.result()  # raises what is no error of the store


def _message(event: LoggedEvent) -> bytes:
    # A type with a line break, which the store refuses and another writer may not, would be a field of its own.
    name = " ".join(event.type.splitlines())
    return format_sse_event(id=event.id, event=name, data_str=_on_one_line(to_json(event.data).decode()))


def _on_one_line(json: str) -> str:
    """With those line ends escaped that JSON leaves as they are, and at which FastAPI 0.135.0 breaks the data."""
    for character in _LINE_ENDS:
        if character in json:
            json = json.replace(character, f"\\u{ord(character):04x}")
    return json
