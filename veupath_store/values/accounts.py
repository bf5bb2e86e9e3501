"""Values of users: the application's own, by fixed ids, and what a purge does with the others."""

from enum import StrEnum
from typing import Final
from uuid import UUID

from veupath_store.values.value import Value

SYSTEM_USER_ID: Final = UUID("00000000-0000-4000-8000-000000000001")
"""The owner of what no user asked for."""

SYSTEM_STREAM_ID: Final = UUID("00000000-0000-4000-8000-000000000002")
"""The conversation that such work logs to."""

SYSTEM_SITE_ID: Final = "veupathdb"
"""The site of that conversation: the portal of all."""


class PurgeMode(StrEnum):
    """What a purge does with conversations that are linked to a WDK strategy."""

    DELETE = "delete"
    """Deletes them like all others."""
    DISMISS = "dismiss"
    """Keeps and dismisses them: the strategy lives on at the WDK server, and a sync would only bring them back."""


class PurgeReport(Value):
    """What a purge did, or would do.

    Attributes:
        deleted: Rows deleted, by table; every table that holds users' rows is named.
        dismissed: Conversations that were kept, dismissed and without their messages.
        released: Public control sets that stay, without an owner.
        stream_ids: The deleted conversations. Their logs are removed.
        kept_ids: The conversations that were kept. Their messages are removed from their logs.
        operation_ids: The deleted operations without a conversation. Their logs are removed.
        dry_run: Whether nothing was changed.
    """

    deleted: dict[str, int]
    dismissed: int
    released: int
    stream_ids: tuple[UUID, ...]
    kept_ids: tuple[UUID, ...]
    operation_ids: tuple[UUID, ...]
    dry_run: bool
