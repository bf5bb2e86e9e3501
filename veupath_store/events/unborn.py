"""Logs of conversations that never were: the process died between the log's beginning and the commit of its creation.

No row refers to such a log, so no catch-up comes by. It holds what somebody wrote, and no purge would find it.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Final
from uuid import UUID

from veupath_store.events.entries import Entry
from veupath_store.events.keys import LogKey
from veupath_store.events.log import EventLog
from veupath_store.events.origin import rolled_back
from veupath_store.events.pages import FIRST
from veupath_store.events.patched import begins, origin_of
from veupath_store.session import get_engine

_WITHOUT_ROW: Final = """
SELECT id FROM unnest($1::uuid[]) AS given(id) WHERE NOT EXISTS (SELECT FROM streams s WHERE s.id = given.id)"""


async def remove_unborn(log: EventLog) -> int:
    """Remove the logs whose conversation was never created.

    Goes through the names of all logs: a round trip to Redis and a statement for each 1,000 keys that Redis holds, and
    three more round trips and a statement for each log without a conversation.

    Args:
        log: The event log.

    Returns:
        How many were removed.

    Raises:
        UnavailableError: A server does not answer.
    """
    client, removed = await get_engine().open(), 0
    async for stream_ids in _chunks(log):
        for row in await client.execute_rows(_WITHOUT_ROW, [stream_ids]):
            removed += await _removed(log, row["id"])
    return removed


async def _chunks(log: EventLog) -> AsyncIterator[list[UUID]]:
    cursor = 0
    while True:
        cursor, stream_ids = await log.names.scan(cursor)
        if stream_ids:
            yield stream_ids
        if cursor == 0:
            return


async def _removed(log: EventLog, stream_id: UUID) -> bool:
    """Whether the log was one of a creation that was rolled back, and is gone now.

    A creation that is under way has appended its entry, which is no entry of an aborted transaction; or it has yet to
    do that, and then either finds no log or keeps this one from being removed.
    """
    key = LogKey.stream(stream_id)
    ends = (await log.ends([key]))[0]
    if ends is None:
        return False
    entries = await log.read(key, count=FIRST)
    return len(entries) < FIRST and await _is_unborn(entries) and await log.names.remove_unmoved(key, ends.last)


async def _is_unborn(entries: Sequence[Entry]) -> bool:
    """Whether nobody's creation is in the log: it is empty, or all that begin it were rolled back.

    Others may have appended to it all the same; without a conversation that is nobody's.
    """
    beginnings = [origin_of(entry) for entry in entries if begins(entry)]
    if not entries or not beginnings:
        return not entries  # an empty one is what the end of a unit of work, or a catch-up, has left of it
    # The store's own beginnings name their transaction; what else looks like one is another's event.
    written = {origin for origin in beginnings if origin is not None}
    found = {(origin, None) for origin in written}
    return bool(found) and await rolled_back(await get_engine().open(), found) == found
