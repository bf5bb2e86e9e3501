"""Operations: background jobs as clients see them."""

import re
import time
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID, uuid4

from veupath_store import limits
from veupath_store.errors import InvalidInputError, NotFoundError, OperationActiveError
from veupath_store.events.keys import LogKey
from veupath_store.models import Operation
from veupath_store.repositories.operation_queue import as_lease
from veupath_store.repositories.operation_reads import STATUS, SUMMARY, OperationReads
from veupath_store.repositories.recording import Recording
from veupath_store.validation import as_optional_uuid, as_uuid, integer, one_of, seconds, text
from veupath_store.values import Lease, OperationStatusView, OperationSummary, OperationType

# DO NOTHING, so that the refusal of a second chat does not undo the unit of work around it.
_INSERT: Final = f"""
INSERT INTO operations (id, user_id, stream_id, type, start_position, max_attempts,
                        worker_id, lease_token, attempts, heartbeat_at, lease_expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7::varchar, $8::uuid, CASE WHEN $8::uuid IS NULL THEN 0 ELSE 1 END,
        CASE WHEN $8::uuid IS NOT NULL THEN clock_timestamp() END,
        clock_timestamp() + make_interval(secs => $9::float8))
ON CONFLICT (user_id, stream_id)
    WHERE status = 'active' AND type IN ('chat', 'workbench_chat') AND stream_id IS NOT NULL DO NOTHING
RETURNING {SUMMARY}, lease_expires_at"""

_RUNS: Final = "lease_expires_at > statement_timestamp()"
_REQUEST_CANCEL: Final = f"""
UPDATE operations SET
    cancel_requested_at = COALESCE(cancel_requested_at, clock_timestamp()),
    status = CASE WHEN {_RUNS} THEN status ELSE 'cancelled' END,
    completed_at = CASE WHEN {_RUNS} THEN NULL ELSE clock_timestamp() END,
    lease_token = CASE WHEN {_RUNS} THEN lease_token END
WHERE id = $1 AND ($2::uuid IS NULL OR user_id = $2) AND status = 'active' RETURNING {STATUS}"""

_POSITION: Final = re.compile(r"\d{1,20}-\d{1,20}", re.ASCII)


class OperationRepository(OperationReads, Recording[Operation]):
    """Reads and writes of operations. Clients register, find, poll and cancel; workers lease, run and end them.

    An operation is active until it is completed, failed or cancelled, and never changes afterwards: every transition
    is guarded in its UPDATE.
    """

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
        """A new operation that waits for a worker. One statement.

        Args:
            user_id: The owner.
            type: What kind of job it is.
            stream_id: The owner's conversation that it works for; a chat needs one.
            operation_id: Its id; a new one by default.
            start_position: Where in the log its events begin, as ``1700000000000-0``.
            max_attempts: How often a worker may take it. With 1 a job whose worker is lost has failed; with more it
                is given to the next, so that a job must bear to be begun again.

        Returns:
            The operation.

        Raises:
            OperationActiveError: It is a chat, and the conversation has an active one.
            ConflictError: The id is taken (``operations_pkey``).
            NotFoundError: There is no such user or stream, or it is not this user's.
            InvalidInputError: An argument is refused.
            UnavailableError: The database does not answer; nothing was saved.
            OutcomeUnknownError: Without a session, the answer was lost; with an `operation_id` of yours, look for it.
        """
        values = self._new(
            user_id,
            type,
            stream_id=stream_id,
            operation_id=operation_id,
            start_position=start_position,
            max_attempts=max_attempts,
        )
        return OperationSummary.model_validate(await self._insert([*values, None, None, None]))

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
        """A new operation together with its lease, for a job that runs in this process. One statement.

        The lease runs from this moment: in a unit of work, commit at once.

        Args:
            user_id: The owner.
            type: What kind of job it is.
            worker_id: Who runs it, as host and process.
            lease_seconds: How long the lease holds without a heartbeat.
            stream_id: As in `register`.
            operation_id: As in `register`.
            start_position: As in `register`.
            max_attempts: As in `register`; this is the first.

        Returns:
            The lease; pass it to `veupath_store.jobs.run_under_lease`.

        Raises:
            OperationActiveError: It is a chat, and the conversation has an active one. One whose worker was lost
                counts until a sweep has found it.
            ConflictError: The id is taken (``operations_pkey``).
            NotFoundError: There is no such user or stream, or it is not this user's.
            InvalidInputError: An argument is refused.
            UnavailableError: The database does not answer; nothing was saved.
            OutcomeUnknownError: Without a session, the answer was lost. If it was saved it fails once it has expired.
        """
        values = self._new(
            user_id,
            type,
            stream_id=stream_id,
            operation_id=operation_id,
            start_position=start_position,
            max_attempts=max_attempts,
        )
        worker = text(worker_id, "worker_id", limits.WORKER_ID)
        span = seconds(lease_seconds, "lease_seconds", limits.LEASE_SECONDS)
        token, asked = uuid4(), time.monotonic()
        return as_lease(await self._insert([*values, worker, token, span]), worker, token, span, asked)

    def _new(
        self,
        user_id: UUID | str,
        type: OperationType | str,  # noqa: A002
        *,
        stream_id: UUID | str | None,
        operation_id: UUID | str | None,
        start_position: str | None,
        max_attempts: int,
    ) -> list[Any]:
        """The first arguments of `_INSERT`, checked."""
        owner, stream = as_uuid(user_id, "user_id"), as_optional_uuid(stream_id, "stream_id")
        kind = one_of(type, "type", OperationType)
        if kind.is_chat and stream is None:
            raise InvalidInputError("stream_id", "a chat needs its conversation")
        values = [
            uuid4() if operation_id is None else self._identity(operation_id, "operation_id"),
            owner,
            stream,
            kind.value,
            _position(start_position),
            integer(max_attempts, "max_attempts", 1, limits.ATTEMPTS),
        ]
        self._refuse_other_owner(owner)
        return values

    async def _insert(self, values: list[Any]) -> dict[str, Any]:
        rows = await (await self._client()).execute_rows(_INSERT, values)
        if not rows:
            raise OperationActiveError
        return dict(rows[0])

    async def _logs_of(self, identity: UUID) -> Sequence[LogKey]:
        return (LogKey.operation(identity),)  # one that works for a conversation has none, which is no harm

    async def request_cancel(self, operation_id: UUID | str) -> OperationStatusView:
        """Ask for an operation to be cancelled, wherever it runs. Idempotent; one statement.

        One that no worker has is cancelled at once. The worker of one that runs is told by its next heartbeat. One
        that has ended stays as it is, for one statement more.

        Args:
            operation_id: The operation.

        Returns:
            Its status after the request.

        Raises:
            NotFoundError: No such operation, or not this user's.
            InvalidInputError: The id is no UUID.
            UnavailableError: The database does not answer, or the operation is being written; nothing was saved.
            OutcomeUnknownError: Without a session, the answer was lost; repeat the call.
        """
        identity = self._identity(operation_id, "operation_id")
        rows = await (await self._client()).execute_rows(_REQUEST_CANCEL, [identity, self._owner])
        if rows:
            return OperationStatusView.model_validate(dict(rows[0]))
        ended = await self.get_status(identity)
        if ended is None:
            raise NotFoundError(self.entity)
        return ended


def _position(value: str | None) -> str | None:
    if value is None:
        return None
    checked = text(value, "start_position", limits.LOG_POSITION)
    if not _POSITION.fullmatch(checked) or any(int(part) > limits.UINT64_MAX for part in checked.split("-")):
        raise InvalidInputError("start_position", "a log entry's id, as 1700000000000-0, is needed")
    return checked
