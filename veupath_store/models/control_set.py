"""The control_sets table."""

from datetime import datetime
from uuid import UUID

from tortoise import fields
from tortoise.models import Model

from veupath_store.inputs import limits
from veupath_store.models.fields import EMPTY_ARRAY, NO_COMMENTS, NOW, JSONField
from veupath_store.models.user import User


class ControlSet(Model):
    """Reusable lists of genes that a search should find (positive) and should not find (negative)."""

    id: fields.Field[UUID] = fields.UUIDField(primary_key=True)
    # The owner; null for a set without an owner, as a public set whose owner was deleted.
    user: fields.ForeignKeyNullableRelation[User] = fields.ForeignKeyField(
        "store.User", related_name="control_sets", null=True, on_delete=fields.SET_NULL
    )
    user_id: UUID | None
    name: fields.Field[str] = fields.CharField(max_length=limits.NAME)
    site_id: fields.Field[str] = fields.CharField(max_length=limits.SITE_ID)
    record_type: fields.Field[str] = fields.CharField(max_length=limits.RECORD_TYPE)
    positive_ids: fields.Field[list[str]] = JSONField(db_default=EMPTY_ARRAY)
    negative_ids: fields.Field[list[str]] = JSONField(db_default=EMPTY_ARRAY)
    source: fields.Field[str | None] = fields.CharField(max_length=limits.SOURCE, null=True)
    tags: fields.Field[list[str]] = JSONField(db_default=EMPTY_ARRAY)
    provenance_notes: fields.Field[str | None] = fields.TextField(null=True)  # type: ignore[assignment] # upstream's is never null
    version: fields.Field[int] = fields.IntField(db_default=1)
    is_public: fields.Field[bool] = fields.BooleanField(db_default=False)
    created_at: fields.Field[datetime] = fields.DatetimeField(db_default=NOW)
    # A set that the application ships; public, without an owner, known by its site and name.
    is_seed: fields.Field[bool] = fields.BooleanField(db_default=False)

    _no_comments = NO_COMMENTS

    class Meta:
        table = "control_sets"
