"""The stream_projections table."""

from datetime import datetime
from uuid import UUID

from tortoise import fields
from tortoise.models import Model

from veupath_store.documents.json import JsonObject
from veupath_store.documents.plans import Step, flatten_plan, root_step_id
from veupath_store.inputs import limits
from veupath_store.models.fields import ALL_UNLOGGED, EMPTY_OBJECT, NO_COMMENTS, NOW, JSONField
from veupath_store.models.gene_set import GeneSetRow
from veupath_store.models.stream import Stream


class StreamProjection(Model):
    """What a conversation's events add up to: a cache for fast reads."""

    stream: fields.OneToOneRelation[Stream] = fields.OneToOneField(
        "store.Stream", related_name="projection", primary_key=True, on_delete=fields.CASCADE
    )
    stream_id: UUID
    # The stream's owner, repeated here so that lists need no join; the foreign key to the stream covers both.
    user_id: fields.Field[UUID] = fields.UUIDField()
    site_id: fields.Field[str] = fields.CharField(max_length=limits.STREAM_SITE_ID)
    name: fields.Field[str] = fields.CharField(max_length=limits.NAME)
    record_type: fields.Field[str | None] = fields.CharField(max_length=limits.RECORD_TYPE, null=True)
    wdk_strategy_id: fields.Field[int | None] = fields.BigIntField(null=True)
    is_saved: fields.Field[bool] = fields.BooleanField(db_default=False)
    model_id: fields.Field[str | None] = fields.CharField(max_length=limits.MODEL_ID, null=True)
    message_count: fields.Field[int] = fields.IntField(db_default=0)
    step_count: fields.Field[int] = fields.IntField(db_default=0)
    plan: fields.Field[JsonObject] = JSONField(db_default=EMPTY_OBJECT)
    result_count: fields.Field[int | None] = fields.IntField(null=True)
    # The id of the last log entry that is folded in, ``ms-seq``; to be compared as two integers.
    last_event_id: fields.Field[str | None] = fields.CharField(max_length=limits.LOG_POSITION, null=True)
    updated_at: fields.Field[datetime] = fields.DatetimeField(db_default=NOW)
    dismissed_at: fields.Field[datetime | None] = fields.DatetimeField(null=True)
    # Why it is dismissed, a `DismissReason`.
    dismissed_reason: fields.Field[str | None] = fields.CharField(max_length=limits.DISMISSED_REASON, null=True)
    gene_set: fields.ForeignKeyNullableRelation[GeneSetRow] = fields.ForeignKeyField(
        "store.GeneSetRow", related_name="projections", null=True, on_delete=fields.SET_NULL
    )
    gene_set_id: UUID | None
    # Set once, when its gene set was imported automatically; never cleared.
    gene_set_auto_imported: fields.Field[bool] = fields.BooleanField(db_default=False)
    # The steps of a graph under construction, which has several outputs and no root yet; null where the plan has them.
    unrooted_steps: fields.Field[list[JsonObject] | None] = JSONField(null=True)
    # Messages up to this log entry are neither counted nor listed.
    messages_after: fields.Field[str | None] = fields.CharField(max_length=limits.LOG_POSITION, null=True)
    # What the log has lost for good; null for nothing.
    lost: fields.Field[JsonObject | None] = JSONField(null=True)
    # The last name that the WDK server gave to strategy `wdk_name_of`; it says nothing of another one.
    wdk_name: fields.Field[str | None] = fields.CharField(max_length=limits.NAME, null=True)
    wdk_name_of: fields.Field[int | None] = fields.BigIntField(null=True)
    # Raised by whatever changes the plan or the steps without a root.
    plan_version: fields.Field[int] = fields.IntField(db_default=0)
    # The columns that are not in the log yet: see veupath_store.models.unlogged.
    unlogged: fields.Field[dict[str, str]] = JSONField(db_default=ALL_UNLOGGED)

    _no_comments = NO_COMMENTS

    class Meta:
        table = "stream_projections"

    @property
    def steps(self) -> list[Step]:
        """The steps as a flat list; of a graph with a root derived from the plan at each read, inputs first."""
        return flatten_plan(self.plan) if self.unrooted_steps is None else list(self.unrooted_steps)

    @property
    def root_step_id(self) -> str | None:
        """The id of the plan's root step, or ``None`` where the plan has no root."""
        return root_step_id(self.plan)
