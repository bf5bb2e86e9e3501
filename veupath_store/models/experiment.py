"""The experiments table."""

from datetime import datetime
from uuid import UUID

from tortoise import fields
from tortoise.models import Model

from veupath_store.documents.json import JsonObject
from veupath_store.inputs import limits
from veupath_store.models.fields import NO_COMMENTS, NOW, JSONField
from veupath_store.models.user import User


class ExperimentRow(Model):
    """One evaluation run, a JSON document; it may belong to a batch, a benchmark, or both."""

    id: fields.Field[UUID] = fields.UUIDField(primary_key=True)
    user: fields.ForeignKeyRelation[User] = fields.ForeignKeyField(
        "store.User", related_name="experiments", on_delete=fields.CASCADE
    )
    user_id: UUID
    site_id: fields.Field[str] = fields.CharField(max_length=limits.SITE_ID)
    name: fields.Field[str] = fields.CharField(max_length=limits.NAME, db_default="")
    status: fields.Field[str] = fields.CharField(max_length=limits.STATUS, db_default="pending")
    data: fields.Field[JsonObject] = JSONField()
    batch_id: fields.Field[str | None] = fields.CharField(max_length=limits.BATCH_ID, null=True)
    benchmark_id: fields.Field[str | None] = fields.CharField(max_length=limits.BATCH_ID, null=True)
    created_at: fields.Field[datetime] = fields.DatetimeField(db_default=NOW)
    updated_at: fields.Field[datetime] = fields.DatetimeField(db_default=NOW)
    # Raised by each save; a save that names another one than the stored is stale.
    version: fields.Field[int] = fields.IntField(db_default=1)
    # The one that its benchmark is named after.
    is_primary: fields.Field[bool] = fields.BooleanField(db_default=False)

    _no_comments = NO_COMMENTS

    class Meta:
        table = "experiments"
