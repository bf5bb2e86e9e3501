"""What the event log holds of one user: the part of an account's export that no table has."""

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, Final
from uuid import UUID

from veupath_store.errors import NotFoundError
from veupath_store.events.log.current import required_log
from veupath_store.events.log.keys import LogKey
from veupath_store.events.log.log import EventLog
from veupath_store.events.project.catch_up import catch_up
from veupath_store.events.shown import events_of
from veupath_store.session import get_engine

_STREAMS: Final = """
SELECT s.id, p.stream_id IS NOT NULL AND p.last_event_id IS NULL AS is_unlogged
FROM streams s LEFT JOIN stream_projections p ON p.user_id = s.user_id AND p.stream_id = s.id
WHERE s.user_id = $1 AND ($2::text IS NULL OR s.site_id = $2) ORDER BY s.id"""
_OPERATIONS: Final = "SELECT id FROM operations WHERE user_id = $1 AND stream_id IS NULL ORDER BY id"


async def logged_events(user_id: UUID, site_id: str | None) -> AsyncIterator[dict[str, Any]]:
    """The events of the user's conversations, and of operations without one, each log in its order.

    A round trip to Redis for each piece of a log, which has some megabytes at most. No connection is held meanwhile. A
    conversation that is deleted meanwhile is left out.

    Args:
        site_id: Only conversations of this site; ``None`` for all, and the operations.
    """
    log, client = required_log(), await get_engine().open()
    for row in await client.execute_rows(_STREAMS, [user_id, site_id]):
        if row["is_unlogged"]:
            with suppress(NotFoundError):
                await catch_up(log, row["id"])  # what is under its id until then may be somebody else's
        async for event in _events(log, LogKey.stream(row["id"])):
            yield {"user_id": str(user_id), "stream_id": str(row["id"]), **event}
    for row in await client.execute_rows(_OPERATIONS, [user_id]) if site_id is None else ():
        async for event in _events(log, LogKey.operation(row["id"])):
            yield {"user_id": str(user_id), "stream_id": None, **event, "operation_id": str(row["id"])}


async def _events(log: EventLog, key: LogKey) -> AsyncIterator[dict[str, Any]]:
    wanted = events_of(None)
    async for entries in log.pages(key):
        for entry in entries:
            event = wanted(entry)
            if event is not None:
                yield event.model_dump(mode="json")
