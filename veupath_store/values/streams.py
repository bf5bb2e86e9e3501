"""Values of conversations."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final
from uuid import UUID

from pydantic import Field, SkipValidation

from veupath_store.documents.plans import check_plan
from veupath_store.errors import InvalidInputError
from veupath_store.inputs.validation import (
    Count,
    Flag,
    Known,
    Name,
    OptionalCount,
    OptionalId,
    RecordType,
    WdkId,
    checked,
)
from veupath_store.values.value import Checked, Value

DEFAULT_NAME: Final = "New Conversation"
"""The name of a conversation that was not given one."""


class DismissReason(StrEnum):
    """Why a conversation is dismissed."""

    USER = "user"
    WDK_ORPHAN = "wdk_orphan"
    PURGE = "purge"


class ProjectionSort(StrEnum):
    """The order of a list of conversations."""

    RECENT = "recent"
    """The last changed first; of dismissed ones, the last dismissed first."""
    NAME = "name"
    """By name, as the database's collation orders it; within one site."""


class ProjectionSummary(Value):
    """A conversation as a list shows it: everything but its plan, which is never read for it.

    Attributes:
        name: Unique within owner and site.
        record_type: As in the plan, or ``None``.
        wdk_strategy_id: Its saved strategy on the WDK server, or ``None``.
        is_saved: Whether that strategy is saved there, not a draft.
        model_id: The language model chosen for it, or ``None``.
        message_count: User's and assistant's messages.
        plan_version: Raised by whatever changes the plan: what `update_projection` takes as `expected`.
        step_count: Steps of the plan.
        result_count: Records that the plan's root finds, or ``None`` while unknown.
        last_event_id: The last log entry that is folded in, or ``None``.
        experiment_id: The experiment that it is about, or ``None``.
        updated_at: When it last changed (UTC).
        dismissed_at: When it was dismissed (UTC), or ``None``.
        dismissed_reason: Why it was dismissed, or ``None``; text that this version does not know, where a newer one has
            written it.
        gene_set_id: The gene set that was made from it, or ``None``.
        gene_set_auto_imported: Whether that was done automatically once.
    """

    stream_id: UUID
    user_id: UUID
    site_id: str
    name: str
    record_type: str | None
    wdk_strategy_id: int | None
    is_saved: bool
    model_id: str | None
    message_count: int
    plan_version: int
    step_count: int
    result_count: int | None
    last_event_id: str | None
    experiment_id: UUID | None
    created_at: datetime
    updated_at: datetime
    dismissed_at: datetime | None
    dismissed_reason: Known[DismissReason] | None
    gene_set_id: UUID | None
    gene_set_auto_imported: bool


def _plan(value: object, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidInputError(path, "a JSON object is needed")
    check_plan(value, path)
    return value


class ProjectionPatch(Checked):
    """The fields of a projection to change. A field that is not given stays; a field given as ``None`` is cleared.

    Attributes:
        name: The wanted name; a number is added where it is taken.
        record_type: The record type.
        wdk_strategy_id: The WDK strategy to claim, or ``None`` to unlink. Another conversation of the same user and
            site that has it loses it.
        is_saved: Whether that strategy is saved on the WDK server.
        plan: The whole new plan. `step_count` follows from it unless it is given too.
        step_count: The number of steps.
        result_count: The number of records found, or ``None`` for unknown.
        gene_set_id: One of the owner's gene sets, or ``None`` to unlink.
        gene_set_auto_imported: A latch: ``True`` sets it for good, ``False`` changes nothing.
    """

    name: Name = ""
    record_type: RecordType = ""
    wdk_strategy_id: WdkId = None
    is_saved: Flag = False
    plan: Annotated[Mapping[str, object], SkipValidation(), checked(_plan)] = Field(default_factory=dict)
    step_count: Count = 0
    result_count: OptionalCount = None
    gene_set_id: OptionalId = None
    gene_set_auto_imported: Flag = False
