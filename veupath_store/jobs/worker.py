"""A worker: takes waiting operations and runs their jobs."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping

from veupath_store import limits
from veupath_store.engine import start_detached
from veupath_store.errors import InvalidInputError, LeaseLostError, OutcomeUnknownError, StoreError, UnavailableError
from veupath_store.jobs.context import Job
from veupath_store.jobs.run import Run
from veupath_store.repositories import OperationRepository
from veupath_store.validation import integer, one_of, seconds, text
from veupath_store.values import Lease, OperationStatus, OperationType

logger = logging.getLogger("veupath_store.jobs")


class Worker:
    """Takes operations, runs their jobs under leases, and sweeps up after lost workers. For one `run`.

    An operation whose worker is lost waits for the rest of its lease, and for at most `poll_seconds` of a worker with
    nothing else to do, or `sweep_every` when its attempts are used up.

    Args:
        worker_id: What to call it, as host and process; for people to read.
        handlers: The job for each type of operation; it takes no others.
        concurrency: Jobs at once. They hold no connection, so that a small pool serves many.
        lease_seconds: How long an operation waits when this worker is lost. Heartbeats go three times as often.
        poll_seconds: How often to look for work when there was none.
        sweep_every: Seconds between sweeps.
        repository: Makes the repository to work with; in autocommit.

    Raises:
        InvalidInputError: An argument is refused.
    """

    def __init__(
        self,
        worker_id: str,
        handlers: Mapping[OperationType, Job],
        *,
        concurrency: int = 4,
        lease_seconds: float = 30.0,
        poll_seconds: float = 1.0,
        sweep_every: float = 10.0,
        repository: Callable[[], OperationRepository] = OperationRepository,
    ) -> None:
        self._worker_id = text(worker_id, "worker_id", limits.WORKER_ID)
        self._handlers = {one_of(kind, "handlers", OperationType): job for kind, job in handlers.items()}
        if not self._handlers:
            raise InvalidInputError("handlers", "it must not be empty")
        self._concurrency = integer(concurrency, "concurrency", 1, 10_000)
        self._lease_seconds = seconds(lease_seconds, "lease_seconds", limits.LEASE_SECONDS)
        self._poll_seconds = seconds(poll_seconds, "poll_seconds", limits.LEASE_SECONDS)
        self._sweep_every = seconds(sweep_every, "sweep_every", limits.LEASE_SECONDS)
        self._repository = repository
        self._stopping = asyncio.Event()
        self._runs: dict[asyncio.Task[OperationStatus], Run] = {}

    async def run(self) -> None:
        """Take and run jobs until `stop`, or until this is cancelled.

        While the database does not answer it goes on asking. When cancelled it cancels its jobs and gives their
        operations back, so that another worker has them at once.

        Raises:
            SchemaError: The database lacks a migration.
            ConfigurationError: The server refused the role.
        """
        sweeping, taking = start_detached(self._sweep_until_stopped()), start_detached(self._take_until_stopped())
        try:
            await asyncio.wait({taking})
            await self._until_all_ended()
        except asyncio.CancelledError:
            self.stop()
            for run in self._runs.values():
                run.shut_down()
            await asyncio.wait({taking})
            await self._until_all_ended()
            raise
        finally:
            self.stop()
            await asyncio.wait({sweeping})
        taking.result()

    def stop(self) -> None:
        """Take no more jobs; `run` returns when those that run have ended. Cancel it to hurry them."""
        self._stopping.set()

    async def _take_until_stopped(self) -> None:
        while not self._stopping.is_set():
            if len(self._runs) >= self._concurrency:
                await asyncio.wait(self._runs, return_when=asyncio.FIRST_COMPLETED)
            elif not await self._take():
                await self._pause(self._poll_seconds)

    async def _take(self) -> bool:
        """Take one operation and begin its job; whether there was one."""
        try:
            lease = await self._repository().acquire(self._worker_id, self._handlers, lease_seconds=self._lease_seconds)
            if lease is not None and self._stopping.is_set():
                await self._repository().release(lease, begun=False)
                return False
        except (UnavailableError, OutcomeUnknownError, LeaseLostError) as exc:
            logger.warning("worker %s cannot take jobs now: %s", self._worker_id, exc)
            return False
        if lease is not None:
            self._begin(lease)
        return lease is not None

    def _begin(self, lease: Lease) -> None:
        run = Run(lease, self._handlers[lease.type], repository=self._repository)
        self._runs[run.ended] = run
        run.ended.add_done_callback(self._ended)

    def _ended(self, ended: "asyncio.Task[OperationStatus]") -> None:
        del self._runs[ended]
        error = ended.exception()
        if isinstance(error, LeaseLostError):
            logger.warning("worker %s lost the lease of a job", self._worker_id)
        elif error is not None:
            logger.error("worker %s could not record the end of a job", self._worker_id, exc_info=error)

    async def _until_all_ended(self) -> None:
        while self._runs:
            await asyncio.wait(self._runs)

    async def _sweep_until_stopped(self) -> None:
        while not self._stopping.is_set():
            try:
                report = await self._repository().sweep()
                if len(report):
                    logger.warning("worker %s swept up %d operations of lost workers", self._worker_id, len(report))
            except StoreError as exc:
                logger.warning("worker %s cannot sweep now: %s", self._worker_id, exc)
            await self._pause(self._sweep_every)

    async def _pause(self, span: float) -> None:
        """Wait, but no longer than until `stop`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(span):
                await self._stopping.wait()
