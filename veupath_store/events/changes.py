"""What a repository changed in one conversation, on its way to becoming an event."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from veupath_store.events.entries import Entry, Position
from veupath_store.events.patched import PATCHED, Claim, Origin, patch_data, patch_raw


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """A write that the table holds already.

    Attributes:
        stream_id: The conversation.
        fields: The new values by column.
        created: Whether it is a beginning: what the log holds before it does not count.
        claim: When the WDK id was claimed, where that is repeated.
        order: Microseconds by which `updated_at` is earlier than the entry.
        updated_at: Instead of the entry's own time.
        dismissed_at: Instead of the entry's own time.
        decides: For what is decided here between conversations, and nobody wished: by column, what the log said when it
            was. What others have put in its place until the change is in the log outlives it.
    """

    stream_id: UUID
    fields: Mapping[str, Any]
    created: bool = False
    order: int | None = None
    claim: Claim | None = None
    updated_at: datetime | None = None
    dismissed_at: datetime | None = None
    decides: Mapping[str, Any] = field(default_factory=dict)

    @property
    def sets_plan(self) -> bool:
        """Whether the table holds this change's plan: a beginning has one, too, the empty one."""
        return self.created or "plan" in self.fields

    def raw(self, origin: Origin) -> bytes:
        """The data of its event, as the log is to hold it.

        Args:
            origin: The transaction that writes it.
        """
        return patch_raw(self._data(self.fields, origin))

    def entry(self, position: Position) -> Entry:
        """Its event as the fold needs it: without the plan, which the table holds already."""
        fields = {column: value for column, value in self.fields.items() if column != "plan"}
        return Entry(position=position, type=PATCHED, raw=patch_raw(self._data(fields, None)))

    def _data(self, fields: Mapping[str, Any], origin: Origin | None) -> dict[str, Any]:
        return patch_data(
            fields,
            created=self.created,
            origin=origin,
            order=self.order,
            claim=self.claim,
            updated_at=self.updated_at,
            dismissed_at=self.dismissed_at,
        )
