"""What is read back from a log."""

from datetime import datetime
from enum import StrEnum
from typing import Generic, TypeVar
from uuid import UUID

from pydantic import BaseModel

from veupath_store.documents.json import JsonField, JsonMapping
from veupath_store.values.value import Value

E = TypeVar("E", bound=BaseModel)


class LoggedEvent(Value):
    """One event of a log.

    Attributes:
        id: Its entry's id, ``ms-seq``: what an SSE client sends back as its last event id.
        created_at: When it was appended (UTC, to the millisecond).
        type: Its type.
        operation_id: The operation that it belongs to, or ``None``.
        data: Its data; ``None`` where the entry holds no JSON object.
    """

    id: str
    created_at: datetime
    type: str
    operation_id: UUID | None
    data: JsonMapping | None


class MessageRole(StrEnum):
    """Who wrote a message."""

    USER = "user"
    ASSISTANT = "assistant"


class ToolCall(Value):
    """One call of a tool.

    Attributes:
        id: The application's id of it; empty where the event has none.
        name: The tool; empty where the event does not say.
        arguments: What it was called with; empty where that is no JSON object.
        result: What came of it; ``None`` before its end.
        is_done: Whether its end was logged. ``False`` also of a call that a process left when it died.
    """

    id: str
    name: str
    arguments: JsonMapping
    result: JsonField
    is_done: bool


class TokenUsage(Value):
    """What an answer has cost.

    Attributes:
        prompt_tokens: Tokens read, or ``None`` where no event says.
        completion_tokens: Tokens written, or ``None``.
        total_tokens: Both, or ``None``.
        model_id: The model, or ``None``.
        data: All that the events say of it, by their own keys: these, and others as ``cachedTokens``.
    """

    prompt_tokens: int | None
    completion_tokens: int | None
    total_tokens: int | None
    model_id: str | None
    data: JsonMapping


class SubAgent(Value):
    """What one sub-agent did for an answer.

    Attributes:
        task: Its task, by which the events tell sub-agents apart.
        status: As its end says, ``running`` before.
        tool_calls: Its calls of tools, in the order in which they began.
        token_usage: What it has cost, or ``None`` where no event says.
    """

    task: str
    status: str
    tool_calls: tuple[ToolCall, ...]
    token_usage: TokenUsage | None


class Message(Value):
    """One message of a conversation. An assistant's holds what else was logged of its turn.

    Attributes:
        id: Its entry's id, ``ms-seq``.
        created_at: When it was appended (UTC, to the millisecond).
        role: Who wrote it.
        message_id: The application's own id of it, or ``None``.
        content: Its text; empty where the event has none.
        operation_id: The operation that it belongs to, or ``None``.
        data: All of its own event's data.
        tool_calls: The calls of tools that led to it, in the order in which they began.
        citations: What it cites, in order.
        planning_artifacts: The plans that were made for it, in order.
        reasoning: What the model thought, or ``None``.
        sub_agents: What sub-agents did for it, in the order in which they began.
        token_usage: What it has cost, or ``None`` where no event says, or not yet.
    """

    id: str
    created_at: datetime
    role: MessageRole
    message_id: str | None
    content: str
    operation_id: UUID | None
    data: JsonMapping
    tool_calls: tuple[ToolCall, ...] = ()
    citations: tuple[JsonMapping, ...] = ()
    planning_artifacts: tuple[JsonMapping, ...] = ()
    reasoning: str | None = None
    sub_agents: tuple[SubAgent, ...] = ()
    token_usage: TokenUsage | None = None


class LogPage(Value, Generic[E]):
    """A part of a log.

    Attributes:
        items: What was found, in the order in which it was read.
        position: Where the reading ended: what to pass to go on. ``None`` where nothing was read.
        at_end: Whether that was the end of the log, as it was then. Otherwise there may be more, also after a page
            without items: a page is a bounded piece of reading.
    """

    items: tuple[E, ...]
    position: str | None
    at_end: bool
