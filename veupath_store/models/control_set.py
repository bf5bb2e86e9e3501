"""The control_sets table."""

from typing import Any
from uuid import UUID

from tortoise import fields
from tortoise.models import Model

from veupath_store import limits
from veupath_store.models.fields import EMPTY_ARRAY, NOW, JSONField
from veupath_store.models.user import User


class ControlSet(Model):
    """Reusable lists of genes that a search should find (positive) and should not find (negative)."""

    id = fields.UUIDField(primary_key=True)
    # The owner; null for a set that is nobody's, as a public set whose owner was deleted.
    user: fields.ForeignKeyNullableRelation[User] = fields.ForeignKeyField(
        "store.User", related_name="control_sets", null=True, on_delete=fields.SET_NULL
    )
    user_id: UUID | None
    name = fields.CharField(max_length=limits.NAME)
    site_id = fields.CharField(max_length=limits.SITE_ID)
    record_type = fields.CharField(max_length=limits.RECORD_TYPE)
    positive_ids: Any = JSONField(db_default=EMPTY_ARRAY)
    negative_ids: Any = JSONField(db_default=EMPTY_ARRAY)
    source = fields.CharField(max_length=limits.SOURCE, null=True)
    tags: Any = JSONField(db_default=EMPTY_ARRAY)
    provenance_notes = fields.TextField(null=True)
    version = fields.IntField(db_default=1)
    is_public = fields.BooleanField(db_default=False)
    created_at = fields.DatetimeField(db_default=NOW)
    # A set that the application ships; public, nobody's, known by its site and name.
    is_seed = fields.BooleanField(db_default=False)

    class Meta:
        table = "control_sets"
