"""The streams table."""

from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from tortoise import BaseDBAsyncClient, fields
from tortoise.models import Model

from veupath_store.inputs import limits
from veupath_store.models.deletions import DELETE_STREAM
from veupath_store.models.fields import NO_COMMENTS, NOW
from veupath_store.models.user import User

if TYPE_CHECKING:
    from veupath_store.models.stream_projection import StreamProjection


class Stream(Model):
    """One conversation: its identity and its owner. What changes is in its `StreamProjection`."""

    id: fields.Field[UUID] = fields.UUIDField(primary_key=True)
    user: fields.ForeignKeyRelation[User] = fields.ForeignKeyField(
        "store.User", related_name="streams", on_delete=fields.CASCADE
    )
    user_id: UUID
    site_id: fields.Field[str] = fields.CharField(max_length=limits.STREAM_SITE_ID)
    # The experiment that the conversation is about; not a foreign key, the conversation may come first.
    experiment_id: fields.Field[UUID | None] = fields.UUIDField(null=True)
    # Loaded by `StreamRepository.create`; otherwise awaited.
    projection: "fields.OneToOneRelation[StreamProjection]"
    created_at: fields.Field[datetime] = fields.DatetimeField(db_default=NOW)

    _no_comments = NO_COMMENTS

    class Meta:
        table = "streams"

    async def delete(self, using_db: BaseDBAsyncClient | None = None) -> None:
        """Delete the conversation as `StreamRepository.delete` does: its id is never used again."""
        await (using_db or self._choose_db(for_write=True)).execute_query_dict(DELETE_STREAM, [self.pk, None])
