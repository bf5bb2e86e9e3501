"""Leases of operations: what workers do.

A lease is a row's worker, token and expiry. Everything that a worker writes about its operation is guarded in SQL by
all three: the operation is active, the token is the worker's, and the lease has not expired by the server's clock
(``clock_timestamp``, not the time at which a transaction began). Whoever comes too late changes nothing.

For an effect that must happen exactly once, write it in the same unit of work that ends the operation:

    async with leased_session(lease, complete=True) as session:
        ...  # write the effect through this session

which is `OperationLeases.assert_lease` before the effect and `OperationLeases.complete` after it. The row is locked
from the first to the COMMIT, so that no sweep and no other worker can take the operation in between; a worker that
froze before it is refused when it wakes up, and one that freezes inside it loses its transaction, because the server
ends it when the lease would expire.
"""

import time
from typing import Any, Final

from veupath_store import limits
from veupath_store.errors import InvalidInputError, LeaseLostError, UnitOfWorkError
from veupath_store.repositories.operation_queue import NEXT_STATUS, OperationQueue
from veupath_store.validation import boolean, recordable, seconds
from veupath_store.values import Heartbeat, Lease, OperationStatus

WORKER_STOPPED: Final = "the worker was shut down"

_HELD: Final = (
    "user_id = $1 AND id = $2 AND lease_token = $3 AND status = 'active' AND lease_expires_at > clock_timestamp()"
)

_HEARTBEAT: Final = f"""
UPDATE operations SET heartbeat_at = clock_timestamp(),
    lease_expires_at = clock_timestamp() + make_interval(secs => $4::float8)
WHERE {_HELD} RETURNING cancel_requested_at IS NOT NULL AS cancel_requested, lease_expires_at"""

# The token stays, so that a worker whose answer was lost can see that it was its own word that ended the operation.
_END: Final = f"""
UPDATE operations SET status = $4, error = $5, completed_at = clock_timestamp() WHERE {_HELD} RETURNING id"""

_OUTCOME: Final = """
SELECT status FROM operations WHERE user_id = $1 AND id = $2 AND lease_token = $3 AND status <> 'active'"""

_RELEASE: Final = f"""
WITH held AS MATERIALIZED (
    SELECT id, user_id, {NEXT_STATUS.format(used_up="- (NOT $4::boolean)::integer >=")} AS next
    FROM operations WHERE {_HELD} FOR NO KEY UPDATE
)
UPDATE operations o SET status = held.next, attempts = o.attempts - (NOT $4::boolean)::integer,
    completed_at = CASE WHEN held.next <> 'active' THEN clock_timestamp() END,
    error = CASE WHEN held.next = 'failed' THEN '{WORKER_STOPPED}' END,
    worker_id = CASE WHEN held.next <> 'active' THEN o.worker_id END,
    lease_token = CASE WHEN held.next <> 'active' THEN o.lease_token END,
    heartbeat_at = CASE WHEN held.next <> 'active' THEN o.heartbeat_at END,
    lease_expires_at = CASE WHEN held.next <> 'active' THEN o.lease_expires_at END
FROM held WHERE o.id = held.id AND o.user_id = held.user_id RETURNING o.status"""

# A worker that freezes inside its transaction would keep the row locked: the server is told to end an idle
# transaction when the lease expires, unless it is set to do so earlier.
_ASSERT: Final = f"""
WITH held AS MATERIALIZED (SELECT lease_expires_at FROM operations WHERE {_HELD} FOR NO KEY UPDATE)
SELECT set_config('idle_in_transaction_session_timeout', greatest(1, 1000 * EXTRACT(epoch FROM least(
    lease_expires_at - clock_timestamp(),
    nullif(current_setting('idle_in_transaction_session_timeout')::interval, '0'))))::integer::text, true)
FROM held WHERE lease_expires_at > clock_timestamp()"""


class OperationLeases(OperationQueue):
    """The part of `OperationRepository` that is for the holder of a lease."""

    async def heartbeat(self, lease: Lease) -> Heartbeat:
        """Renew a lease for another `Lease.seconds` from now. One statement.

        Args:
            lease: The lease.

        Returns:
            When it expires now, and whether somebody asked to cancel the operation.

        Raises:
            LeaseLostError: It has expired, or the operation has ended or was deleted.
            InvalidInputError: It is no lease.
            UnavailableError: The database does not answer, or the operation's row is locked by a unit of work.
            OutcomeUnknownError: Without a session, the answer was lost; repeat the call.
        """
        held, asked = as_held(lease), time.monotonic()
        row = await self._held(held, _HEARTBEAT, held.seconds)
        return Heartbeat(
            cancel_requested=row["cancel_requested"],
            expires_at=row["lease_expires_at"],
            deadline=asked + held.seconds,
        )

    async def complete(self, lease: Lease) -> None:
        """End an operation: it is done. One statement; in a unit of work, together with the job's effect.

        Args:
            lease: The lease.

        Raises:
            LeaseLostError: It has expired, or the operation has ended, also by the same lease: see `get_outcome`.
            InvalidInputError: It is no lease.
            UnavailableError: The database does not answer; nothing was saved.
            OutcomeUnknownError: Without a session, the answer was lost; ask `get_outcome`, or repeat the call.
        """
        await self._held(lease, _END, OperationStatus.COMPLETED, None)

    async def fail(self, lease: Lease, error: str) -> None:
        """End an operation: it has failed. One statement.

        Args:
            lease: The lease.
            error: Why, for its owner to read. Cut after `limits.OPERATION_ERROR` characters; U+0000 and lone surrogates
                become U+FFFD, so that no text keeps the failure from being recorded.

        Raises:
            LeaseLostError: It has expired, or the operation has ended, also by the same lease: see `get_outcome`.
            InvalidInputError: The error is no text, or it is no lease.
            UnavailableError: The database does not answer; nothing was saved.
            OutcomeUnknownError: Without a session, the answer was lost; ask `get_outcome`, or repeat the call.
        """
        if not isinstance(error, str):
            raise InvalidInputError("error", "text is needed")
        await self._held(lease, _END, OperationStatus.FAILED, recordable(error, limits.OPERATION_ERROR))

    async def cancel(self, lease: Lease) -> None:
        """End an operation: its worker has stopped, as it was asked to. One statement.

        Args:
            lease: The lease.

        Raises:
            LeaseLostError: It has expired, or the operation has ended, also by the same lease: see `get_outcome`.
            InvalidInputError: It is no lease.
            UnavailableError: The database does not answer; nothing was saved.
            OutcomeUnknownError: Without a session, the answer was lost; ask `get_outcome`, or repeat the call.
        """
        await self._held(lease, _END, OperationStatus.CANCELLED, None)

    async def release(self, lease: Lease, *, begun: bool = True) -> OperationStatus:
        """Give an operation back, as at a shutdown, so that it need not wait for the lease to expire. One statement.

        Args:
            lease: The lease.
            begun: Whether the job was begun. If so the attempt counts, and where it was the last one the operation
                has failed.

        Returns:
            ``active`` when it waits for another worker; ``failed`` when its attempts are used up; ``cancelled`` when
            somebody had asked for that.

        Raises:
            LeaseLostError: It has expired, or the operation has ended.
            InvalidInputError: It is no lease, or `begun` is no bool.
            UnavailableError: The database does not answer; nothing was saved.
            OutcomeUnknownError: Without a session, the answer was lost.
        """
        row = await self._held(lease, _RELEASE, boolean(begun, "begun"))
        return OperationStatus(row["status"])

    async def get_outcome(self, lease: Lease) -> OperationStatus | None:
        """How the holder of this lease has ended the operation: what to ask when an answer was lost. One indexed read.

        Args:
            lease: The lease.

        Returns:
            The status, or ``None`` when this lease has not ended it.

        Raises:
            InvalidInputError: It is no lease.
            UnavailableError: The database does not answer.
        """
        self._refuse_other_owner(as_held(lease).user_id)
        values = [lease.user_id, lease.operation_id, lease.token]
        rows = await (await self._client()).execute_rows(_OUTCOME, values)
        return OperationStatus(rows[0]["status"]) if rows else None

    async def assert_lease(self, lease: Lease) -> None:
        """Lock an operation for this unit of work, if the lease holds: call it before writing a job's effect.

        Until COMMIT no other worker can take it, and its own heartbeats wait: keep the unit of work much shorter than
        the lease. The server ends it when it is idle at the lease's expiry. One statement.

        Args:
            lease: The lease.

        Raises:
            LeaseLostError: It has expired, or the operation has ended.
            UnitOfWorkError: The repository has no session: a lock would not last.
            InvalidInputError: It is no lease.
            UnavailableError: The database does not answer.
        """
        as_held(lease)
        if self._session is None:
            raise UnitOfWorkError(
                "assert_lease locks until COMMIT: give the repository a session, or use leased_session."
            )
        await self._held(lease, _ASSERT)

    async def _held(self, lease: Lease, sql: str, *values: object) -> Any:  # noqa: ANN401 - an asyncpg record
        """Run a statement that is guarded by `_HELD`."""
        self._refuse_other_owner(as_held(lease).user_id)
        arguments = [lease.user_id, lease.operation_id, lease.token, *values]
        rows = await (await self._client()).execute_rows(sql, arguments)
        if not rows:
            raise LeaseLostError
        return rows[0]


def as_held(lease: object) -> Lease:
    """A lease, as the store gave it out.

    Raises:
        InvalidInputError: It is something else, or a lease made up with a span that none has.
    """
    if not isinstance(lease, Lease):
        raise InvalidInputError("lease", "a Lease is needed")
    seconds(lease.seconds, "lease.seconds", limits.LEASE_SECONDS)
    return lease
