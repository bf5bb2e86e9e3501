"""The operations table."""

from datetime import datetime
from uuid import UUID

from tortoise import fields
from tortoise.models import Model

from veupath_store.inputs import limits
from veupath_store.models.fields import NO_COMMENTS, NOW
from veupath_store.models.stream import Stream
from veupath_store.models.user import User


class Operation(Model):
    """A background job that a client can discover, and the lease under which a worker runs it."""

    id: fields.Field[UUID] = fields.UUIDField(primary_key=True)
    # The conversation that it works for; null for an experiment's job.
    stream: fields.ForeignKeyNullableRelation[Stream] = fields.ForeignKeyField(
        "store.Stream", related_name="operations", null=True, on_delete=fields.CASCADE
    )
    stream_id: UUID | None
    user: fields.ForeignKeyRelation[User] = fields.ForeignKeyField(
        "store.User", related_name="operations", on_delete=fields.CASCADE
    )
    user_id: UUID
    type: fields.Field[str] = fields.CharField(max_length=limits.OPERATION_TYPE)
    status: fields.Field[str] = fields.CharField(max_length=limits.STATUS, db_default="active")
    created_at: fields.Field[datetime] = fields.DatetimeField(db_default=NOW)
    completed_at: fields.Field[datetime | None] = fields.DatetimeField(null=True)
    # The worker that holds the lease.
    worker_id: fields.Field[str | None] = fields.CharField(max_length=limits.WORKER_ID, null=True)
    # Known to the lease's holder only; a new one for each holder.
    lease_token: fields.Field[UUID | None] = fields.UUIDField(null=True)
    heartbeat_at: fields.Field[datetime | None] = fields.DatetimeField(null=True)
    lease_expires_at: fields.Field[datetime | None] = fields.DatetimeField(null=True)
    cancel_requested_at: fields.Field[datetime | None] = fields.DatetimeField(null=True)
    # Why it failed.
    error: fields.Field[str | None] = fields.TextField(null=True)  # type: ignore[assignment] # upstream's is never null
    # Where in the log its own events begin.
    start_position: fields.Field[str | None] = fields.CharField(max_length=limits.LOG_POSITION, null=True)
    # How often a worker took it, and how often one may.
    attempts: fields.Field[int] = fields.IntField(db_default=0)
    max_attempts: fields.Field[int] = fields.IntField(db_default=1)

    _no_comments = NO_COMMENTS

    class Meta:
        table = "operations"
