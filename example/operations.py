"""Operations: what runs for a researcher, how far it is, and how to stop it, in whatever process it runs."""

from uuid import UUID

from fastapi import APIRouter, Response

from example.people import Logs, Operations, UserId
from veupath_store import NotFoundError
from veupath_store.integrations.fastapi import PROBLEM_RESPONSES, LastEventId, event_stream
from veupath_store.repositories import Page
from veupath_store.values import OperationStatusView, OperationSummary

router = APIRouter(prefix="/operations", tags=["operations"], responses=PROBLEM_RESPONSES)


@router.get("")
async def page_active(user_id: UserId, operations: Operations) -> Page[OperationSummary]:
    """What runs now: a browser that was closed finds its jobs again."""
    return await operations.page_active(user_id)


@router.get("/{operation_id}")
async def get(operation_id: UUID, operations: Operations) -> OperationStatusView:
    """How far it is."""
    found = await operations.get_status(operation_id)
    if found is None:
        raise NotFoundError("operation")
    return found


@router.post("/{operation_id}/cancel")
async def cancel(operation_id: UUID, operations: Operations) -> OperationStatusView:
    """Ask its worker to stop."""
    return await operations.request_cancel(operation_id)


@router.get("/{operation_id}/events")
async def events(
    operation_id: UUID, logs: Logs, after: str | None = None, last_event_id: LastEventId = None
) -> Response:
    """Its events, until it has ended."""
    return event_stream(await logs.follow_operation(operation_id, position=last_event_id or after))
