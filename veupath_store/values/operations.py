"""Values of operations: what clients see of a background job, and what its worker holds."""

from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from pydantic import Field

from veupath_store.inputs.validation import Known
from veupath_store.values.value import Value


class OperationType(StrEnum):
    """The kinds of job that the store knows; an application may use others, any text of 50 characters at most."""

    CHAT = "chat"
    WORKBENCH_CHAT = "workbench_chat"
    EXPERIMENT = "experiment"
    BATCH = "batch"
    BENCHMARK = "benchmark"

    @property
    def is_chat(self) -> bool:
        """Whether it writes to a conversation, which takes one such writer at a time."""
        return self in (OperationType.CHAT, OperationType.WORKBENCH_CHAT)


CHATS: Final = frozenset(kind for kind in OperationType if kind.is_chat)


class OperationStatus(StrEnum):
    """How far it is. Only ``active`` ever changes. What a newer version has written besides is read as text."""

    ACTIVE = "active"
    """It waits for a worker, or runs."""
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class OperationSummary(Value):
    """All that a client may see of an operation.

    Attributes:
        stream_id: The conversation that it works for, or ``None``.
        type: What kind of job it is.
        status: How far it is.
        completed_at: When it ended (UTC), however it did; ``None`` while it is active.
        cancel_requested_at: When somebody asked to cancel it (UTC), or ``None``.
        error: Why it failed, or ``None``.
        start_position: Where in the log its events begin, or ``None``.
        attempts: How often a worker took it.
        max_attempts: How often one may.
    """

    id: UUID
    user_id: UUID
    stream_id: UUID | None
    type: Known[OperationType]
    status: Known[OperationStatus]
    created_at: datetime
    completed_at: datetime | None
    cancel_requested_at: datetime | None
    error: str | None
    start_position: str | None
    attempts: int
    max_attempts: int


class OperationStatusView(Value):
    """What a client polls: fields of `OperationSummary`, and whether somebody asked to cancel it."""

    id: UUID
    status: Known[OperationStatus]
    cancel_requested: bool
    error: str | None
    completed_at: datetime | None


class Lease(Value):
    """A worker's right to run one operation, until it expires. For the worker only: the token is a secret.

    Its other fields are those of `OperationSummary`; `attempts` counts this one.

    Attributes:
        worker_id: The worker that holds the lease.
        token: Known to the holder only; a new one for each holder. Not in ``repr``.
        seconds: How long the lease holds after a heartbeat.
        expires_at: When it expires, by the server's clock, as of when it was taken.
        deadline: The same by this process's ``time.monotonic``, and never later than it.
    """

    operation_id: UUID
    user_id: UUID
    stream_id: UUID | None
    type: Known[OperationType]
    start_position: str | None
    attempts: int
    max_attempts: int
    worker_id: str
    token: UUID = Field(repr=False)
    seconds: float
    expires_at: datetime
    deadline: float


class Heartbeat(Value):
    """The server's answer to a heartbeat.

    Attributes:
        cancel_requested: Whether somebody asked to cancel the operation.
        expires_at: When the lease expires now, by the server's clock.
        deadline: The same by this process's ``time.monotonic``, and never later than it.
    """

    cancel_requested: bool
    expires_at: datetime
    deadline: float


class SweepReport(Value):
    """What a sweep did with the operations whose lease had expired.

    Attributes:
        requeued: They wait for another worker.
        failed: Their attempts were used up.
        cancelled: Somebody had asked to cancel them.
    """

    requeued: tuple[UUID, ...]
    failed: tuple[UUID, ...]
    cancelled: tuple[UUID, ...]

    def __len__(self) -> int:
        return len(self.requeued) + len(self.failed) + len(self.cancelled)
