"""Running what has an event loop from synchronous code of the tests.

In a thread: `asyncio.run` in this one would drop the event loop that pytest-asyncio has set, unclosed.
"""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


def run_apart(coroutine: Coroutine[Any, Any, T]) -> T:
    """As `asyncio.run`."""
    return call_apart(lambda: asyncio.run(coroutine))


def call_apart(function: Callable[[], T]) -> T:
    """Call a function; what it raises is raised."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(function).result()
