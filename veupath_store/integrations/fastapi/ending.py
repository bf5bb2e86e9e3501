"""Ending responses of any length: when the client goes away, and when the process is asked to end.

A server that is asked to end waits for its responses, and an event stream does not end by itself: uvicorn waits for
ever, or for its ``--timeout-graceful-shutdown`` and then cut every stream off. Nothing in ASGI tells an application
that it has begun; the signal does.
"""

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

import anyio

PATIENCE: Final = 5.0
"""Seconds for an iterator to finish when it is closed early."""

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)

_open: Final[set["asyncio.Task[None]"]] = set()


async def close_iterator(iterator: AsyncIterator[Any]) -> None:
    """Close an asynchronous generator now, not when it is collected; also while the response is being cancelled.

    Args:
        iterator: Any asynchronous iterator; one without ``aclose`` needs nothing.
    """
    aclose = getattr(iterator, "aclose", None)
    if aclose is not None:
        with anyio.move_on_after(PATIENCE, shield=True):
            await aclose()


def ends_with_the_process(stream: "asyncio.Task[None]") -> None:
    """Have a task cancelled when the process is asked to end.

    Args:
        stream: What reads the events of a stream.
    """
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
