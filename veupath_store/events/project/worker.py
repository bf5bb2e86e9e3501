"""Who catches up: every process after its own commits, and `ProjectionWorker` for all that is left."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Mapping
from typing import Final
from uuid import UUID

from veupath_store.engine import start_detached
from veupath_store.engine.changes import CONVERSATIONS
from veupath_store.errors import ConfigurationError, NotFoundError, StoreClosedError, StoreError
from veupath_store.events.holder import other_holder
from veupath_store.events.log.client import RefusedError
from veupath_store.events.log.log import EventLog, event_log, required_log
from veupath_store.events.project.catch_up import Unfinished, catch_up_all
from veupath_store.events.project.lag import lag_of
from veupath_store.events.project.removal import remove_logs, remove_messages_again, remove_strays
from veupath_store.events.project.selection import Selection
from veupath_store.inputs import limits
from veupath_store.inputs.validation import integer, seconds
from veupath_store.models.unlogged import CATCH_UP_TASK
from veupath_store.session import get_engine
from veupath_store.session.engine import Engine
from veupath_store.values import CaughtUp, LagState

logger: logging.Logger = logging.getLogger("veupath_store.events")

BATCH: Final = 200
"""Conversations that are looked at in one turn."""

ROUNDS: Final = 8
"""Pages of one log, about 11,000 entries, before others are looked at: one may be a million entries behind."""

LOGS_OF_ENDED: Final = 30 * 86_400.0
"""Seconds for which the log of an operation is kept after its end, by default."""

# What a row holds and its log does not, by a partial index: 0.05 ms among 1,000,000 rows.
_UNLOGGED: Final = f"""
(SELECT stream_id FROM stream_projections
 WHERE (unlogged <> '{{}}' OR last_event_id IS NULL) AND stream_id > $1 ORDER BY stream_id LIMIT {BATCH})
UNION (SELECT DISTINCT stream_id FROM stream_events WHERE stream_id > $1 ORDER BY stream_id LIMIT {BATCH})
ORDER BY stream_id LIMIT {BATCH}"""
_FIRST: Final = UUID(int=0)

REFUSALS: Final = (RefusedError, ConfigurationError)
"""What Redis refuses all conversations, not one of them."""

GATHER: Final = 0.01
"""Seconds for which changes gather before they are written: several to one conversation become one event."""

REST: Final = 9
"""Seconds of rest after a second of work, at most `PATIENCE`: who writes all the time is slowed by a tenth."""

PATIENCE: Final = 5.0
"""Seconds between two looks for what processes that died have left, and the longest wait after a failure."""

DRAIN: Final = 5.0
"""Seconds that `close_db` waits for what is not logged yet. What is left then is logged by whoever looks next."""

CANNOT: Final = "projections cannot be caught up"
_MOVING: Final = {LagState.BEHIND, LagState.STUCK, LagState.AHEAD, LagState.UNLOGGED}


async def log_unlogged(log: EventLog) -> int:
    """Write to the logs what rows hold and logs do not, once; and remove the logs of what was deleted.

    Two reads where there is nothing to do. Returns how many conversations were caught up.

    Raises:
        UnavailableError: A server does not answer, or the log takes no entries.
        ConfigurationError: Redis refuses its user a command.
    """
    await remove_logs(log)
    client, done, last, is_left = await get_engine().open(), 0, _FIRST, False
    while True:
        found = [row["stream_id"] for row in await client.execute_rows(_UNLOGGED, [last])]
        results = await catch_up_all(log, found, ROUNDS)
        done += len(caught_up(results))
        is_left = is_left or _is_left(results)
        for result in results.values():
            if isinstance(result, REFUSALS):
                raise result  # as it would be for all that follow
        if len(found) == BATCH:
            last = found[-1]
        elif is_left:
            last, is_left = _FIRST, False
        else:
            return done


def _is_left(results: Mapping[UUID, CaughtUp | StoreError]) -> bool:
    return any(isinstance(result, Unfinished) for result in results.values())


def caught_up(results: Mapping[UUID, CaughtUp | StoreError]) -> set[UUID]:
    """Which of some conversations are caught up, or gone; why others are not is logged."""
    refused = [result for result in results.values() if isinstance(result, REFUSALS)]
    if refused:
        logger.warning("%d projections cannot be caught up now: %s", len(refused), refused[0])
    for stream_id, result in results.items():
        if isinstance(result, CaughtUp):
            for problem in result.problems:
                place = f"entry {problem.position} ({problem.type}) of stream {stream_id}"
                logger.warning("%s was skipped: %s", place, problem.reason)
        elif not isinstance(result, (NotFoundError, *REFUSALS)):
            logger.warning("the projection of %s cannot be caught up now: %s", stream_id, result)
    return {
        stream_id
        for stream_id, result in results.items()
        if isinstance(result, CaughtUp | NotFoundError) and not isinstance(result, Unfinished)
    }


class Background:
    """One process's task that writes to the logs what its rows hold."""

    def __init__(self, engine: Engine) -> None:
        self._changed = asyncio.Event()
        self._closing = False
        self._forget = engine.on_change(CONVERSATIONS, self._changed.set)
        engine.on_close(self._close)
        self._task = start_detached(self._run(), name=CATCH_UP_TASK)

    async def _run(self) -> None:
        pause = ready = 0.0
        while not self._closing:
            await _wait(self._changed, PATIENCE)
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
        return await guarded(self._log(), "the event log cannot be brought up to date") is not None

    async def _log(self) -> int:
        try:
            log = event_log()
            return 0 if log is None else await log_unlogged(log)
        except StoreClosedError:
            self._closing = True
            return 0

    async def _close(self) -> None:
        """End the task, and write what is left if that can be done soon."""
        self._closing = True
        self._forget()
        self._task.cancel()
        await asyncio.wait({self._task})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN):
                await self._once()


class ProjectionWorker:
    """Keeps all rows and logs together. For one `run`; any number may run, in any processes.

    Appending marks a conversation as behind, in Redis, and a row names its columns that are not logged; the worker goes
    through both. From time to time it compares all rows with their logs, for what was appended past the store.

    Args:
        poll_seconds: How often to look when there was nothing: what readers of the table wait at most.
        sweep_every: Seconds between two comparisons of all conversations, whichever of the workers makes them.
        concurrency: Groups of conversations that are caught up at once, each on a connection of the pool.
        keep_ended: Seconds for which the log of an operation is kept after its end.

    Raises:
        ConfigurationError: No log is configured.
    """

    def __init__(
        self,
        *,
        poll_seconds: float = 0.5,
        sweep_every: float = 300.0,
        concurrency: int = 4,
        keep_ended: float = LOGS_OF_ENDED,
    ) -> None:
        self.log: Final = required_log()
        self._poll_seconds = seconds(poll_seconds, "poll_seconds", limits.LEASE_SECONDS)
        self._sweep_every = seconds(sweep_every, "sweep_every", limits.LEASE_SECONDS)
        self._keep_ended = seconds(keep_ended, "keep_ended", limits.INT32_MAX)
        self._concurrency = integer(concurrency, "concurrency", 1, 1_000)
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Work until `stop`, or until this is cancelled. While a server does not answer it tries again."""
        sweeping = start_detached(self._sweep_until_stopped())
        try:
            while not self._stopping.is_set():
                if not await guarded(self.drain(), CANNOT):
                    await _wait(self._stopping, self._poll_seconds)
        finally:
            self.stop()
            await asyncio.wait({sweeping})

    def stop(self) -> None:
        """Begin nothing more; `run` returns when what is under way has ended."""
        self._stopping.set()

    async def drain(self) -> int:
        """Catch up what is marked as behind and what is not logged, once.

        Those that cannot be caught up keep their marks, and are passed over. Returns how many were caught up.

        Raises:
            UnavailableError: A server does not answer, or the log takes no entries; what is marked was caught up all
                the same, as far as that needs none.
            ConfigurationError: Redis refuses its user a command.
        """
        try:
            total = await log_unlogged(self.log)
        except REFUSALS:
            await self._drain_marks()
            raise
        return total + await self._drain_marks()

    async def _drain_marks(self) -> int:
        total, failed = 0, 0
        while True:
            marks = await self.log.behind(BATCH, skip=failed)
            results = await self._catch_up([stream_id for stream_id, _ in marks], ROUNDS)
            done, is_left = caught_up(results), _is_left(results)
            await self.log.caught_up([mark for mark in marks if mark[0] in done])
            total += len(done)
            failed = 0 if is_left else failed + len(marks) - len(done)
            is_last = len(done) == len(marks) or len(marks) < BATCH
            if (is_last and not is_left) or self._stopping.is_set():
                return total

    async def sweep(self) -> int:
        """Compare all conversations with their logs, catch up those that are behind, and remove logs of none.

        For each 500 conversations one read and one round trip to Redis, and a catch-up for each that is behind; for
        each 1,000 keys in Redis the same, to find logs of what was deleted, or ended long ago. Returns how many
        conversations were behind.
        """
        await remove_logs(self.log)
        behind = 0
        async for chunk in Selection().chunks():
            lags = [lag.stream_id for lag in await lag_of(self.log, chunk) if lag.state in _MOVING]
            caught_up(await self._catch_up(lags))
            behind += len(lags)
            if self._stopping.is_set():
                return behind
        # At the end: a user of Redis that may not list its keys has all rows compared.
        await remove_strays(self.log, self._keep_ended)
        await remove_messages_again(self.log)
        return behind

    async def _catch_up(self, stream_ids: list[UUID], rounds: int | None = None) -> dict[UUID, CaughtUp | StoreError]:
        """Catch up several groups at once."""
        size = max(1, -(-len(stream_ids) // self._concurrency))
        groups = [stream_ids[start : start + size] for start in range(0, len(stream_ids), size)]
        # All come to their end before one's error is raised: none goes on after the call.
        work = (catch_up_all(self.log, group, rounds) for group in groups)
        done: dict[UUID, CaughtUp | StoreError] = {}
        for result in await asyncio.gather(*work, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result
            done |= result
        return done

    async def _sweep_until_stopped(self) -> None:
        while not self._stopping.is_set():
            behind = await guarded(self._sweep_in_turn(), CANNOT)
            if behind:
                logger.info("%d projections were behind without a mark", behind)
            await _wait(self._stopping, self._sweep_every)

    async def _sweep_in_turn(self) -> int:
        """Sweep, unless another worker has within the last `sweep_every` seconds."""
        if not await self.log.claim_sweep(self._sweep_every):
            return 0
        other = await other_holder(self.log, (await get_engine().open()).execute_rows)
        if other is not None:
            logger.warning("another database uses the same prefix of the event log: %s; set LOG_PREFIX", other)
        return await self.sweep()


async def guarded(work: Awaitable[int], failure: str) -> int | None:
    """What it returns; ``None`` where it failed, which is logged: a defect that one conversation shows ends nothing."""
    try:
        return await work
    except StoreError as exc:
        logger.warning("%s now: %s", failure, exc)
    except Exception:
        logger.exception(failure)
    return None


async def _wait(event: asyncio.Event, span: float) -> None:
    """Wait for something, but no longer than a span of seconds."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(span):
            await event.wait()
