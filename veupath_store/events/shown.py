"""What a reader is shown of an entry."""

from collections.abc import Callable
from typing import Any, Final
from uuid import UUID

from veupath_store.events.entries import Entry
from veupath_store.events.patched import PATCHED
from veupath_store.events.text import decoded
from veupath_store.validation import as_operation_id, legacy_operation_id
from veupath_store.values import LoggedEvent, Message, MessageRole

_ROLES: Final = {"user_message": MessageRole.USER, "assistant_message": MessageRole.ASSISTANT}


def events_of(operation: UUID | None) -> Callable[[Entry], LoggedEvent | None]:
    """Takes all events but the store's own, or one operation's."""
    usual = str(operation)

    def is_its(entry: Entry) -> bool:
        """Whether it is the operation's, by its id or by its old one; the usual case costs a comparison of texts."""
        given = entry.operation_id
        return given == usual or (legacy_operation_id(given) is not None and _operation(entry) == operation)

    def event(entry: Entry) -> LoggedEvent | None:
        if entry.type == PATCHED or (operation is not None and not is_its(entry)):
            return None
        return LoggedEvent(
            id=str(entry.position),
            created_at=entry.position.time,
            type=entry.type,
            operation_id=_operation(entry),
            data=decoded(entry.raw),
        )

    return event


def message(entry: Entry) -> Message | None:
    """The message that an entry holds, if it does."""
    role = _ROLES.get(entry.type)
    data = None if role is None else decoded(entry.raw)
    if role is None or data is None:
        return None
    return Message(
        id=str(entry.position),
        created_at=entry.position.time,
        role=role,
        message_id=_text(data.get("messageId")),
        content=_text(data.get("content")) or "",
        operation_id=_operation(entry),
        data=data,
    )


def _text(value: Any) -> str | None:  # noqa: ANN401 - whatever the event holds
    return value if isinstance(value, str) else None


def _operation(entry: Entry) -> UUID | None:
    try:
        return as_operation_id(entry.operation_id, "operation_id")
    except ValueError:  # none, or an older application's
        return None
