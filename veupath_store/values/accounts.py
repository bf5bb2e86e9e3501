"""Values of purge and export."""

from enum import StrEnum
from uuid import UUID

from pydantic import BaseModel, ConfigDict


class PurgeMode(StrEnum):
    """What a purge does with conversations that are linked to a WDK strategy."""

    DELETE = "delete"
    """Deletes them like all others."""
    DISMISS = "dismiss"
    """Keeps and dismisses them: the strategy lives on at the WDK server, and a sync would only bring them back."""


class PurgeReport(BaseModel):
    """What a purge did, or would do.

    Attributes:
        deleted: Rows deleted, by table; every table that holds users' rows is named.
        dismissed: Conversations that were dismissed instead.
        released: Public control sets that stay, as nobody's.
        stream_ids: The deleted conversations, whose logs must go too.
        operation_ids: The deleted operations without a conversation, whose logs must go too.
        dry_run: Whether nothing was changed.
    """

    model_config = ConfigDict(frozen=True)

    deleted: dict[str, int]
    dismissed: int
    released: int
    stream_ids: tuple[UUID, ...]
    operation_ids: tuple[UUID, ...]
    dry_run: bool
