"""Telling other processes that an operation waits for a worker: NOTIFY, after the commit and not in it.

NOTIFY in a transaction takes a lock of the whole server at COMMIT, and every unit of work that registers an operation
would wait for the others' disks and standbys. So it is a statement by itself, in the background, one for all that was
registered within `GATHER`. One that is lost costs nothing but the time until the workers look by themselves.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from veupath_store.engine.changes import WORK
from veupath_store.engine.tasks import start_detached
from veupath_store.errors import StoreError

logger: logging.Logger = logging.getLogger("veupath_store.engine")

CHANNEL: Final = "veupath_store_work"

ANNOUNCE_TASK: Final = "announcement of work"
"""The name of the task that sends it."""

GATHER: Final = 0.005
"""Seconds for which registrations gather, so that many at once are one NOTIFY."""

_NOTIFY: Final = f"SELECT pg_notify('{CHANNEL}', '')"


class Announcer:
    """One pool's announcements."""

    def __init__(self, execute: Callable[[str], Awaitable[object]]) -> None:
        self._execute = execute
        self._task: asyncio.Task[None] | None = None
        self._running: set[asyncio.Task[None]] = set()

    def hear(self, topic: str) -> None:
        """Something of a topic was saved."""
        if topic == WORK and self._task is None:
            self._task = start_detached(self._announce(), name=ANNOUNCE_TASK)
            self._running.add(self._task)
            self._task.add_done_callback(self._running.discard)

    async def close(self) -> None:
        """End what is under way, before the pool closes."""
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _announce(self) -> None:
        await asyncio.sleep(GATHER)
        self._task = None  # what is registered from here on has an announcement of its own
        try:
            await self._execute(_NOTIFY)
        except StoreError as exc:
            logger.debug("workers of other processes were not notified of new work: %s", exc)
