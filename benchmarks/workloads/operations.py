"""Background jobs: registered, kept alive, ended; and those of lost workers."""

from datetime import timedelta
from typing import Any, Final
from uuid import uuid4

import asyncpg
from tortoise.timezone import now
from tortoise.transactions import in_transaction

from benchmarks import replaced as old
from benchmarks.workload import BULK, Sessions, Variant, Workload
from benchmarks.world import JOBS, ORDINARY, World, expire, identity
from veupath_store import LeaseRepository, OperationRepository
from veupath_store.models import Operation
from veupath_store.values import Lease, OperationStatus, OperationType, SweepReport

_SUMMARY: Final = (
    "id, user_id, stream_id, type, status, created_at, completed_at, cancel_requested_at, error, start_position, "
    "attempts, max_attempts"
)
_REGISTER: Final = f"""
INSERT INTO operations (id, user_id, stream_id, type) VALUES ($1, $2, $3, $4)
ON CONFLICT (user_id, stream_id)
    WHERE status = 'active' AND type IN ('chat', 'workbench_chat') AND stream_id IS NOT NULL DO NOTHING
RETURNING {_SUMMARY}"""
_NO_LEASES: Final = "the replaced layer had no leases"


class Register(Workload):
    """A chat's operation; a conversation has one at a time."""

    name = "operation: register"
    shown = ("id", "user_id", "stream_id", "type", "status")

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.id, self.user_id = uuid4(), identity("user", ORDINARY)
        self.stream_id = identity("stream", f"{ORDINARY}-1")

    async def before(self, connection: asyncpg.Connection) -> None:
        await connection.execute("DELETE FROM operations WHERE id = $1", self.id)

    async def raw(self, pool: asyncpg.Pool) -> object:
        row = await pool.fetchrow(_REGISTER, self.id, self.user_id, self.stream_id, OperationType.CHAT.value)
        if row is None:
            raise RuntimeError("the conversation has an active operation")
        return dict(row)

    async def tortoise(self) -> object:
        # The unique index refuses a second one.
        return await Operation.create(
            id=self.id, user_id=self.user_id, stream_id=self.stream_id, type="chat", status="active"
        )

    async def alchemy(self, sessions: Sessions) -> object:
        async with sessions() as session:
            operation = old.Operation(id=self.id, user_id=self.user_id, stream_id=self.stream_id, type="chat")
            session.add(operation)
            await session.flush()
            await session.commit()
            return operation

    async def ours(self) -> object:
        return await OperationRepository().register(
            self.user_id, OperationType.CHAT, stream_id=self.stream_id, operation_id=self.id
        )

    async def after(self, connection: asyncpg.Connection) -> object:
        row = await connection.fetchrow(f"SELECT {_SUMMARY} FROM operations WHERE id = $1", self.id)
        return {name: value for name, value in row.items() if name != "created_at"}


class _Held(Workload):
    """An operation that a worker holds."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.user_id = identity("user", ORDINARY)
        self._lease: Lease | None = None

    @property
    def lease(self) -> Lease:
        """What the worker has."""
        if self._lease is None:
            raise RuntimeError("it begins with `before`")
        return self._lease

    async def before(self, connection: asyncpg.Connection) -> None:
        if self._lease is None:
            self._lease = await OperationRepository().start(
                self.user_id, OperationType.EXPERIMENT, worker_id="host-1", lease_seconds=3_600
            )
        await connection.execute(
            "UPDATE operations SET status = 'active', completed_at = NULL, "
            "lease_expires_at = now() + interval '10 minutes' WHERE id = $1",
            self.lease.operation_id,
        )

    def seen(self, result: Any) -> object:  # noqa: ANN401
        return result

    async def after(self, connection: asyncpg.Connection) -> object:
        return await connection.fetchrow(
            "SELECT status, error, completed_at IS NOT NULL AS ended, attempts, worker_id, lease_token, "
            "lease_expires_at > now() + interval '30 minutes' AS renewed FROM operations WHERE id = $1",
            self.lease.operation_id,
        )


_HELD: Final = (
    "id = $1 AND user_id = $2 AND lease_token = $3 AND status = 'active' AND lease_expires_at > clock_timestamp()"
)


class Heartbeat(_Held):
    """The worker is still there."""

    name = "operation: heartbeat"
    missing = {Variant.ALCHEMY: _NO_LEASES}  # noqa: RUF012

    async def raw(self, pool: asyncpg.Pool) -> object:
        row = await pool.fetchrow(
            "UPDATE operations SET heartbeat_at = clock_timestamp(), "
            f"lease_expires_at = clock_timestamp() + $4::interval WHERE {_HELD} "
            "RETURNING cancel_requested_at IS NOT NULL AS cancel_requested, lease_expires_at",
            self.lease.operation_id,
            self.lease.user_id,
            self.lease.token,
            timedelta(seconds=self.lease.seconds),
        )
        return row["cancel_requested"]

    async def tortoise(self) -> object:
        moment, lease = now(), self.lease
        held = Operation.filter(id=lease.operation_id, user_id=lease.user_id, lease_token=lease.token, status="active")
        if not await held.filter(lease_expires_at__gt=moment).update(
            heartbeat_at=moment, lease_expires_at=moment + timedelta(seconds=lease.seconds)
        ):
            raise RuntimeError("the lease is lost")
        operation = await Operation.get(id=lease.operation_id)
        return operation.cancel_requested_at is not None

    async def alchemy(self, sessions: Sessions) -> object:
        raise NotImplementedError

    async def ours(self) -> object:
        return (await LeaseRepository().heartbeat(self.lease)).cancel_requested


class Complete(_Held):
    """The worker is done."""

    name = "operation: complete"

    async def raw(self, pool: asyncpg.Pool) -> object:
        lease = self.lease
        return await pool.fetchval(
            "UPDATE operations SET status = 'completed', completed_at = clock_timestamp() "
            f"WHERE {_HELD} RETURNING true",
            lease.operation_id,
            lease.user_id,
            lease.token,
        )

    async def tortoise(self) -> object:
        moment, lease = now(), self.lease
        held = Operation.filter(id=lease.operation_id, user_id=lease.user_id, lease_token=lease.token, status="active")
        return await held.filter(lease_expires_at__gt=moment).update(status="completed", completed_at=moment) == 1

    async def alchemy(self, sessions: Sessions) -> object:
        async with sessions() as session:
            operation = await session.get(old.Operation, self.lease.operation_id)
            operation.status, operation.completed_at = "completed", now()
            await session.flush()
            await session.commit()
        return True

    async def ours(self) -> object:
        await LeaseRepository().complete(self.lease)
        return True


class Sweep(Workload):
    """All leases have expired: the workers were lost."""

    name = "sweep of 10,000"
    raw_goal = BULK
    missing = {Variant.ALCHEMY: _NO_LEASES}  # noqa: RUF012

    async def before(self, connection: asyncpg.Connection) -> None:
        await expire(connection, self.world.sizes.operations)

    async def raw(self, pool: asyncpg.Pool) -> object:
        rows = await pool.fetch(
            """
            WITH expired AS MATERIALIZED (
                SELECT id, CASE WHEN cancel_requested_at IS NOT NULL THEN 'cancelled'
                                WHEN attempts >= max_attempts THEN 'failed' ELSE 'active' END AS next
                FROM operations
                WHERE status = 'active' AND lease_token IS NOT NULL AND lease_expires_at <= now()
                ORDER BY lease_expires_at LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED
            )
            UPDATE operations o SET status = next, lease_token = NULL, heartbeat_at = NULL, lease_expires_at = NULL,
                worker_id = CASE WHEN next <> 'active' THEN worker_id END,
                completed_at = CASE WHEN next <> 'active' THEN now() END,
                error = CASE WHEN next = 'failed' THEN 'the worker was lost' END
            FROM expired WHERE o.id = expired.id RETURNING o.id, o.status""",
            self.world.sizes.operations,
        )
        return {status: [row["id"] for row in rows if row["status"] == status] for status in OperationStatus}

    async def tortoise(self) -> object:
        # Those that may be tried again, or were to be cancelled, would need two more updates.
        async with in_transaction():
            moment = now()
            found = Operation.filter(status="active", lease_token__isnull=False, lease_expires_at__lte=moment)
            rows = await found.limit(self.world.sizes.operations).select_for_update(skip_locked=True, no_key=True)
            ids = [row.id for row in rows]
            await Operation.filter(id__in=ids).update(
                status="failed",
                lease_token=None,
                heartbeat_at=None,
                lease_expires_at=None,
                completed_at=moment,
                error="the worker was lost",
            )
        return {OperationStatus.FAILED: ids}

    async def alchemy(self, sessions: Sessions) -> object:
        raise NotImplementedError

    async def ours(self) -> object:
        return await LeaseRepository().sweep(self.world.sizes.operations)

    def seen(self, result: Any) -> object:  # noqa: ANN401
        return sorted(result.failed if isinstance(result, SweepReport) else result[OperationStatus.FAILED])

    async def after(self, connection: asyncpg.Connection) -> object:
        return await connection.fetch(
            "SELECT status, error, worker_id, completed_at IS NOT NULL AS ended, lease_token, attempts, count(*) "
            "FROM operations WHERE user_id = $1 GROUP BY 1, 2, 3, 4, 5, 6",
            identity("user", JOBS),
        )
