"""Operations: background jobs as clients see them."""

import re
import time
from datetime import datetime
from functools import partial
from typing import Any, ClassVar, Final, TypeVar
from uuid import UUID, uuid4

from tortoise.expressions import Q
from tortoise.models import Model
from tortoise.queryset import QuerySet, ValuesQuery

from veupath_store.engine.changes import WORK, of_operation
from veupath_store.errors import InvalidInputError, NotFoundError, OperationActiveError
from veupath_store.inputs import limits
from veupath_store.inputs.validation import as_operation_id, as_optional_uuid, as_uuid, integer, seconds, text
from veupath_store.models import Operation
from veupath_store.models.deletions import REMEMBER
from veupath_store.repositories.base import Repository
from veupath_store.repositories.leases import as_lease
from veupath_store.repositories.pages import Key, Listing, Page
from veupath_store.repositories.queries import Condition, Prepared, Sql
from veupath_store.values import Lease, OperationStatusView, OperationSummary, OperationType
from veupath_store.values.operations import CHATS
from veupath_store.values.value import Value

V = TypeVar("V", bound=Value)

# A guarded INSERT with RETURNING. DO NOTHING, so that the refusal of a second chat does not undo the unit of work
# around it.
_INSERT: Final = f"""
INSERT INTO operations (id, user_id, stream_id, type, start_position, max_attempts,
                        worker_id, lease_token, attempts, heartbeat_at, lease_expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7::varchar, $8::uuid, CASE WHEN $8::uuid IS NULL THEN 0 ELSE 1 END,
        CASE WHEN $8::uuid IS NOT NULL THEN clock_timestamp() END,
        clock_timestamp() + make_interval(secs => $9::float8))
ON CONFLICT (user_id, stream_id)
    WHERE status = 'active' AND type IN ('chat', 'workbench_chat') AND stream_id IS NOT NULL DO NOTHING
RETURNING {", ".join(OperationSummary.model_fields)}, lease_expires_at"""

# Two tables in one statement.
_DELETE: Final = f"""
WITH gone AS (DELETE FROM operations WHERE id = $1 AND ($2::uuid IS NULL OR user_id = $2) RETURNING id),
remembered AS (INSERT INTO deleted_ids (kind, id) SELECT 'operation', id FROM gone {REMEMBER})
SELECT id FROM gone"""

_CANCEL_REQUESTED: Final = "cancel_requested_at IS NOT NULL"
_RUNS: Final = "lease_expires_at > statement_timestamp()"
# A guarded UPDATE with RETURNING.
_REQUEST_CANCEL: Final = f"""
UPDATE operations SET
    cancel_requested_at = COALESCE(cancel_requested_at, clock_timestamp()),
    status = CASE WHEN {_RUNS} THEN status ELSE 'cancelled' END,
    completed_at = CASE WHEN {_RUNS} THEN NULL ELSE clock_timestamp() END,
    lease_token = CASE WHEN {_RUNS} THEN lease_token END
WHERE id = $1 AND ($2::uuid IS NULL OR user_id = $2) AND status = 'active' RETURNING
    id, status, {_CANCEL_REQUESTED} AS cancel_requested, error, completed_at"""

_POSITION: Final = re.compile(r"\d{1,20}-\d{1,20}", re.ASCII)


def _of_stream(stream: UUID, owner: UUID | None = None) -> ValuesQuery[Any]:
    """The active operations of a conversation, by an index that its owner leads."""
    theirs = (
        Condition("user_id = (SELECT s.user_id FROM streams s WHERE s.id = {})", stream)
        if owner is None
        else Q(user_id=owner)
    )
    found = Operation.filter(theirs, stream_id=stream, status="active").order_by("-created_at", "-id")
    return found.limit(limits.PAGE).values(*OperationSummary.model_fields)


def _one(identity: UUID, owner: UUID | None = None) -> QuerySet[Operation]:
    return Operation.filter(Repository._owned_by(owner), pk=identity)


_SUMMARY: Final = Prepared[Any](lambda **which: _one(**which).values(*OperationSummary.model_fields))
_STATUS: Final = Prepared[Any](
    lambda **which: (
        _one(**which).annotate(cancel_requested=Sql(_CANCEL_REQUESTED)).values(*OperationStatusView.model_fields)
    )
)
_ACTIVE_BY_STREAM: Final = Prepared[Any](_of_stream)
_Listing: Final = partial(
    Listing[OperationSummary], summary=OperationSummary, keys=(Key("created_at", datetime), Key("id", UUID))
)
_NEWEST: Final = _Listing(name="operations", build=lambda user_id: Operation.filter(user_id=user_id))
_ACTIVE: Final = _Listing(
    name="active operations",
    build=lambda user_id, **only: Operation.filter(user_id=user_id, status="active", **only),
)


class OperationRepository(Repository[Operation]):
    """What clients do with operations: register, find, poll, cancel, delete. Workers have `LeaseRepository`.

    An operation is active until it is completed, failed or cancelled, and never changes afterwards: every transition
    is guarded in its UPDATE.
    """

    model: ClassVar[type[Model]] = Operation
    entity: ClassVar[str] = "operation"

    async def register(
        self,
        user_id: UUID | str,
        type: OperationType | str,  # noqa: A002 - the column's name
        *,
        stream_id: UUID | str | None = None,
        operation_id: UUID | str | None = None,
        start_position: str | None = None,
        max_attempts: int = 1,
    ) -> OperationSummary:
        """A new operation that waits for a worker.

        Args:
            type: What kind of job it is: an `OperationType`, or text of the application's own.
            stream_id: The owner's conversation that it works for; a chat needs one.
            operation_id: Its id; a new one by default.
            start_position: Where in the log its events begin, as ``1700000000000-0``.
            max_attempts: How often a worker may take it. With 1 a job whose worker is lost has failed; with more it
                is given to the next, so that a job must bear to be begun again.

        Raises:
            OperationActiveError: It is a chat, and the conversation has an active one.
            ConflictError: The id is taken (``operations_pkey``).
            NotFoundError: There is no such user or stream, or it is not this user's.
            OutcomeUnknownError: Without a session, the answer was lost; with an `operation_id` of yours, look for it.
        """
        row = await self._insert(user_id, type, stream_id, operation_id, start_position, max_attempts)
        return OperationSummary.model_validate(row)

    async def start(
        self,
        user_id: UUID | str,
        type: OperationType | str,  # noqa: A002
        *,
        worker_id: str,
        lease_seconds: float,
        stream_id: UUID | str | None = None,
        operation_id: UUID | str | None = None,
        start_position: str | None = None,
        max_attempts: int = 1,
    ) -> Lease:
        """A new operation together with its lease, for a job that runs in this process.

        The lease runs from this moment: in a unit of work, commit at once. Pass it to
        `veupath_store.jobs.run_under_lease`. All else is as in `register`; this is the first attempt.

        Args:
            worker_id: Who runs it, as host and process.
            lease_seconds: How long the lease holds without a heartbeat.

        Raises:
            OperationActiveError: One whose worker was lost counts until a sweep has found it.
            OutcomeUnknownError: Without a session, the answer was lost. If it was saved it fails once it has expired.
        """
        worker = text(worker_id, "worker_id", limits.WORKER_ID)
        span = seconds(lease_seconds, "lease_seconds", limits.LEASE_SECONDS)
        token, asked = uuid4(), time.monotonic()
        lease = (worker, token, span)
        row = await self._insert(user_id, type, stream_id, operation_id, start_position, max_attempts, lease)
        return as_lease(row, worker, token, span, asked)

    async def get_by_id(self, id: UUID | str) -> Operation | None:  # noqa: A002 - the entity's own word
        """Read one by its id. Its `lease_token` is ``None``: only the lease's holder knows that.

        Its ``save`` wants ``update_fields``, as after Tortoise's ``only``.
        """
        row = await super().get_by_id(id)
        if row is not None:
            row.lease_token = None
            row._partial = True
        return row

    async def get_summary(self, operation_id: UUID | str) -> OperationSummary | None:
        """What a client may see of an operation, its owner included."""
        return await self._view(_SUMMARY, OperationSummary, operation_id)

    async def get_status(self, operation_id: UUID | str) -> OperationStatusView | None:
        """How far an operation is; for polling. One small indexed read."""
        return await self._view(_STATUS, OperationStatusView, operation_id)

    async def _view(self, prepared: Prepared[Any], view: type[V], operation_id: UUID | str) -> V | None:
        identity = self._identity(operation_id, "operation_id")
        row = await prepared.first(await self._client(), identity=identity, owner=self._owner)
        return None if row is None else view.model_validate(dict(row))

    async def page(
        self, user_id: UUID | str, *, cursor: str | None = None, limit: int = 50
    ) -> "Page[OperationSummary]":
        """One page of a user's operations, whatever their status, newest first."""
        user = self._whose(user_id)
        return await _NEWEST.page(await self._client(), cursor, limit, user_id=user)

    async def page_active(
        self,
        user_id: UUID | str,
        *,
        type: OperationType | str | None = None,  # noqa: A002
        cursor: str | None = None,
        limit: int = 50,
    ) -> "Page[OperationSummary]":
        """One page of a user's active operations, newest first, from an index that holds the active ones only.

        Args:
            type: One kind of job, or ``None`` for all.
        """
        user, kind = self._whose(user_id), None if type is None else text(type, "type", limits.OPERATION_TYPE)
        return await _ACTIVE.page(await self._client(), cursor, limit, user_id=user, type=kind)

    async def list_active_by_stream(self, stream_id: UUID | str) -> list[OperationSummary]:
        """The active operations of a conversation, newest first: at most one chat, and what else works for it.

        `limits.PAGE` at most.
        """
        stream = as_uuid(stream_id, "stream_id")
        rows = await _ACTIVE_BY_STREAM.all(await self._client(), stream=stream, owner=self._owner)
        return [OperationSummary.model_validate(dict(row)) for row in rows]

    async def delete(self, id: UUID | str) -> bool:  # noqa: A002 - the entity's own word
        """Delete an operation. Where it has a log of its own, that is removed soon after the commit."""
        identity, client = self._identity(id), await self._client()
        rows = await client.execute_rows(_DELETE, [identity, self._owner])
        client.changed(of_operation(identity))
        return bool(rows)

    async def request_cancel(self, operation_id: UUID | str) -> OperationStatusView:
        """Ask for an operation to be cancelled, wherever it runs; return its status then. Idempotent.

        One that no worker has is cancelled at once. The worker of one that runs hears of it at once where it is in this
        process, and within a second in another. One that has ended stays as it is, for one statement more.

        Raises:
            UnavailableError: The database does not answer, or the operation is being written; nothing was saved.
        """
        identity, client = self._identity(operation_id, "operation_id"), await self._client()
        rows = await client.execute_rows(_REQUEST_CANCEL, [identity, self._owner])
        if rows:
            client.changed(of_operation(identity))
            return OperationStatusView.model_validate(dict(rows[0]))
        ended = await self.get_status(identity)
        if ended is None:
            raise NotFoundError(self.entity)
        return ended

    async def _insert(  # noqa: PLR0917 - as `register`
        self,
        user_id: UUID | str,
        type: OperationType | str,  # noqa: A002
        stream_id: UUID | str | None,
        operation_id: UUID | str | None,
        start_position: str | None,
        max_attempts: int,
        lease: tuple[str | None, UUID | None, float | None] = (None, None, None),
    ) -> dict[str, Any]:
        owner, stream = as_uuid(user_id, "user_id"), as_optional_uuid(stream_id, "stream_id")
        kind = text(type, "type", limits.OPERATION_TYPE)
        if kind in CHATS and stream is None:
            raise InvalidInputError("stream_id", "a chat needs its conversation")
        values = [
            uuid4() if operation_id is None else self._identity(operation_id, "operation_id"),
            owner,
            stream,
            kind,
            _position(start_position),
            integer(max_attempts, "max_attempts", 1, limits.ATTEMPTS),
            *lease,
        ]
        self._refuse_other_owner(owner)
        client = await self._client()
        rows = await client.execute_rows(_INSERT, values)
        if not rows:
            raise OperationActiveError
        if rows[0]["attempts"] == 0:  # or else it has its lease already
            client.changed(WORK)
        return dict(rows[0])

    @classmethod
    def _identity(cls, value: object, path: str = "id") -> UUID:
        return as_operation_id(value, path)


def _position(value: str | None) -> str | None:
    if value is None:
        return None
    checked = text(value, "start_position", limits.LOG_POSITION)
    if not _POSITION.fullmatch(checked) or any(int(part) > limits.UINT64_MAX for part in checked.split("-")):
        raise InvalidInputError("start_position", "a log entry's id, as 1700000000000-0, is needed")
    return checked
