"""The tombstones table."""

from uuid import UUID

from tortoise import fields
from tortoise.models import Model

from veupath_store.models.fields import NOW
from veupath_store.models.user import User


class Tombstone(Model):
    """The id of a deleted document, so that a save that comes late cannot bring it back."""

    id = fields.UUIDField(primary_key=True)
    user: fields.ForeignKeyRelation[User] = fields.ForeignKeyField(
        "store.User", related_name="tombstones", on_delete=fields.CASCADE
    )
    user_id: UUID
    deleted_at = fields.DatetimeField(db_default=NOW)

    class Meta:
        table = "tombstones"
