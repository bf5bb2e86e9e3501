"""Conversations: the sidebar, strategies, questions, and their events as they happen."""

from typing import Any
from uuid import UUID, uuid4

from fastapi import APIRouter, Response
from pydantic import BaseModel

from tests.acceptance.pathfinder.people import Logs, Operations, Streams, UserId
from veupath_store import Event, NotFoundError, OperationRepository, Projector, StreamRepository, async_session_factory
from veupath_store.integrations.fastapi import LastEventId, event_stream
from veupath_store.repositories import Page
from veupath_store.values import LogPage, Message, OperationSummary, ProjectionSummary, SyncReport

SITE = "plasmodb"

router = APIRouter(tags=["chats"])


class Question(BaseModel):
    content: str


class Asked(BaseModel):
    stream_id: UUID
    operation_id: UUID


class Opened(BaseModel):
    name: str
    message_count: int
    steps: list[dict[str, Any]]
    root_step_id: str | None
    plan: dict[str, Any]
    plan_version: int


class Change(BaseModel):
    plan: dict[str, Any] | None = None
    wdk_strategy_id: int | None = None
    expected: int | None = None


@router.post("/chats", status_code=202)
async def ask_anew(question: Question, me: UserId) -> Asked:
    """A new conversation, its first message and its operation: all of them, or none."""
    async with async_session_factory() as session:
        chat = await StreamRepository(session).for_user(me).create(me, SITE)
        said = Event(type="user_message", data={"content": question.content, "messageId": str(uuid4())})
        await Projector().append(chat.id, [said], session=session)
        operations = OperationRepository(session).for_user(me)
        operation = await operations.register(me, "chat", stream_id=chat.id, max_attempts=3)
    return Asked(stream_id=chat.id, operation_id=operation.id)


@router.get("/chats")
async def sidebar(me: UserId, streams: Streams, *, dismissed: bool = False) -> Page[ProjectionSummary]:
    return await streams.page_projections(me, SITE, dismissed=dismissed)


@router.get("/chats/{stream_id}")
async def open_chat(stream_id: UUID, streams: Streams) -> Opened:
    found = await streams.get_projection(stream_id)
    if found is None:
        raise NotFoundError("conversation")
    return Opened(
        name=found.name,
        message_count=found.message_count,
        steps=found.steps,
        root_step_id=found.root_step_id,
        plan=found.plan,
        plan_version=found.plan_version,
    )


@router.patch("/chats/{stream_id}", status_code=204)
async def change(stream_id: UUID, change: Change, streams: Streams) -> None:
    """Save what a tab has changed; 409 where another tab has saved a plan since this one read it."""
    await streams.update_projection(
        stream_id, plan=change.plan, wdk_strategy_id=change.wdk_strategy_id, expected=change.expected
    )


@router.get("/chats/{stream_id}/messages")
async def messages(stream_id: UUID, logs: Logs) -> LogPage[Message]:
    return await logs.page_messages(stream_id)


@router.get("/chats/{stream_id}/events")
async def events(stream_id: UUID, logs: Logs, last_event_id: LastEventId = None) -> Response:
    return event_stream(await logs.follow(stream_id, position=last_event_id))


@router.get("/operations/{operation_id}")
async def operation(operation_id: UUID, operations: Operations) -> OperationSummary:
    found = await operations.get_summary(operation_id)
    if found is None:
        raise NotFoundError("operation")
    return found


@router.post("/sync")
async def sync(strategies: list[dict[str, Any]], me: UserId, streams: Streams) -> SyncReport:
    """Take over what the WDK server lists."""
    return await streams.sync_wdk(me, SITE, strategies)
