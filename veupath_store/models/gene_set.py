"""The gene_sets table."""

from typing import Any
from uuid import UUID

from tortoise import fields
from tortoise.models import Model

from veupath_store import limits
from veupath_store.models.fields import EMPTY_ARRAY, NOW, JSONField
from veupath_store.models.user import User


class GeneSetRow(Model):
    """A list of gene ids for the workbench; it may be derived from others or imported from a strategy."""

    id = fields.UUIDField(primary_key=True)
    user: fields.ForeignKeyRelation[User] = fields.ForeignKeyField(
        "store.User", related_name="gene_sets", on_delete=fields.CASCADE
    )
    user_id: UUID
    site_id = fields.CharField(max_length=limits.SITE_ID)
    name = fields.CharField(max_length=limits.NAME)
    gene_ids: Any = JSONField(db_default=EMPTY_ARRAY)
    source = fields.CharField(max_length=limits.GENE_SET_SOURCE, db_default="paste")
    wdk_strategy_id = fields.BigIntField(null=True)
    wdk_step_id = fields.BigIntField(null=True)
    search_name = fields.CharField(max_length=limits.SEARCH_NAME, null=True)
    record_type = fields.CharField(max_length=limits.RECORD_TYPE, null=True)
    parameters: Any = JSONField(null=True)
    parent_set_ids: Any = JSONField(db_default=EMPTY_ARRAY)
    operation = fields.CharField(max_length=limits.GENE_SET_OPERATION, null=True)
    step_count = fields.IntField(db_default=1)
    created_at = fields.DatetimeField(db_default=NOW)
    # Raised by each save; a save that names another one than the stored is stale.
    version = fields.IntField(db_default=1)

    class Meta:
        table = "gene_sets"
