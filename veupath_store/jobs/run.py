"""Running one job under its lease."""

import asyncio
import logging
import time
from collections.abc import Callable
from enum import Enum
from typing import Final

from veupath_store.engine import start_detached
from veupath_store.errors import LeaseLostError, OutcomeUnknownError, UnavailableError
from veupath_store.jobs.context import Job, JobContext
from veupath_store.repositories import OperationRepository
from veupath_store.validation import seconds
from veupath_store.values import Lease, OperationStatus

logger = logging.getLogger("veupath_store.jobs")

_PASSING: Final = (UnavailableError, OutcomeUnknownError, TimeoutError)
_RETRY_SECONDS: Final = 0.2

_MARGIN: Final = 0.1
"""The share of a lease that a job has to stop in, when no heartbeat got through, before another may begin."""


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
    if heartbeat_every is not None:
        seconds(heartbeat_every, "heartbeat_every", lease.seconds)
    run = Run(lease, job, heartbeat_every, repository)
    try:
        await asyncio.wait({run.ended})
    except asyncio.CancelledError:
        run.shut_down()
        await asyncio.wait({run.ended})
        raise
    return run.ended.result()


class _Stop(Enum):
    """Why a job was told to stop."""

    CANCEL = "a cancel was requested"
    LOST = "its lease was lost"
    SHUTDOWN = "the worker was shut down"


class Run:
    """One run of one job: the job's task, its heartbeats, and the record of its end.

    Attributes:
        ended: The task that sees to it all and is never cancelled; its result is `run_under_lease`'s.
    """

    def __init__(
        self,
        lease: Lease,
        job: Job,
        heartbeat_every: float | None = None,
        repository: Callable[[], OperationRepository] = OperationRepository,
    ) -> None:
        self._lease = lease
        self._every = heartbeat_every or lease.seconds / 3
        self._repository = repository
        self._context = JobContext(lease)
        self._stop: _Stop | None = None
        self._job = start_detached(_begin(job, self._context), name=f"job {lease.operation_id}")
        self.ended = start_detached(self._supervise(), name=f"lease {lease.operation_id}")
        self.ended.add_done_callback(_retrieve)

    async def _supervise(self) -> OperationStatus:
        beating = start_detached(self._beat())
        await asyncio.wait({self._job, beating}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({self._job})
        beating.cancel()
        await asyncio.wait({beating})
        return await self._record()

    def shut_down(self) -> None:
        """Cancel the job, and give the operation back when it has stopped."""
        self._stop_job(_Stop.SHUTDOWN)

    def _stop_job(self, reason: _Stop) -> None:
        if self._job.cancel():
            logger.info("operation %s is stopped: %s", self._lease.operation_id, reason.value)
            # What is lost cannot be cancelled, and what is cancelled is not given back.
            if self._stop is None or reason is _Stop.LOST:
                self._stop = reason
            self._context._stopped = True

    async def _beat(self) -> None:
        """Renew the lease until it is lost, or the job has ended its operation itself."""
        pause = self._every
        while True:
            await asyncio.sleep(min(pause, self._patience()))
            pause = self._every
            try:
                async with asyncio.timeout(self._patience()):
                    if not await self._renew():
                        return
            except _PASSING as exc:
                if not self._patience():
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

    def _patience(self) -> float:
        """Seconds until the job must stop if no heartbeat gets through."""
        return max(0.0, self._context._deadline - _MARGIN * self._lease.seconds - time.monotonic())

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
            return await operations.release(lease, begun=self._context._begun)
        error = asyncio.CancelledError() if self._job.cancelled() else self._job.exception()
        if error is None:
            await operations.complete(lease)
            return OperationStatus.COMPLETED
        logger.warning("operation %s failed", lease.operation_id, exc_info=error)
        await operations.fail(lease, describe(error))
        return OperationStatus.FAILED


async def _begin(job: Job, context: JobContext) -> None:
    context._begun = True
    await job(context)


def _retrieve(ended: "asyncio.Task[OperationStatus]") -> None:
    """Nobody need ask how it ended."""
    ended.exception()


def describe(error: BaseException) -> str:
    """An exception's type and message, for `OperationRepository.fail`; never raises."""
    name = type(error).__name__
    try:
        message = str(error)
    except Exception:
        logger.debug("an exception has no message", exc_info=True)
        message = ""
    return f"{name}: {message}" if message else name
