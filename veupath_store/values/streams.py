"""Values of conversations."""

from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from pydantic import BaseModel, ConfigDict

DEFAULT_NAME: Final = "New Conversation"
"""The name of a conversation that nobody has named."""


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


class ProjectionSummary(BaseModel):
    """A conversation as a list shows it: everything but its plan, which is never read for it.

    Attributes:
        stream_id: The conversation.
        user_id: Its owner.
        site_id: Its site.
        name: Unique within owner and site.
        record_type: As in the plan, or ``None``.
        wdk_strategy_id: Its saved strategy on the WDK server, or ``None``.
        is_saved: Whether that strategy is saved there, not a draft.
        model_id: The language model chosen for it, or ``None``.
        message_count: User's and assistant's messages.
        step_count: Steps of the plan.
        result_count: Records that the plan's root finds, or ``None`` while unknown.
        last_event_id: The last log entry that is folded in, or ``None``.
        updated_at: When it last changed (UTC).
        dismissed_at: When it was dismissed (UTC), or ``None``.
        dismissed_reason: Why it was dismissed, or ``None``.
        gene_set_id: The gene set that was made from it, or ``None``.
        gene_set_auto_imported: Whether that was done automatically once.
    """

    model_config = ConfigDict(frozen=True)

    stream_id: UUID
    user_id: UUID
    site_id: str
    name: str
    record_type: str | None
    wdk_strategy_id: int | None
    is_saved: bool
    model_id: str | None
    message_count: int
    step_count: int
    result_count: int | None
    last_event_id: str | None
    updated_at: datetime
    dismissed_at: datetime | None
    dismissed_reason: DismissReason | None
    gene_set_id: UUID | None
    gene_set_auto_imported: bool
