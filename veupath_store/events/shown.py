"""Which events a reader is shown."""

from collections.abc import Callable
from uuid import UUID

from veupath_store.events.fold.patch import PATCHED
from veupath_store.events.fold.text import decoded
from veupath_store.events.log.entries import Entry
from veupath_store.events.log.following import GAP
from veupath_store.events.turns import operation_of
from veupath_store.inputs.validation import legacy_operation_id
from veupath_store.values import LoggedEvent


def events_of(operation: UUID | None) -> Callable[[Entry], LoggedEvent | None]:
    """Takes all events but the store's own, or one operation's."""
    usual = str(operation)

    def is_its(entry: Entry) -> bool:
        """Whether it is the operation's, by its id, however that is written, or by its old one."""
        given = entry.operation_id
        return given.lower() == usual or (legacy_operation_id(given) is not None and operation_of(entry) == operation)

    def event(entry: Entry) -> LoggedEvent | None:
        if entry.type == PATCHED or not (operation is None or entry.type == GAP or is_its(entry)):
            return None
        return LoggedEvent(
            id=str(entry.position),
            created_at=entry.position.time,
            type=entry.type,
            operation_id=operation_of(entry),
            data=decoded(entry.raw),
        )

    return event
