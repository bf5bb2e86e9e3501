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
    wdk_strategy_id: int | None
    gene_set_id: UUID | None


class Change(BaseModel):
    plan: dict[str, Any] | None = None
    name: str | None = None
    wdk_strategy_id: int | None = None
    expected: int | None = None


@router.post("/chats", status_code=202)
async def ask_anew(question: Question, me: UserId) -> Asked:
    """A new conversation, its first message and its operation: all of them, or none."""
    async with async_session_factory() as session:
        chat = await StreamRepository(session).for_user(me).create(me, SITE)
        said = Event(type="user_message", data={"content": question.content, "messageId": str(uuid4())})
        await Projector().append(chat.id, [said], session=session)
        operation = await _register(OperationRepository(session).for_user(me), me, chat.id)
    return Asked(stream_id=chat.id, operation_id=operation.id)


@router.post("/chats/{stream_id}/messages", status_code=202)
async def ask(stream_id: UUID, question: Question, me: UserId) -> Asked:
    """One more question; 409 while one is answered."""
    async with async_session_factory() as session:
        operation = await _register(OperationRepository(session).for_user(me), me, stream_id)
        said = {"content": question.content, "messageId": str(uuid4())}
        events = [Event(type="user_message", data=said, operation_id=operation.id)]
        await Projector().append(stream_id, events, session=session)
    return Asked(stream_id=stream_id, operation_id=operation.id)


async def _register(operations: OperationRepository, me: UUID, stream_id: UUID) -> OperationSummary:
    return await operations.register(me, "chat", stream_id=stream_id, max_attempts=3)


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
        wdk_strategy_id=found.wdk_strategy_id,
        gene_set_id=found.gene_set_id,
    )


@router.patch("/chats/{stream_id}", status_code=204)
async def change(stream_id: UUID, change: Change, streams: Streams) -> None:
    """Save what a tab has changed; 409 where another tab has saved a plan since this one read it."""
    await streams.update_projection(
        stream_id,
        name=change.name,
        plan=change.plan,
        wdk_strategy_id=change.wdk_strategy_id,
        expected=change.expected,
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


@router.get("/operations/{operation_id}/events")
async def operation_events(operation_id: UUID, logs: Logs) -> Response:
    return event_stream(await logs.follow_operation(operation_id))


@router.post("/operations/{operation_id}/cancel", status_code=202)
async def cancel(operation_id: UUID, operations: Operations) -> None:
    await operations.request_cancel(operation_id)


@router.post("/sync")
async def sync(strategies: list[dict[str, Any]], me: UserId, streams: Streams) -> SyncReport:
    """Take over what the WDK server lists."""
    return await streams.sync_wdk(me, SITE, strategies)
