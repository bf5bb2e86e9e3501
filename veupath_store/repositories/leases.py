"""Leases of operations: what workers do.

A lease is a row's worker, token and expiry. Everything that a worker writes about its operation is guarded in SQL by
all three: the operation is active, the token is the worker's, and the lease has not expired by the server's clock
(``clock_timestamp``, not the time at which a transaction began). Whoever comes too late changes nothing.

For an effect that must happen exactly once, write it in the same unit of work that ends the operation:

    async with leased_session(lease, complete=True) as session:
        ...  # write the effect through this session

which is `LeaseRepository.assert_lease` before the effect and `LeaseRepository.complete` after it. The row is locked
from the first to the COMMIT, so that no sweep and no other worker can take the operation in between; a worker that
froze before it is refused when it wakes up, and one that freezes inside it loses its transaction, because the server
ends it when the lease would expire.
"""

import time
from collections.abc import Collection, Sequence
from functools import partial
from typing import Any, Final
from uuid import UUID, uuid4

from tortoise.queryset import UpdateQuery

from veupath_store.engine.changes import WORK, of_operation
from veupath_store.errors import InvalidInputError, LeaseLostError, UnitOfWorkError
from veupath_store.inputs import limits
from veupath_store.inputs.validation import boolean, integer, known, recordable, seconds, text
from veupath_store.models import Operation
from veupath_store.repositories.base import client_of
from veupath_store.repositories.queries import CLOCK, Prepared
from veupath_store.session.unit_of_work import Session
from veupath_store.values import Heartbeat, Lease, OperationStatus, OperationType, SweepReport

# What becomes of an operation that its worker does not go on with.
_NEXT_STATUS: Final = """CASE WHEN cancel_requested_at IS NOT NULL THEN 'cancelled'
    WHEN attempts {used_up} max_attempts THEN 'failed' ELSE 'active' END"""

# No queryset says SKIP LOCKED inside an UPDATE. Some of the oldest of each type, in the order of the partial index, and
# those whose lease has expired; of these the oldest that no other worker is taking at this moment. Only that one is
# locked: locking one of each type in the branches would make other workers see nothing to do. More than that many
# concurrent claims make one come away empty-handed now and then, and it asks again.
_CANDIDATES: Final = 50
_CLAIM: Final = f"""
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

# SKIP LOCKED inside an UPDATE, too. It asks again, under the lock, if the lease is still the expired one: a worker
# may have renewed it, or another may have taken it, since the row was found. It asks in a CASE, which no index answers:
# when many leases have expired at once the statistics say that none has, and PostgreSQL would go through all of them
# for each of them. With a million operations a sweep of 10,000 took more than 30 s so.
_SWEEP: Final = f"""
WITH expired AS MATERIALIZED (
    SELECT id, {_NEXT_STATUS.format(used_up=">=")} AS next FROM operations
    WHERE status = 'active' AND lease_token IS NOT NULL AND lease_expires_at <= statement_timestamp()
    ORDER BY lease_expires_at LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE operations o SET status = expired.next, lease_token = NULL, heartbeat_at = NULL, lease_expires_at = NULL,
    worker_id = CASE WHEN expired.next <> 'active' THEN o.worker_id END,
    completed_at = CASE WHEN expired.next <> 'active' THEN clock_timestamp() END,
    error = CASE WHEN expired.next = 'failed' THEN 'the worker was lost' END
FROM expired WHERE o.id = expired.id
  AND CASE WHEN o.lease_expires_at <= statement_timestamp() THEN o.status = 'active' AND o.lease_token IS NOT NULL END
RETURNING o.id, o.status"""

_HELD: Final = (
    "user_id = $1 AND id = $2 AND lease_token = $3 AND status = 'active' AND lease_expires_at > clock_timestamp()"
)

# A Tortoise UPDATE returns no row: the new expiry and the request to cancel would take a read more.
_HEARTBEAT: Final = f"""
UPDATE operations SET heartbeat_at = clock_timestamp(),
    lease_expires_at = clock_timestamp() + make_interval(secs => $4::float8)
WHERE {_HELD} RETURNING cancel_requested_at IS NOT NULL AS cancel_requested, lease_expires_at"""

# No queryset joins a list of values: the leases of several jobs, of which some are renewed. A job that holds its own
# row's lock in a unit of work must not keep the others waiting: its row is skipped, and is renewed the next time.
_HEARTBEATS: Final = """
WITH held AS MATERIALIZED (
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::float8[]) AS h (user_id, id, token, seconds)
),
available AS MATERIALIZED (
    SELECT o.user_id, o.id, held.seconds
    FROM held JOIN operations o ON o.user_id = held.user_id AND o.id = held.id AND o.lease_token = held.token
    WHERE held.seconds IS NOT NULL AND o.status = 'active' AND o.lease_expires_at > clock_timestamp()
    FOR NO KEY UPDATE OF o SKIP LOCKED
),
renewed AS (
    UPDATE operations o SET heartbeat_at = clock_timestamp(),
        lease_expires_at = clock_timestamp() + make_interval(secs => available.seconds)
    FROM available WHERE o.user_id = available.user_id AND o.id = available.id
      AND o.lease_expires_at > clock_timestamp()
    RETURNING o.user_id, o.id, o.lease_expires_at
),
leases AS (
    SELECT o.id, o.cancel_requested_at, coalesce(renewed.lease_expires_at, o.lease_expires_at) AS lease_expires_at
    FROM held JOIN operations o ON o.user_id = held.user_id AND o.id = held.id AND o.lease_token = held.token
    LEFT JOIN renewed ON renewed.user_id = o.user_id AND renewed.id = o.id
    WHERE o.status = 'active'
)
SELECT id, cancel_requested_at IS NOT NULL AS cancel_requested, lease_expires_at,
    EXTRACT(epoch FROM lease_expires_at - clock_timestamp())::float8 AS remaining
FROM leases WHERE lease_expires_at > clock_timestamp()"""

# A Tortoise UPDATE returns no row: the next status is decided here, under the lock, and is the answer.
_RELEASE: Final = f"""
WITH held AS MATERIALIZED (
    SELECT id, user_id, {_NEXT_STATUS.format(used_up="- (NOT $4::boolean)::integer >=")} AS next
    FROM operations WHERE {_HELD} FOR NO KEY UPDATE
)
UPDATE operations o SET status = held.next, attempts = o.attempts - (NOT $4::boolean)::integer,
    completed_at = CASE WHEN held.next <> 'active' THEN clock_timestamp() END,
    error = CASE WHEN held.next = 'failed' THEN 'the worker was shut down' END,
    worker_id = CASE WHEN held.next <> 'active' THEN o.worker_id END,
    lease_token = CASE WHEN held.next <> 'active' THEN o.lease_token END,
    heartbeat_at = CASE WHEN held.next <> 'active' THEN o.heartbeat_at END,
    lease_expires_at = CASE WHEN held.next <> 'active' THEN o.lease_expires_at END
FROM held WHERE o.id = held.id AND o.user_id = held.user_id RETURNING o.status"""

# No queryset calls a function with what it locks. A worker that freezes inside its transaction would keep the row
# locked: the server is set to end an idle transaction when the lease expires, unless it is set to do so earlier.
_ASSERT: Final = f"""
WITH held AS MATERIALIZED (SELECT lease_expires_at FROM operations WHERE {_HELD} FOR NO KEY UPDATE)
SELECT set_config('idle_in_transaction_session_timeout', greatest(1, 1000 * EXTRACT(epoch FROM least(
    lease_expires_at - clock_timestamp(),
    nullif(current_setting('idle_in_transaction_session_timeout')::interval, '0'))))::integer::text, true)
FROM held WHERE lease_expires_at > clock_timestamp()"""


def _ended(status: OperationStatus, error: str | None = None, **lease: UUID) -> UpdateQuery:
    """An operation's end, guarded as by `_HELD`.

    The token stays, so that a worker whose answer was lost can see that it was its own word that ended the operation.
    """
    held = Operation.filter(
        user_id=lease["user_id"], pk=lease["operation_id"], lease_token=lease["token"], status="active"
    )
    return held.filter(lease_expires_at__gt=CLOCK).update(status=status.value, error=error, completed_at=CLOCK)


_ENDINGS: Final = {status: Prepared[Any](partial(_ended, status)) for status in OperationStatus}
_OUTCOME: Final = Prepared[Any](
    lambda user_id, operation_id, token: (
        Operation.filter(user_id=user_id, pk=operation_id, lease_token=token).exclude(status="active").values("status")
    )
)


class LeaseRepository:
    """What workers do with operations. They serve every user: there is no ``for_user``.

    With a session, all its statements are part of that unit of work, and it never commits; without one, each statement
    is its own. Arguments, costs and errors that all calls have are described at `Repository`; besides:

    Raises:
        LeaseLostError: A lease that is given has expired, or its operation was deleted or has ended, also by the same
            lease: see `get_outcome`.
        OutcomeUnknownError: Without a session, the answer was lost: ask `get_outcome`, or repeat the call.
    """

    def __init__(self, session: Session | None = None) -> None:
        self._session = session

    async def claim(
        self, worker_id: str, types: Collection[OperationType | str], *, lease_seconds: float
    ) -> Lease | None:
        """Take the oldest operation that waits, or whose worker was lost and that may be tried again; or ``None``.

        Never waits for another worker, and no two get the same.

        Args:
            worker_id: Who takes it, as host and process.
            types: The kinds of job that it can run.
            lease_seconds: How long the lease holds without a heartbeat.

        Raises:
            OutcomeUnknownError: Without a session, the answer was lost. If one was taken its lease expires.
        """
        worker = text(worker_id, "worker_id", limits.WORKER_ID)
        if isinstance(types, str) or not isinstance(types, Collection) or not types:
            raise InvalidInputError("types", "a collection of types, not empty, is needed")
        kinds = sorted({text(kind, "types", limits.OPERATION_TYPE) for kind in types})
        span = seconds(lease_seconds, "lease_seconds", limits.LEASE_SECONDS)
        token, asked = uuid4(), time.monotonic()
        rows = await (await client_of(self._session)).execute_rows(_CLAIM, [kinds, worker, token, span])
        return as_lease(dict(rows[0]), worker, token, span, asked) if rows else None

    async def sweep(self, limit: int = 1_000) -> SweepReport:
        """Take back the operations whose lease has expired. Does not wait for locks.

        Those with attempts left wait for another worker, the others have failed, and those that somebody asked to
        cancel are cancelled. A lease that holds is never touched, whatever process runs this; a row that is locked is
        left to the next sweep.

        Args:
            limit: How many at most, 1 to `limits.SWEEP`.
        """
        most, client = integer(limit, "limit", 1, limits.SWEEP), await client_of(self._session)
        rows = await client.execute_rows(_SWEEP, [most])
        for row in rows:
            client.changed(of_operation(row["id"]))
        ids = {status: tuple(row["id"] for row in rows if row["status"] == status) for status in OperationStatus}
        if ids[OperationStatus.ACTIVE]:
            client.changed(WORK)
        return SweepReport(
            requeued=ids[OperationStatus.ACTIVE],
            failed=ids[OperationStatus.FAILED],
            cancelled=ids[OperationStatus.CANCELLED],
        )

    async def heartbeat(self, lease: Lease) -> Heartbeat:
        """Renew a lease for another `Lease.seconds` from now.

        Raises:
            UnavailableError: The database does not answer, or the operation's row is locked by a unit of work.
        """
        held, asked = as_held(lease), time.monotonic()
        row = await self._held(held, _HEARTBEAT, held.seconds)
        return Heartbeat(
            cancel_requested=row["cancel_requested"],
            expires_at=row["lease_expires_at"],
            deadline=asked + held.seconds,
        )

    async def complete(self, lease: Lease) -> None:
        """End an operation: it is done. In a unit of work, together with the job's effect."""
        await self._end(lease, OperationStatus.COMPLETED)

    async def fail(self, lease: Lease, error: str) -> None:
        """End an operation: it has failed.

        Args:
            error: Why, for its owner to read. Cut after `limits.OPERATION_ERROR` characters; U+0000 and lone surrogates
                become U+FFFD, so that no text keeps the failure from being recorded.
        """
        if not isinstance(error, str):
            raise InvalidInputError("error", "text is needed")
        await self._end(lease, OperationStatus.FAILED, recordable(error, limits.OPERATION_ERROR))

    async def cancel(self, lease: Lease) -> None:
        """End an operation: its worker has stopped, as it was asked to."""
        await self._end(lease, OperationStatus.CANCELLED)

    async def release(self, lease: Lease, *, begun: bool = True) -> OperationStatus:
        """Give an operation back, as at a shutdown, so that it need not wait for the lease to expire.

        Args:
            begun: Whether the job was begun. If so the attempt counts, and where it was the last one the operation
                has failed.

        Returns:
            ``active`` when it waits for another worker; ``failed`` when its attempts are used up; ``cancelled`` when
            somebody had asked for that.
        """
        row = await self._held(lease, _RELEASE, boolean(begun, "begun"))
        status, client = OperationStatus(row["status"]), await client_of(self._session)
        client.changed(of_operation(lease.operation_id))
        if status is OperationStatus.ACTIVE:
            client.changed(WORK)
        return status

    async def get_outcome(self, lease: Lease) -> OperationStatus | str | None:
        """How the holder of this lease has ended the operation, or ``None``: what to ask when an answer was lost."""
        row = await _OUTCOME.first(await client_of(self._session), **_key(as_held(lease)))
        return None if row is None else known(row["status"], OperationStatus)

    async def assert_lease(self, lease: Lease) -> None:
        """Lock an operation for this unit of work, if the lease holds: call it before writing a job's effect.

        Until COMMIT no other worker can take it, and its own heartbeats wait: keep the unit of work much shorter than
        the lease. The server ends it when it is idle at the lease's expiry.

        Raises:
            UnitOfWorkError: The repository has no session: a lock would not last.
        """
        as_held(lease)
        if self._session is None:
            raise UnitOfWorkError(
                "assert_lease locks until COMMIT: give the repository a session, or use leased_session."
            )
        await self._held(lease, _ASSERT)

    async def _end(self, lease: Lease, status: OperationStatus, error: str | None = None) -> None:
        client, held = await client_of(self._session), as_held(lease)
        if not await _ENDINGS[status].count(client, **_key(held), error=error):
            raise LeaseLostError
        client.changed(of_operation(held.operation_id))

    async def _held(self, lease: Lease, sql: str, *values: object) -> Any:  # noqa: ANN401 - an asyncpg record
        """Run a statement that is guarded by `_HELD`."""
        client = await client_of(self._session)
        rows = await client.execute_rows(sql, [*_key(as_held(lease)).values(), *values])
        if not rows:
            raise LeaseLostError
        return rows[0]


async def heartbeat_many(leases: Sequence[Lease], *, renew: Collection[UUID] | None = None) -> dict[UUID, Heartbeat]:
    """Hear of all jobs of a process, and renew the leases that are due. One statement, which does not wait for locks.

    One whose row is locked, as by the unit of work of its own job, is not renewed.

    Args:
        leases: The leases, of whatever users.
        renew: The operations whose leases are renewed, for `Lease.seconds` from now; by default all.

    Returns:
        For each operation whose lease holds: when it expires, and whether somebody asked to cancel the operation.
        The others are missing: the lease has expired, or the operation has ended or was deleted.
    """
    held, asked = [as_held(lease) for lease in leases], time.monotonic()
    spans = [lease.seconds if renew is None or lease.operation_id in renew else None for lease in held]
    identities = [[lease.user_id for lease in held], [lease.operation_id for lease in held]]
    values = [*identities, [lease.token for lease in held], spans]
    rows = await (await client_of(None)).execute_rows(_HEARTBEATS, values)
    return {
        row["id"]: Heartbeat(
            cancel_requested=row["cancel_requested"],
            expires_at=row["lease_expires_at"],
            deadline=asked + row["remaining"],
        )
        for row in rows
    }


def as_lease(row: dict[str, Any], worker_id: str, token: UUID, span: float, asked: float) -> Lease:
    """The lease that a statement has given out with its row.

    `asked` is ``time.monotonic`` before the statement was sent, so that the deadline is never too late.
    """
    return Lease(
        **{**row, "operation_id": row["id"], "expires_at": row["lease_expires_at"]},
        worker_id=worker_id,
        token=token,
        seconds=span,
        deadline=asked + span,
    )


def as_held(lease: object) -> Lease:
    """A lease that the store gave out, as far as its span tells."""
    if not isinstance(lease, Lease):
        raise InvalidInputError("lease", "a Lease is needed")
    seconds(lease.seconds, "lease.seconds", limits.LEASE_SECONDS)
    return lease


def _key(lease: Lease) -> dict[str, UUID]:
    return {"user_id": lease.user_id, "operation_id": lease.operation_id, "token": lease.token}
