"""The streams table."""

from typing import TYPE_CHECKING
from uuid import UUID

from tortoise import fields
from tortoise.models import Model

from veupath_store import limits
from veupath_store.models.fields import NOW
from veupath_store.models.user import User

if TYPE_CHECKING:
    from veupath_store.models.stream_projection import StreamProjection


class Stream(Model):
    """One conversation: its identity and its owner. What changes is in its `StreamProjection`."""

    id = fields.UUIDField(primary_key=True)
    user: fields.ForeignKeyRelation[User] = fields.ForeignKeyField(
        "store.User", related_name="streams", on_delete=fields.CASCADE
    )
    user_id: UUID
    site_id = fields.CharField(max_length=limits.STREAM_SITE_ID)
    # The experiment that the conversation is about; not a foreign key, the conversation may come first.
    experiment_id = fields.UUIDField(null=True)
    # Loaded by `StreamRepository.create`; otherwise awaited.
    projection: "fields.OneToOneRelation[StreamProjection]"
    created_at = fields.DatetimeField(db_default=NOW)

    class Meta:
        table = "streams"
