"""Running jobs under leases.

A job is an async function. `run_under_lease` runs one whose operation was started in this process; a `Worker` takes
waiting operations, from whatever process they come, and runs each under its lease.

    async def evaluate(context: JobContext) -> None:
        result = await long_work()                     # no connection is held meanwhile
        async with context.session(complete=True) as session:
            await ResultRepository(session).save(result)   # exactly once

    worker = Worker("host:1", {OperationType.EXPERIMENT: evaluate})
    await worker.run()
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from enum import Enum
from typing import Any, Final, TypeAlias

from veupath_store import limits
from veupath_store.engine import start_detached
from veupath_store.errors import LeaseLostError, OutcomeUnknownError, UnavailableError
from veupath_store.repositories import OperationRepository
from veupath_store.session import Session, async_session_factory
from veupath_store.validation import seconds
from veupath_store.values import Lease, OperationStatus

logger = logging.getLogger("veupath_store.jobs")

Job: TypeAlias = "Callable[[JobContext], Awaitable[None]]"

_PASSING: Final = (UnavailableError, OutcomeUnknownError, TimeoutError)
_RETRY_SECONDS: Final = 0.2

_MARGIN: Final = 0.1
"""The share of a lease that a job has to stop in, when no heartbeat got through, before another may begin."""


@asynccontextmanager
async def leased_session(lease: Lease, *, complete: bool = False) -> AsyncIterator[Session]:
    """A unit of work for the effects of a job: it is saved only if the lease holds until COMMIT.

    The operation's row is locked meanwhile: keep it much shorter than the lease. Two statements at most beside yours.

    Args:
        lease: The lease.
        complete: Whether the operation ends with it, so that effect and completion are one transaction: the effect
            then happens exactly once, whatever becomes of the worker.

    Yields:
        The session.

    Raises:
        LeaseLostError: On entering: the lease has expired, or the operation has ended.
        UnavailableError: Nothing was saved.
        OutcomeUnknownError: The answer to COMMIT was lost; `OperationRepository.get_outcome` tells.
    """
    async with async_session_factory() as session:
        operations = OperationRepository(session)
        await operations.assert_lease(lease)
        yield session
        if complete:
            await operations.complete(lease)


class JobContext:
    """What a job is told.

    Attributes:
        lease: Its lease.
        cancel_requested: Set when somebody asked to cancel the operation; the job is cancelled at the same moment.
    """

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.cancel_requested = asyncio.Event()
        self._deadline = lease.deadline

    def session(self, *, complete: bool = False) -> AbstractAsyncContextManager[Session]:
        """`leased_session` with the job's lease."""
        return leased_session(self.lease, complete=complete)

    async def checkpoint(self) -> None:
        """Let others run, and stop if the job must: for a job that computes for long without awaiting.

        Without it such a job keeps its own heartbeats from being sent.

        Raises:
            CancelledError: Somebody asked to cancel the operation.
            LeaseLostError: The lease has expired meanwhile.
        """
        await asyncio.sleep(0)
        if self.cancel_requested.is_set():
            raise asyncio.CancelledError
        if time.monotonic() >= self._deadline:
            raise LeaseLostError


async def run_under_lease(
    lease: Lease,
    job: Job,
    *,
    heartbeat_every: float | None = None,
    repository: Callable[[], OperationRepository] = OperationRepository,
) -> OperationStatus:
    """Run a job, renew its lease meanwhile, and record how it ended.

    No connection is held while the job runs. What happens:

    * The job returns: the operation is completed, unless the job did that itself in `JobContext.session`.
    * It raises: the operation has failed. Its owner reads the exception's type and message.
    * Somebody asks to cancel the operation, in whatever process: the job is cancelled, and the operation with it.
    * The lease is lost, or no heartbeat gets through for so long that it may be: the job is cancelled and nothing is
      recorded, because another worker may run it by now.
    * This call is cancelled, as at a shutdown: the job is cancelled and the operation given back. A second
      cancellation does not wait for that any more.

    The database may be away for as long as the lease holds: heartbeats and the record of the outcome are repeated.

    Args:
        lease: The lease, from `OperationRepository.start` or `OperationRepository.acquire`.
        job: What to run. After it was cancelled it may clean up, for as long as it takes: the lease is kept.
        heartbeat_every: Seconds between heartbeats; a third of the lease by default.
        repository: Makes the repository for heartbeats and the outcome; in autocommit.

    Returns:
        How the operation ended: ``completed``, ``failed`` or ``cancelled``.

    Raises:
        LeaseLostError: The lease was lost; nothing was recorded by this call.
        InvalidInputError: `heartbeat_every` is no time that fits into the lease.
    """
    every = lease.seconds / 3
    if heartbeat_every is not None:
        every = seconds(heartbeat_every, "heartbeat_every", lease.seconds)
    run = _Run(lease, job, every, repository)
    running = start_detached(run.supervise(), name=f"operation {lease.operation_id}")
    try:
        await asyncio.wait({running})
    except asyncio.CancelledError:
        run.shut_down()
        await asyncio.wait({running})
        running.exception()
        raise
    return running.result()


class _Stop(Enum):
    """Why a job was told to stop."""

    CANCEL = "a cancel was requested"
    LOST = "its lease was lost"
    SHUTDOWN = "the worker was shut down"


class _Run:
    """One run of one job: the job's task, its heartbeats, and the record of its end."""

    def __init__(self, lease: Lease, job: Job, every: float, repository: Callable[[], OperationRepository]) -> None:
        self._context = JobContext(lease)
        self._lease = lease
        self._every = every
        self._repository = repository
        self._task: asyncio.Task[None] = start_detached(_call(job, self._context))
        self._stop: _Stop | None = None

    async def supervise(self) -> OperationStatus:
        """Run to the end. Never cancelled itself; `shut_down` asks it to hurry."""
        beating = start_detached(self._beat())
        await asyncio.wait({self._task, beating}, return_when=asyncio.FIRST_COMPLETED)
        if not self._task.done():
            await asyncio.wait({self._task})
        beating.cancel()
        await asyncio.wait({beating})
        return await self._record()

    def shut_down(self) -> None:
        """Cancel the job, and give the operation back when it has stopped."""
        self._stop_job(_Stop.SHUTDOWN)

    def _stop_job(self, reason: _Stop) -> None:
        if self._task.cancel():
            logger.info("operation %s is stopped: %s", self._lease.operation_id, reason.value)
            # What is lost cannot be cancelled, and what is cancelled is not given back.
            if self._stop is None or reason is _Stop.LOST:
                self._stop = reason

    async def _beat(self) -> None:
        """Renew the lease until it is lost, or the job has ended its operation itself."""
        pause = self._every
        while True:
            await asyncio.sleep(min(pause, max(0.0, self._give_up - time.monotonic())))
            pause = self._every
            try:
                async with asyncio.timeout_at(self._give_up):
                    if not await self._renew():
                        return
            except _PASSING as exc:
                if time.monotonic() >= self._give_up:
                    self._stop_job(_Stop.LOST)
                    return
                logger.warning("a heartbeat of operation %s failed: %s", self._lease.operation_id, exc)
                pause = min(_RETRY_SECONDS, self._every)
            except Exception:
                logger.exception("a heartbeat of operation %s was refused", self._lease.operation_id)
                self._stop_job(_Stop.LOST)
                return

    async def _renew(self) -> bool:
        """One heartbeat; whether there is to be another."""
        try:
            beat = await self._repository().heartbeat(self._lease)
        except LeaseLostError:
            if await self._repository().get_outcome(self._lease) is None:
                self._stop_job(_Stop.LOST)
            return False
        self._context._deadline = beat.deadline
        if beat.cancel_requested and not self._context.cancel_requested.is_set():
            self._context.cancel_requested.set()
            self._stop_job(_Stop.CANCEL)
        return True

    @property
    def _give_up(self) -> float:
        """When the job must stop, by the monotonic clock."""
        return self._context._deadline - _MARGIN * self._lease.seconds

    async def _record(self) -> OperationStatus:
        """Write down how the job ended, and return what stands there then."""
        while True:
            try:
                return await self._end()
            except LeaseLostError:
                ended = await self._outcome()
                if ended is None:
                    raise
                return ended
            except _PASSING as exc:
                if time.monotonic() >= self._context._deadline:
                    raise LeaseLostError from exc
                logger.warning("the end of operation %s was not recorded yet: %s", self._lease.operation_id, exc)
            await asyncio.sleep(_RETRY_SECONDS)

    async def _outcome(self) -> OperationStatus | None:
        """How this lease ended the operation, when an earlier answer was lost or the job did it itself."""
        while True:
            try:
                return await self._repository().get_outcome(self._lease)
            except _PASSING:
                if time.monotonic() >= self._context._deadline:
                    return None
            await asyncio.sleep(_RETRY_SECONDS)

    async def _end(self) -> OperationStatus:
        operations, lease = self._repository(), self._lease
        if self._stop is _Stop.LOST:
            raise LeaseLostError
        if self._stop is _Stop.CANCEL:
            await operations.cancel(lease)
            return OperationStatus.CANCELLED
        if self._stop is _Stop.SHUTDOWN:
            return await operations.release(lease)
        error = asyncio.CancelledError() if self._task.cancelled() else self._task.exception()
        if error is None:
            await operations.complete(lease)
            return OperationStatus.COMPLETED
        logger.warning("operation %s failed", lease.operation_id, exc_info=error)
        await operations.fail(lease, describe(error))
        return OperationStatus.FAILED


async def _call(job: Job, context: JobContext) -> None:
    await job(context)


def describe(error: BaseException) -> str:
    """An exception's type and message, for `OperationRepository.fail`; never raises."""
    name = type(error).__name__
    try:
        message = str(error)
    except Exception:
        logger.debug("an exception has no message", exc_info=True)
        message = ""
    return f"{name}: {message}"[: limits.OPERATION_ERROR] if message else name
