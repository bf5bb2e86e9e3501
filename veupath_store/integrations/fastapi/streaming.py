"""`event_stream` and `json_lines`: responses of any length.

They end when the client goes away, and when the process is asked to end. A server that is asked to end waits for its
responses, and an event stream does not end by itself: uvicorn waits for ever, or for its
``--timeout-graceful-shutdown`` and then cut every stream off. Nothing in ASGI tells an application that it has begun;
the signal does.
"""

import asyncio
import logging
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Annotated, Any, Final

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from fastapi import Header
from fastapi.responses import StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event
from pydantic import BaseModel
from pydantic_core import to_json
from starlette.types import Send

from veupath_store.engine import start_detached
from veupath_store.errors import StoreError
from veupath_store.integrations.fastapi.handlers import log_problem
from veupath_store.integrations.problems import problem_of
from veupath_store.values import LoggedEvent

logger: logging.Logger = logging.getLogger("veupath_store.integrations")

KEEPALIVE: Final = 15.0
"""Seconds after which a comment is sent, so that no proxy takes a silent stream for a dead one."""

RETRY: Final = 2_000
"""Milliseconds after which a browser whose stream has ended asks again."""

# The line ends that JSON leaves as they are, and at which FastAPI 0.135.0 breaks the data.
_ESCAPED: Final = {number: f"\\u{number:04x}" for number in (0x85, 0x2028, 0x2029)}

LastEventId = Annotated[str | None, Header(alias="Last-Event-ID")]
"""The last event that the client has seen, as a browser says when it comes back. Give the parameter the default
``None``."""

TURN: Final = 100
"""Lines after which other tasks have their turn: an iterator that has a page in memory waits for nothing, nor does the
server before its buffer is full, and a client that has gone away would be noticed late."""

PATIENCE: Final = 5.0
"""Seconds for an iterator to finish when it is closed early."""

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)

_open: Final[set["asyncio.Task[None]"]] = set()


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
    data = to_json(event.data).decode().translate(_ESCAPED)
    return format_sse_event(id=event.id, event=name, data_str=data)


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


async def close_iterator(iterator: AsyncIterator[Any]) -> None:
    """Close an asynchronous generator now, not when it is collected; also while the response is being cancelled."""
    aclose = getattr(iterator, "aclose", None)
    if aclose is not None:
        with anyio.move_on_after(PATIENCE, shield=True):
            await aclose()


def ends_with_the_process(stream: "asyncio.Task[None]") -> None:
    """Have a task cancelled when the process is asked to end."""
    _open.add(stream)
    stream.add_done_callback(_open.discard)


@contextmanager
def heeding_signals() -> Iterator[None]:
    """While the block lasts, SIGTERM and SIGINT end the open streams, and then do what they did before.

    Does nothing outside of the main thread, where Python delivers no signal, nor for a signal that nothing handles.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    heeded = {number: handler for number in SIGNALS if callable(handler := signal.getsignal(number))}
    ours = {number: _first(loop, handler) for number, handler in heeded.items()}
    for number, handler in ours.items():
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, handler in heeded.items():
            if signal.getsignal(number) is ours[number]:  # not replaced meanwhile
                signal.signal(number, handler)


def _first(
    loop: asyncio.AbstractEventLoop, then: Callable[[int, FrameType | None], Any]
) -> Callable[[int, FrameType | None], None]:
    def handler(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(_end_all)
        then(number, frame)

    return handler


def _end_all() -> None:
    for stream in list(_open):
        stream.cancel()
