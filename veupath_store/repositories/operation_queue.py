"""The queue of operations: what waits for a worker, and what a lost worker left behind."""

import time
from collections.abc import Collection
from typing import Any, Final
from uuid import UUID, uuid4

from veupath_store import limits
from veupath_store.errors import InvalidInputError
from veupath_store.models import Operation
from veupath_store.repositories.base import Repository
from veupath_store.validation import integer, one_of, seconds, text
from veupath_store.values import Lease, OperationStatus, OperationType, SweepReport

WORKER_LOST: Final = "the worker was lost"

# What becomes of an operation that its worker does not go on with.
NEXT_STATUS: Final = """CASE WHEN cancel_requested_at IS NOT NULL THEN 'cancelled'
    WHEN attempts {used_up} max_attempts THEN 'failed' ELSE 'active' END"""

# Some of the oldest of each type, in the order of the partial index, and those whose lease has expired; of these the
# oldest that no other worker is taking at this moment. Only that one is locked: locking one of each type in the
# branches would make other workers see nothing to do. More than that many concurrent acquirers make one come away
# empty-handed now and then, and it asks again.
_CANDIDATES: Final = 50
_ACQUIRE: Final = f"""
WITH wanted AS (SELECT unnest($1::varchar[]) AS type),
candidates AS MATERIALIZED (
    SELECT waiting.id FROM wanted, LATERAL (
        SELECT id FROM operations
        WHERE status = 'active' AND lease_token IS NULL AND type = wanted.type
        ORDER BY created_at, id LIMIT {_CANDIDATES}
    ) waiting
    UNION ALL
    (SELECT id FROM operations
     WHERE status = 'active' AND lease_token IS NOT NULL AND lease_expires_at <= statement_timestamp()
       AND attempts < max_attempts AND cancel_requested_at IS NULL AND type = ANY ($1::varchar[])
     ORDER BY lease_expires_at LIMIT {_CANDIDATES})
),
oldest AS MATERIALIZED (
    SELECT o.id FROM operations o WHERE o.id = ANY (ARRAY(SELECT id FROM candidates)) AND o.status = 'active'
      AND (o.lease_token IS NULL OR (o.lease_expires_at <= statement_timestamp() AND o.attempts < o.max_attempts
                                     AND o.cancel_requested_at IS NULL))
    ORDER BY o.created_at, o.id LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE operations o SET worker_id = $2, lease_token = $3, attempts = o.attempts + 1,
    heartbeat_at = clock_timestamp(), lease_expires_at = clock_timestamp() + make_interval(secs => $4::float8)
FROM oldest WHERE o.id = oldest.id
RETURNING o.id, o.user_id, o.stream_id, o.type, o.start_position, o.attempts, o.max_attempts, o.lease_expires_at"""

# The UPDATE asks again, under the lock, whether the lease is still the expired one: a worker may have renewed it, or
# another may have taken it, since the row was found. It asks in a CASE, which no index answers: when many leases have
# expired at once the statistics say that none has, and PostgreSQL would go through all of them for each of them. With
# a million operations a sweep of 10,000 took more than 30 s so.
_SWEEP: Final = f"""
WITH expired AS MATERIALIZED (
    SELECT id, {NEXT_STATUS.format(used_up=">=")} AS next FROM operations
    WHERE status = 'active' AND lease_token IS NOT NULL AND lease_expires_at <= statement_timestamp()
    ORDER BY lease_expires_at LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE operations o SET status = expired.next, lease_token = NULL, heartbeat_at = NULL, lease_expires_at = NULL,
    worker_id = CASE WHEN expired.next <> 'active' THEN o.worker_id END,
    completed_at = CASE WHEN expired.next <> 'active' THEN clock_timestamp() END,
    error = CASE WHEN expired.next = 'failed' THEN '{WORKER_LOST}' END
FROM expired WHERE o.id = expired.id
  AND CASE WHEN o.lease_expires_at <= statement_timestamp() THEN o.status = 'active' AND o.lease_token IS NOT NULL END
RETURNING o.id, o.status"""


class OperationQueue(Repository[Operation]):
    """The part of `OperationRepository` that gives out work. Workers serve every user: no part of ``for_user``."""

    model = Operation
    entity = "operation"

    async def acquire(
        self, worker_id: str, types: Collection[OperationType | str], *, lease_seconds: float
    ) -> Lease | None:
        """Take the oldest operation that waits, or whose worker was lost and that may be tried again. One statement.

        Never waits for another worker, and no two get the same.

        Args:
            worker_id: Who takes it, as host and process.
            types: The kinds of job that it can run.
            lease_seconds: How long the lease holds without a heartbeat.

        Returns:
            The lease, or ``None`` when there is nothing to do.

        Raises:
            InvalidInputError: An argument is refused.
            NotFoundError: The repository is restricted to a user.
            UnavailableError: The database does not answer; nothing was taken.
            OutcomeUnknownError: Without a session, the answer was lost. If one was taken its lease expires.
        """
        self._refuse_other_owner(None)
        worker = text(worker_id, "worker_id", limits.WORKER_ID)
        kinds = sorted({one_of(kind, "types", OperationType).value for kind in _several(types)})
        span = seconds(lease_seconds, "lease_seconds", limits.LEASE_SECONDS)
        token, asked = uuid4(), time.monotonic()
        rows = await (await self._client()).execute_rows(_ACQUIRE, [kinds, worker, token, span])
        return as_lease(dict(rows[0]), worker, token, span, asked) if rows else None

    async def sweep(self, limit: int = 1_000) -> SweepReport:
        """Take back the operations whose lease has expired. One statement that waits for nobody.

        Those with attempts left wait for another worker, the others have failed, and those that somebody asked to
        cancel are cancelled. A lease that holds is never touched, whatever process runs this; a row that is locked is
        left to the next sweep.

        Args:
            limit: How many at most, 1 to `limits.SWEEP`.

        Returns:
            The ids of the operations.

        Raises:
            InvalidInputError: The limit is refused.
            NotFoundError: The repository is restricted to a user.
            UnavailableError: The database does not answer.
            OutcomeUnknownError: Without a session, the answer was lost; repeat the call.
        """
        self._refuse_other_owner(None)
        rows = await (await self._client()).execute_rows(_SWEEP, [integer(limit, "limit", 1, limits.SWEEP)])
        ids = {status: tuple(row["id"] for row in rows if row["status"] == status) for status in OperationStatus}
        return SweepReport(
            requeued=ids[OperationStatus.ACTIVE],
            failed=ids[OperationStatus.FAILED],
            cancelled=ids[OperationStatus.CANCELLED],
        )


def as_lease(row: dict[str, Any], worker_id: str, token: UUID, span: float, asked: float) -> Lease:
    """The lease that a statement has given out.

    Args:
        row: What it returned.
        worker_id: Who asked.
        token: The lease's token.
        span: How long it holds.
        asked: ``time.monotonic`` before the statement was sent, so that the deadline is never too late.
    """
    return Lease(
        **{**row, "operation_id": row["id"], "expires_at": row["lease_expires_at"]},
        worker_id=worker_id,
        token=token,
        seconds=span,
        deadline=asked + span,
    )


def _several(types: Collection[OperationType | str]) -> Collection[OperationType | str]:
    if isinstance(types, str) or not isinstance(types, Collection) or not types:
        raise InvalidInputError("types", "a collection of types, not empty, is needed")
    return types
