"""Catching up after this process's own commits, in the background: bounded, coalescing, drained by `close_db`."""

import asyncio
import contextlib
import logging
import time
from typing import Final

from veupath_store.engine import start_detached
from veupath_store.engine.changes import CONVERSATIONS
from veupath_store.errors import StoreClosedError, StoreError
from veupath_store.events.log.log import event_log
from veupath_store.events.project.worker import log_unlogged
from veupath_store.models.unlogged import CATCH_UP_TASK
from veupath_store.session.engine import Engine

logger: logging.Logger = logging.getLogger("veupath_store.events")

GATHER: Final = 0.01
"""Seconds for which changes gather before they are written: several to one conversation become one event."""

REST: Final = 9
"""Seconds of rest after a second of work, at most `PATIENCE`: who writes all the time is slowed by a tenth."""

PATIENCE: Final = 5.0
"""Seconds between two looks for what processes that died have left, and the longest wait after a failure."""

DRAIN: Final = 5.0
"""Seconds that `close_db` waits for what is not logged yet. What is left then is logged by whoever looks next."""


class Background:
    """One process's task that writes to the logs what its rows hold.

    Args:
        engine: The open store.
    """

    def __init__(self, engine: Engine) -> None:
        self._changed = asyncio.Event()
        self._closing = False
        self._forget = engine.on_change(CONVERSATIONS, self._changed.set)
        engine.on_close(self._close)
        self._task = start_detached(self._run(), name=CATCH_UP_TASK)

    async def _run(self) -> None:
        pause = ready = 0.0
        while not self._closing:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    await self._changed.wait()
            await asyncio.sleep(max(GATHER, ready - time.monotonic()))
            self._changed.clear()
            began = time.monotonic()
            done = await self._once()
            ended = time.monotonic()
            pause = min(PATIENCE, REST * (ended - began) if done else 2 * max(GATHER, pause))
            ready = ended + pause
            if not done:
                self._changed.set()

    async def _once(self) -> bool:
        """Whether nothing is left."""
        try:
            log = event_log()
            if log is not None:
                await log_unlogged(log)
        except StoreClosedError:
            self._closing = True
        except StoreError as exc:
            logger.warning("the event log cannot be brought up to date now: %s", exc)
            return False
        except Exception:
            logger.exception("the event log cannot be brought up to date")
            return False
        return True

    async def _close(self) -> None:
        """End the task, and write what is left if that can be done soon."""
        self._closing = True
        self._forget()
        self._task.cancel()
        await asyncio.wait({self._task})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN):
                await self._once()
