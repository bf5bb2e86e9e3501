"""`ProjectionWorker`: keeps every projection caught up, and removes the logs of what was deleted."""

import asyncio
import contextlib
import logging
from collections.abc import Coroutine
from typing import Any, Final
from uuid import UUID

from veupath_store import limits
from veupath_store.engine import start_detached
from veupath_store.errors import NotFoundError, StoreError
from veupath_store.events.lag import lag_of
from veupath_store.events.log import EventLog
from veupath_store.events.old_names import remove_old_names
from veupath_store.events.projector import Projector
from veupath_store.events.removals import remove_logs
from veupath_store.events.selection import Selection
from veupath_store.events.unborn import remove_unborn
from veupath_store.validation import integer, seconds
from veupath_store.values import LagState

logger = logging.getLogger("veupath_store.events")

BATCH: Final = 200
"""Marks that are looked at in one turn."""


class ProjectionWorker:
    """Folds into the table what is appended to the logs. For one `run`; any number may run, in any processes.

    Appending marks a conversation as behind, in Redis; the worker goes through the marks, and takes each away unless
    more was appended meanwhile. From time to time it compares all rows with their logs, for what was appended past the
    store, or by a process that died between two steps.

    Args:
        poll_seconds: How often to look at the marks when there were none: what readers of the table wait at most.
        sweep_every: Seconds between two comparisons of all conversations, and two attempts to remove logs, whichever
            of the workers makes them.
        concurrency: Catch-ups at once, each on a connection of the pool.

    Raises:
        ConfigurationError: No log is configured.
        InvalidInputError: An argument is refused.
    """

    def __init__(self, *, poll_seconds: float = 0.5, sweep_every: float = 300.0, concurrency: int = 4) -> None:
        self._projector = Projector()
        self._poll_seconds = seconds(poll_seconds, "poll_seconds", limits.LEASE_SECONDS)
        self._sweep_every = seconds(sweep_every, "sweep_every", limits.LEASE_SECONDS)
        self._room = asyncio.Semaphore(integer(concurrency, "concurrency", 1, 1_000))
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Work until `stop`, or until this is cancelled. While a server does not answer it goes on asking.

        A conversation that cannot be caught up is logged, keeps its mark, and does not hold up the others.
        """
        sweeping = start_detached(self._sweep_until_stopped())
        try:
            while not self._stopping.is_set():
                if not await self._guarded(self.drain()):
                    await self._pause(self._poll_seconds)
        finally:
            self.stop()
            await asyncio.wait({sweeping})

    def stop(self) -> None:
        """Begin nothing more; `run` returns when what is under way has ended."""
        self._stopping.set()

    async def drain(self) -> int:
        """Catch up what is marked as behind, once: those that cannot be, which keep their marks, are passed over.

        Returns:
            How many conversations were caught up.

        Raises:
            UnavailableError: Redis does not answer.
        """
        total = failed = 0
        while True:
            marks = await self.log.behind(BATCH, skip=failed)
            caught_up = await asyncio.gather(*(self._catch_up(stream_id) for stream_id, _ in marks))
            await self.log.caught_up([mark for mark, done in zip(marks, caught_up, strict=True) if done])
            total += sum(caught_up)
            failed += len(marks) - sum(caught_up)
            if all(caught_up) or len(marks) < BATCH or self._stopping.is_set():
                return total

    async def sweep(self) -> int:
        """Compare all conversations with their logs, catch up those that are behind, and remove what belongs to none.

        For each 500 conversations one read and one round trip to Redis, and a catch-up for each that is behind; for
        each 1,000 keys in Redis the same, to find the logs of creations that were rolled back; and
        where something of an adopted database was deleted, two round trips more for these, to find it under its old
        name.

        Returns:
            How many conversations were behind.

        Raises:
            UnavailableError: A server does not answer.
        """
        await remove_logs(self.log)
        await remove_old_names(self.log)
        await remove_unborn(self.log)
        behind = 0
        async for chunk in Selection().chunks():
            lags = [lag for lag in await lag_of(self.log, chunk) if lag.state in {LagState.BEHIND, LagState.STUCK}]
            await asyncio.gather(*(self._catch_up(lag.stream_id) for lag in lags))
            behind += len(lags)
            if self._stopping.is_set():
                break
        return behind

    @property
    def log(self) -> EventLog:
        """The log that it works on."""
        return self._projector.log

    async def _catch_up(self, stream_id: UUID) -> bool:
        """Whether the conversation is caught up, or gone."""
        async with self._room:
            try:
                done = await self._projector.catch_up(stream_id)
            except NotFoundError:
                return True
            except StoreError as exc:
                logger.warning("the projection of %s cannot be caught up now: %s", stream_id, exc)
                return False
            except Exception:
                # A defect that one conversation shows must not keep all others from being caught up.
                logger.exception("the projection of %s cannot be caught up", stream_id)
                return False
        for problem in done.problems:
            logger.warning(
                "entry %s (%s) of stream %s was skipped: %s", problem.position, problem.type, stream_id, problem.reason
            )
        return True

    async def _sweep_until_stopped(self) -> None:
        while not self._stopping.is_set():
            behind = await self._guarded(self._sweep_in_turn())
            if behind:
                logger.info("%d projections were behind without a mark", behind)
            await self._pause(self._sweep_every)

    async def _sweep_in_turn(self) -> int:
        """Sweep, unless another worker has within the last `sweep_every` seconds."""
        return await self.sweep() if await self.log.take_sweep(self._sweep_every) else 0

    async def _guarded(self, work: Coroutine[Any, Any, int]) -> int:
        try:
            return await work
        except StoreError as exc:
            logger.warning("projections cannot be caught up now: %s", exc)
            return 0

    async def _pause(self, span: float) -> None:
        """Wait, but no longer than until `stop`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(span):
                await self._stopping.wait()
