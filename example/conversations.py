"""Conversations: the sidebar, the questions, and the events of each as a stream that resumes."""

from typing import Any
from uuid import UUID, uuid4

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from example.people import Logs, Operations, Streams, UserId
from veupath_store import Event, NotFoundError, Projector
from veupath_store.integrations.fastapi import PROBLEM_RESPONSES, LastEventId, event_stream
from veupath_store.repositories import Page
from veupath_store.values import LogPage, Message, OperationSummary, OperationType, ProjectionSummary

ATTEMPTS = 3
"""How many workers may try to answer a question, one after another was lost."""

router = APIRouter(prefix="/conversations", tags=["conversations"], responses=PROBLEM_RESPONSES)


class NewConversation(BaseModel):
    """What a conversation begins with."""

    site_id: str = "plasmodb"
    name: str = ""


class Rename(BaseModel):
    """A new name; the store makes it unique."""

    name: str


class Conversation(BaseModel):
    """A conversation as its page shows it."""

    stream_id: UUID
    name: str
    message_count: int
    steps: list[dict[str, Any]]


class Question(BaseModel):
    """What the researcher asks."""

    content: str = Field(min_length=1, max_length=10_000)


@router.post("", status_code=201)
async def create(new: NewConversation, user_id: UserId, streams: Streams) -> Conversation:
    """Begin a conversation."""
    stream = await streams.create(user_id, new.site_id, name=new.name)
    return Conversation(stream_id=stream.id, name=stream.projection.name, message_count=0, steps=[])


@router.get("")
async def page(
    user_id: UserId, streams: Streams, cursor: str | None = None, *, dismissed: bool = False
) -> Page[ProjectionSummary]:
    """The sidebar."""
    return await streams.page_projections(user_id, dismissed=dismissed, cursor=cursor)


@router.get("/{stream_id}")
async def get(stream_id: UUID, streams: Streams) -> Conversation:
    """Open a conversation."""
    projection = await streams.get_projection(stream_id)
    if projection is None:
        raise NotFoundError("conversation")
    return Conversation(
        stream_id=stream_id,
        name=projection.name,
        message_count=projection.message_count,
        steps=projection.steps,
    )


@router.patch("/{stream_id}", status_code=204)
async def rename(stream_id: UUID, change: Rename, streams: Streams) -> None:
    """Rename a conversation."""
    await streams.update_projection(stream_id, name=change.name)


@router.delete("/{stream_id}", status_code=204)
async def dismiss(stream_id: UUID, streams: Streams) -> None:
    """Hide a conversation; it can be restored."""
    await streams.dismiss(stream_id)


@router.post("/{stream_id}/restore", status_code=204)
async def restore(stream_id: UUID, streams: Streams) -> None:
    """Bring a conversation back."""
    await streams.restore(stream_id)


@router.get("/{stream_id}/messages")
async def messages(stream_id: UUID, logs: Logs) -> LogPage[Message]:
    """The newest messages, newest first."""
    return await logs.page_messages(stream_id, newest_first=True)


@router.post("/{stream_id}/messages", status_code=202)
async def ask(stream_id: UUID, question: Question, user_id: UserId, operations: Operations) -> OperationSummary:
    """Ask, and have a worker answer. A second question while one is being answered is a conflict (409).

    The question is appended while its operation is not committed yet: no worker can see the operation before, and a
    conversation that is busy, or somebody else's, gets no question.
    """
    operation = await operations.register(user_id, OperationType.CHAT, stream_id=stream_id, max_attempts=ATTEMPTS)
    said = {"content": question.content, "messageId": str(uuid4())}
    await Projector().append(stream_id, [Event(type="user_message", data=said, operation_id=operation.id)])
    return operation


@router.get("/{stream_id}/events")
async def events(stream_id: UUID, logs: Logs, after: str | None = None, last_event_id: LastEventId = None) -> Response:
    """All that happens, as server-sent events: after the last one that the client has seen, and then as it happens."""
    return event_stream(await logs.follow(stream_id, position=last_event_id or after))
