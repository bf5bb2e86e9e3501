"""The gene_sets table."""

from datetime import datetime
from uuid import UUID

from tortoise import fields
from tortoise.models import Model

from veupath_store.documents.json import Json, JsonObject
from veupath_store.inputs import limits
from veupath_store.models.fields import EMPTY_ARRAY, NO_COMMENTS, NOW, JSONField
from veupath_store.models.user import User


class GeneSetRow(Model):
    """A list of gene ids for the workbench; it may be derived from others or imported from a strategy."""

    id: fields.Field[UUID] = fields.UUIDField(primary_key=True)
    user: fields.ForeignKeyRelation[User] = fields.ForeignKeyField(
        "store.User", related_name="gene_sets", on_delete=fields.CASCADE
    )
    user_id: UUID
    site_id: fields.Field[str] = fields.CharField(max_length=limits.SITE_ID)
    name: fields.Field[str] = fields.CharField(max_length=limits.NAME)
    gene_ids: fields.Field[list[str]] = JSONField(db_default=EMPTY_ARRAY)
    source: fields.Field[str] = fields.CharField(max_length=limits.GENE_SET_SOURCE, db_default="paste")
    wdk_strategy_id: fields.Field[int | None] = fields.BigIntField(null=True)
    wdk_step_id: fields.Field[int | None] = fields.BigIntField(null=True)
    search_name: fields.Field[str | None] = fields.CharField(max_length=limits.SEARCH_NAME, null=True)
    record_type: fields.Field[str | None] = fields.CharField(max_length=limits.RECORD_TYPE, null=True)
    parameters: fields.Field[JsonObject | list[Json] | None] = JSONField(null=True)
    parent_set_ids: fields.Field[list[str]] = JSONField(db_default=EMPTY_ARRAY)
    operation: fields.Field[str | None] = fields.CharField(max_length=limits.GENE_SET_OPERATION, null=True)
    step_count: fields.Field[int] = fields.IntField(db_default=1)
    created_at: fields.Field[datetime] = fields.DatetimeField(db_default=NOW)
    # Raised by each save; a save that names another one than the stored is stale.
    version: fields.Field[int] = fields.IntField(db_default=1)

    _no_comments = NO_COMMENTS

    class Meta:
        table = "gene_sets"
