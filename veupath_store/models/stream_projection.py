"""The stream_projections table."""

from typing import Any
from uuid import UUID

from tortoise import fields
from tortoise.models import Model

from veupath_store import limits
from veupath_store.models.fields import EMPTY_OBJECT, NOW, JSONField
from veupath_store.models.gene_set import GeneSetRow
from veupath_store.models.stream import Stream
from veupath_store.plans import Step, flatten_plan, root_step_id


class StreamProjection(Model):
    """What a conversation's events add up to: a cache for fast reads."""

    stream: fields.OneToOneRelation[Stream] = fields.OneToOneField(
        "store.Stream", related_name="projection", primary_key=True, on_delete=fields.CASCADE
    )
    stream_id: UUID
    # The stream's owner, repeated here so that lists need no join; the foreign key to the stream covers both.
    user_id = fields.UUIDField()
    site_id = fields.CharField(max_length=limits.STREAM_SITE_ID)
    name = fields.CharField(max_length=limits.NAME)
    record_type = fields.CharField(max_length=limits.RECORD_TYPE, null=True)
    wdk_strategy_id = fields.BigIntField(null=True)
    # The log entry that claimed the strategy; null where the claim is not from the log. The later claim wins.
    wdk_event_id = fields.CharField(max_length=limits.LOG_POSITION, null=True)
    is_saved = fields.BooleanField(db_default=False)
    model_id = fields.CharField(max_length=limits.MODEL_ID, null=True)
    message_count = fields.IntField(db_default=0)
    step_count = fields.IntField(db_default=0)
    plan: Any = JSONField(db_default=EMPTY_OBJECT)
    result_count = fields.IntField(null=True)
    # The id of the last log entry that is folded in, ``ms-seq``; to be compared as two integers.
    last_event_id = fields.CharField(max_length=limits.LOG_POSITION, null=True)
    updated_at = fields.DatetimeField(db_default=NOW)
    dismissed_at = fields.DatetimeField(null=True)
    # Why it is dismissed, a `DismissReason`.
    dismissed_reason = fields.CharField(max_length=limits.DISMISSED_REASON, null=True)
    gene_set: fields.ForeignKeyNullableRelation[GeneSetRow] = fields.ForeignKeyField(
        "store.GeneSetRow", related_name="projections", null=True, on_delete=fields.SET_NULL
    )
    gene_set_id: UUID | None
    # Set once, when its gene set was imported automatically; never cleared.
    gene_set_auto_imported = fields.BooleanField(db_default=False)

    class Meta:
        table = "stream_projections"

    @property
    def steps(self) -> list[Step]:
        """The plan's steps as a flat list, inputs before the steps that use them; derived at each read."""
        return flatten_plan(self.plan)

    @property
    def root_step_id(self) -> str | None:
        """The id of the plan's root step, or ``None`` where the plan has no root."""
        return root_step_id(self.plan)
