"""What a job is given."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

from veupath_store.errors import LeaseLostError
from veupath_store.repositories import LeaseRepository
from veupath_store.session import async_session_factory
from veupath_store.session.unit_of_work import Session
from veupath_store.values import Lease

Job: TypeAlias = "Callable[[JobContext], Awaitable[None]]"
"""A job: what it does is written to the database, it returns nothing."""


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
