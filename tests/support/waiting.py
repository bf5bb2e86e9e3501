"""Waiting until something is so."""

import asyncio
import time
from collections.abc import Awaitable, Callable


async def becomes(call: Callable[[], Awaitable[object]], wanted: object, what: str, within: float = 20.0) -> None:
    """Wait until a call returns a value; the last other one is part of the failure."""
    started = time.monotonic()
    while (found := await call()) != wanted:
        assert time.monotonic() - started < within, f"not within {within} s: {what}; it is {found!r}"
        await asyncio.sleep(0.01)
