"""What is read back from a log."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Generic, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict

E = TypeVar("E", bound=BaseModel)


class LoggedEvent(BaseModel):
    """One event of a log.

    Attributes:
        id: Its entry's id, ``ms-seq``: what an SSE client sends back as its last event id.
        created_at: When it was appended (UTC, to the millisecond).
        type: Its type.
        operation_id: The operation that it belongs to, or ``None``.
        data: Its data; ``None`` where the entry holds no JSON object.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    created_at: datetime
    type: str
    operation_id: UUID | None
    data: Mapping[str, Any] | None


class MessageRole(StrEnum):
    """Who wrote a message."""

    USER = "user"
    ASSISTANT = "assistant"


class Message(BaseModel):
    """One message of a conversation.

    Attributes:
        id: Its entry's id, ``ms-seq``.
        created_at: When it was appended (UTC, to the millisecond).
        role: Who wrote it.
        message_id: The application's own id of it, or ``None``.
        content: Its text; empty where the event has none.
        operation_id: The operation that it belongs to, or ``None``.
        data: All of the event's data.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    created_at: datetime
    role: MessageRole
    message_id: str | None
    content: str
    operation_id: UUID | None
    data: Mapping[str, Any]


class LogPage(BaseModel, Generic[E]):
    """A part of a log.

    Attributes:
        items: What was found, in the order in which it was read.
        position: Where the reading ended: what to pass to go on. ``None`` where nothing was read.
        at_end: Whether that was the end of the log, as it was then. Otherwise there may be more, also after a page
            without items: a page is a bounded piece of reading.
    """

    model_config = ConfigDict(frozen=True)

    items: tuple[E, ...]
    position: str | None
    at_end: bool
