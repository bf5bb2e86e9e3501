"""Running one job under its lease, and what the job is given."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from enum import Enum
from typing import Final, TypeAlias

from veupath_store.engine import start_detached
from veupath_store.errors import LeaseLostError, OutcomeUnknownError, UnavailableError
from veupath_store.inputs.validation import seconds
from veupath_store.jobs.heartbeats import heartbeats
from veupath_store.repositories import LeaseRepository
from veupath_store.session import async_session_factory
from veupath_store.session.unit_of_work import Session
from veupath_store.values import Heartbeat, Lease, OperationStatus

logger: logging.Logger = logging.getLogger("veupath_store.jobs")

Job: TypeAlias = "Callable[[JobContext], Awaitable[None]]"
"""A job: what it does is written to the database, it returns nothing."""

_PASSING: Final = (UnavailableError, OutcomeUnknownError, TimeoutError)
_RETRY_SECONDS: Final = 0.2

RETRY_PAUSE: Final = 1.0
"""Seconds before a job that met a passing fault of the store is given back; twice as many after each attempt."""

_LONGEST_PAUSE: Final = 30.0

_MARGIN: Final = 0.1
"""The share of a lease that a job has to stop in, when no heartbeat got through, before another may begin."""


@asynccontextmanager
async def leased_session(lease: Lease, *, complete: bool = False) -> AsyncIterator[Session]:
    """A unit of work for the effects of a job: it is saved only if the lease still holds.

    The operation's row is locked meanwhile: keep it much shorter than the lease. Two statements at most beside yours.

    Args:
        complete: Whether the operation ends with it, so that effect and completion are one transaction: the effect
            then happens exactly once, whatever becomes of the worker.

    Yields:
        The session.

    Raises:
        LeaseLostError: The lease has expired, or the operation has ended. Nothing was saved.
        UnavailableError: Nothing was saved.
        OutcomeUnknownError: The answer to COMMIT was lost; `LeaseRepository.get_outcome` tells.
    """
    async with async_session_factory() as session:
        leases = LeaseRepository(session)
        await leases.assert_lease(lease)
        yield session
        if complete:
            await leases.complete(lease)


class JobContext:
    """What a job is given.

    Attributes:
        lease: Its lease.
        cancel_requested: Set when somebody asked to cancel the operation; the job is cancelled at the same moment.
    """

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.cancel_requested: asyncio.Event = asyncio.Event()
        self._deadline = lease.deadline
        self._begun = False
        self._stopped = False
        self._has_ended = False

    @asynccontextmanager
    async def session(self, *, complete: bool = False) -> AsyncIterator[Session]:
        """`leased_session` with the job's lease."""
        async with leased_session(self.lease, complete=complete) as session:
            yield session
        self._has_ended = self._has_ended or complete

    async def checkpoint(self) -> None:
        """Let others run, and stop if the job must: for a job that computes for long without awaiting anything.

        Without it such a job keeps its own heartbeats from being sent.

        Raises:
            CancelledError: The job was asked to stop, also when it has caught that once.
            LeaseLostError: The lease has expired meanwhile.
        """
        await asyncio.sleep(0)
        if self._stopped:
            raise asyncio.CancelledError
        if time.monotonic() >= self._deadline:
            raise LeaseLostError


async def run_under_lease(lease: Lease, job: Job, *, heartbeat_every: float | None = None) -> OperationStatus | str:
    """Run a job, renew its lease meanwhile, and record how it ended.

    No connection is held while the job runs. What happens:

    * The job returns: the operation is completed, unless the job did that itself in `JobContext.session`.
    * It raises: the operation has failed. Its owner reads the exception's type and message.
    * It raises what passes, `UnavailableError` or `OutcomeUnknownError`, and has attempts left: after a pause of
      `RETRY_PAUSE`, which doubles each time, the operation is given back for another attempt.
    * Somebody asks to cancel the operation, in this process or another: the job is cancelled at once, or within a
      second, and the operation with it.
    * The lease is lost, or no heartbeat gets through for so long that it may be: the job is cancelled and nothing is
      recorded, because another worker may run it by now.
    * This call is cancelled, as at a shutdown: the job is cancelled and the operation given back. A second
      cancellation does not wait for that any more.

    The database may be away for as long as the lease holds: heartbeats and the record of the outcome are repeated. All
    jobs of a process share its heartbeats, about one statement a second.

    Args:
        lease: The lease, from `OperationRepository.start` or `LeaseRepository.claim`.
        job: What to run. After it was cancelled it may clean up, for as long as it takes: the lease is kept.
        heartbeat_every: Seconds between renewals of the lease; a third of it by default.

    Returns:
        How the operation ended: ``completed``, ``failed`` or ``cancelled``, or as a newer version has ended it;
        ``active`` when it waits for another attempt.

    Raises:
        LeaseLostError: The lease was lost; nothing was recorded by this call.
        InvalidInputError: `heartbeat_every` is no time that fits into the lease.
    """
    if heartbeat_every is not None:
        seconds(heartbeat_every, "heartbeat_every", lease.seconds)
    run = Run(lease, job, heartbeat_every)
    try:
        await asyncio.wait({run.ended})
    except asyncio.CancelledError:
        run.shut_down()
        await asyncio.wait({run.ended})
        raise
    return run.ended.result()


class _Stop(Enum):
    """Why a job was asked to stop."""

    CANCEL = "a cancel was requested"
    LOST = "its lease was lost"
    SHUTDOWN = "the worker was shut down"


class Run:
    """One run of one job: the job's task, its lease, and the record of its end.

    The task `ended` sees to it all and is never cancelled; its result is `run_under_lease`'s.
    """

    def __init__(self, lease: Lease, job: Job, heartbeat_every: float | None = None) -> None:
        self.lease = lease
        self.every: float = heartbeat_every or lease.seconds / 3
        self._context = JobContext(lease)
        self._stop: _Stop | None = None
        self._job = start_detached(_begin(job, self._context), name=f"job {lease.operation_id}")
        self.ended: asyncio.Task[OperationStatus | str] = start_detached(
            self._supervise(), name=f"lease {lease.operation_id}"
        )
        self.ended.add_done_callback(asyncio.Task.exception)  # retrieved: nobody need ask how it ended

    async def _supervise(self) -> OperationStatus | str:
        with heartbeats(self):
            while not (self._job.done() or self._context._has_ended or self._stop is _Stop.LOST):
                await asyncio.wait({self._job}, timeout=self.patience())
                if not (self.patience() or self._context._has_ended):
                    self._stop_job(_Stop.LOST)
        await asyncio.wait({self._job})
        return await self._record()

    def shut_down(self) -> None:
        """Cancel the job, and give the operation back when it has stopped."""
        self._stop_job(_Stop.SHUTDOWN)

    def _stop_job(self, reason: _Stop) -> None:
        if self._job.cancel():
            logger.info("operation %s is stopped: %s", self.lease.operation_id, reason.value)
            # What is lost cannot be cancelled, and what is cancelled is not given back.
            if self._stop is None or reason is _Stop.LOST:
                self._stop = reason
            self._context._stopped = True

    @property
    def deadline(self) -> float:
        """When the lease expires, by ``time.monotonic``."""
        return self._context._deadline

    def patience(self) -> float:
        """Seconds until the job must stop if no heartbeat gets through."""
        return max(0.0, self.deadline - _MARGIN * self.lease.seconds - time.monotonic())

    def hear(self, beat: Heartbeat) -> None:
        """The lease holds; perhaps somebody asked to cancel."""
        self._context._deadline = max(self.deadline, beat.deadline)  # neither is later than the expiry
        if beat.cancel_requested and not self._context.cancel_requested.is_set():
            self._context.cancel_requested.set()
            self._stop_job(_Stop.CANCEL)

    def lose(self, *, ended: bool) -> None:
        """The lease does not hold; a job that has ended its operation itself may go on."""
        self._context._has_ended = ended
        if not ended:
            self._stop_job(_Stop.LOST)

    async def _record(self) -> OperationStatus | str:
        """Write down how the job ended, and return what stands there then."""
        end: Callable[[], Awaitable[OperationStatus | str]] = self._end
        while True:
            try:
                return await end()
            except LeaseLostError:
                if end == self._outcome:
                    raise
                end = self._outcome
            except _PASSING as exc:
                if time.monotonic() >= self.deadline:
                    raise LeaseLostError from exc
                logger.warning("the end of operation %s was not recorded yet: %s", self.lease.operation_id, exc)
                await asyncio.sleep(_RETRY_SECONDS)

    async def _outcome(self) -> OperationStatus | str:
        """How this lease ended the operation, when an earlier answer was lost or the job did it itself."""
        outcome = await LeaseRepository().get_outcome(self.lease)
        if outcome is None:
            raise LeaseLostError
        return outcome

    async def _end(self) -> OperationStatus:
        leases, lease = LeaseRepository(), self.lease
        if self._stop is _Stop.LOST:
            raise LeaseLostError
        if self._stop is _Stop.CANCEL:
            await leases.cancel(lease)
            return OperationStatus.CANCELLED
        if self._stop is _Stop.SHUTDOWN:
            return await leases.release(lease, begun=self._context._begun)
        error = asyncio.CancelledError() if self._job.cancelled() else self._job.exception()
        if error is None:
            await leases.complete(lease)
            return OperationStatus.COMPLETED
        if is_passing(error) and lease.attempts < lease.max_attempts:
            logger.warning("operation %s is to be tried again: %s", lease.operation_id, error)
            return await leases.release(lease)
        logger.warning("operation %s failed", lease.operation_id, exc_info=error)
        await leases.fail(lease, describe(error))
        return OperationStatus.FAILED


async def _begin(job: Job, context: JobContext) -> None:
    context._begun = True
    try:
        await job(context)
    except Exception as exc:
        lease = context.lease
        if is_passing(exc) and lease.attempts < lease.max_attempts:
            # What made this attempt fail needs time to pass: as a part of the job, under its lease, so that a cancel
            # ends it.
            await asyncio.sleep(min(RETRY_PAUSE * 2 ** min(lease.attempts - 1, 10), _LONGEST_PAUSE))
        raise


def is_passing(error: BaseException) -> bool:
    """Whether a job may be begun again after that: the store did not answer, or a group of tasks met nothing else.

    After a lost answer, too: a job that has attempts left bears to be begun again at any point.
    """
    if isinstance(error, BaseExceptionGroup):
        return all(is_passing(each) for each in error.exceptions)
    return isinstance(error, UnavailableError | OutcomeUnknownError)


def describe(error: BaseException) -> str:
    """An exception's type and message, for `LeaseRepository.fail`; never raises."""
    name = type(error).__name__
    try:
        message = str(error)
    except Exception:
        logger.debug("an exception has no message", exc_info=True)
        message = ""
    return f"{name}: {message}" if message else name
