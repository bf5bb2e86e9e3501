"""A worker: takes waiting operations and runs their jobs, hears of new ones, and sweeps up after lost workers."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from veupath_store.engine import start_detached
from veupath_store.engine.announcing import CHANNEL
from veupath_store.engine.changes import WORK
from veupath_store.engine.translation import DRIVER_ERRORS
from veupath_store.errors import InvalidInputError, LeaseLostError, OutcomeUnknownError, StoreError, UnavailableError
from veupath_store.inputs import limits
from veupath_store.inputs.validation import integer, seconds, text
from veupath_store.jobs.run import Job, Run
from veupath_store.repositories import LeaseRepository
from veupath_store.session import get_engine, on_change
from veupath_store.values import Lease, OperationStatus, OperationType

logger: logging.Logger = logging.getLogger("veupath_store.jobs")

BREATH: Final = 0.05
"""Seconds after a look that found nothing: all idle workers hear of each operation, and one of them gets it."""

AGAIN: Final = 5.0
"""Seconds between two tries to listen."""

SWEEP_EVERY: Final = 10.0
"""Seconds between two sweeps, by default."""


class Worker:
    """Takes operations, runs their jobs under leases, and sweeps up after lost workers. For one `run`.

    An operation whose worker is lost waits for the rest of its lease, and for at most `poll_seconds` of a worker with
    nothing else to do, or `sweep_every` when its attempts are used up.

    Args:
        worker_id: What to call it, as host and process; for people to read.
        handlers: The job for each type of operation, an `OperationType` or text; it takes no others.
        concurrency: Jobs at once. They hold no connection, so that a small pool serves many.
        lease_seconds: How long an operation waits when this worker is lost. Heartbeats go three times as often.
        poll_seconds: How often to look for work that it has not heard of: behind a PgBouncer, that of other processes;
            and operations whose workers are lost.
        sweep_every: Seconds between sweeps.
    """

    def __init__(
        self,
        worker_id: str,
        handlers: Mapping[OperationType, Job] | Mapping[str, Job],
        *,
        concurrency: int = 4,
        lease_seconds: float = 30.0,
        poll_seconds: float = 1.0,
        sweep_every: float = SWEEP_EVERY,
    ) -> None:
        self._worker_id = text(worker_id, "worker_id", limits.WORKER_ID)
        self._handlers = {text(kind, "handlers", limits.OPERATION_TYPE): job for kind, job in handlers.items()}
        if not self._handlers:
            raise InvalidInputError("handlers", "it must not be empty")
        self._concurrency = integer(concurrency, "concurrency", 1, 10_000)
        self._lease_seconds = seconds(lease_seconds, "lease_seconds", limits.LEASE_SECONDS)
        self._poll_seconds = seconds(poll_seconds, "poll_seconds", limits.LEASE_SECONDS)
        self._sweeper = Sweeper(seconds(sweep_every, "sweep_every", limits.LEASE_SECONDS))
        self._stopping = False
        self._look = asyncio.Event()
        self._runs: dict[asyncio.Task[OperationStatus | str], Run] = {}

    async def run(self) -> None:
        """Take and run jobs until `stop`, or until this is cancelled.

        New work is taken at once: of this process, and where there is no PgBouncer of others too, for which it listens
        on a connection beside the pool. While the database does not answer it goes on asking. A fault that does not
        pass ends it, with that error, once the jobs that run have ended. When cancelled it cancels its jobs and gives
        their operations back, so that another worker has them at once.

        Raises:
            SchemaError: The database lacks a migration.
            ConfigurationError: The server refused the role.
        """
        with contextlib.suppress(UnavailableError):  # closed: as while the database does not answer
            await get_engine().open()
        forget = on_change(WORK, self._look.set)
        listening = start_detached(_listen(self._look.set))
        sweeping, taking = start_detached(self._sweeper.run()), start_detached(self._take_until_stopped())
        try:
            await asyncio.wait({taking})
            if error := taking.exception():
                logger.error("worker %s takes no more jobs, and ends after those that run: %s", self._worker_id, error)
            await self._until_all_ended()
        except asyncio.CancelledError:
            self.stop()
            for run in self._runs.values():
                run.shut_down()
            await asyncio.wait({taking})
            await self._until_all_ended()
            raise
        finally:
            forget()
            self.stop()
            listening.cancel()
            await asyncio.wait({sweeping, listening})
        taking.result()

    def stop(self) -> None:
        """Take no more jobs; `run` returns when those that run have ended. Cancel it to hurry them."""
        self._stopping = True
        self._look.set()
        self._sweeper.stop()

    async def _take_until_stopped(self) -> None:
        while not self._stopping:
            self._look.clear()  # first: what is registered while a statement finds nothing is looked for again
            if len(self._runs) >= self._concurrency:
                await asyncio.wait(self._runs, return_when=asyncio.FIRST_COMPLETED)
            elif not await self._take():
                await self._pause()

    async def _take(self) -> bool:
        """Take one operation and begin its job; whether there was one."""
        try:
            lease = await LeaseRepository().claim(self._worker_id, self._handlers, lease_seconds=self._lease_seconds)
            if lease is not None and self._stopping:
                await LeaseRepository().release(lease, begun=False)
                return False
        except (UnavailableError, OutcomeUnknownError, LeaseLostError) as exc:
            logger.warning("worker %s cannot take jobs now: %s", self._worker_id, exc)
            return False
        if lease is not None:
            self._begin(lease)
        return lease is not None

    def _begin(self, lease: Lease) -> None:
        run = Run(lease, self._handlers[lease.type])
        self._runs[run.ended] = run
        run.ended.add_done_callback(self._ended)

    def _ended(self, ended: "asyncio.Task[OperationStatus | str]") -> None:
        del self._runs[ended]
        error = ended.exception()
        if isinstance(error, LeaseLostError):
            logger.warning("worker %s lost the lease of a job", self._worker_id)
        elif error is not None:
            logger.error("worker %s could not record the end of a job", self._worker_id, exc_info=error)

    async def _until_all_ended(self) -> None:
        while self._runs:
            await asyncio.wait(self._runs)

    async def _pause(self) -> None:
        """Wait until there may be work, or until `stop`; no longer than until it is time to look for it."""
        await asyncio.sleep(min(BREATH, self._poll_seconds))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._poll_seconds):
                await self._look.wait()


async def _listen(hear: Callable[[], object]) -> None:
    """Hear from other processes that there is new work, on a connection beside the pool.

    Listens until this is cancelled, on a new connection where one is lost. Returns at once behind a PgBouncer.

    Nothing depends on it: where it cannot listen, workers find new work when they look for it. `hear` is called when
    there may be new work, also of a time without a listener.
    """
    while not get_engine().settings.pgbouncer:
        try:
            await _listen_once(hear)
        except (StoreError, *DRIVER_ERRORS) as exc:
            logger.debug("new work of other processes is looked for, not listened to: %s", exc)
        await asyncio.sleep(AGAIN)


async def _listen_once(hear: Callable[[], object]) -> None:
    lost = asyncio.Event()
    connection: Any = await (await get_engine().open()).beside_the_pool()
    try:
        connection.add_termination_listener(lambda _: lost.set())
        await connection.add_listener(CHANNEL, lambda *_: hear())
        hear()
        await lost.wait()
    finally:
        with contextlib.suppress(*DRIVER_ERRORS):
            connection.terminate()


class Sweeper:
    """Sweeps until it is stopped. Any number may run, anywhere: one statement each, without a wait for locks."""

    def __init__(self, every: float) -> None:
        self._every = every
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Sweep until `stop`. While the database does not answer it goes on asking."""
        while not self._stopping.is_set():
            try:
                report = await LeaseRepository().sweep()
                if len(report):
                    logger.warning("%d operations of lost workers were swept up", len(report))
            except StoreError as exc:
                logger.warning("operations cannot be swept up now: %s", exc)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._every):
                    await self._stopping.wait()

    def stop(self) -> None:
        """Begin no other sweep."""
        self._stopping.set()
