"""Removing logs that are still under the names that the SQLAlchemy layer gave them.

`op:op_0123456789ab` belongs to the operation `adopted_id("op_0123456789ab")`, and that id does not give the name back.
So the order to remove such a log stays until the sweep has gone through the names, and derived the id of each:
only a log whose id was ordered goes. Redis may also hold the logs of another database, and those stay.

Only an id of version 5 can stand for such a name, so that other orders are done with at once. The order that waits
has the time ``infinity``.
"""

from collections.abc import AsyncIterator
from typing import Final

from veupath_store.events.keys import LogKey, LogKind
from veupath_store.events.log import EventLog
from veupath_store.session import async_session_factory, get_engine

MOST: Final = 100_000
"""Orders that one sweep sees to; their ids are kept in memory meanwhile."""

DERIVED: Final = "substr(id::text, 15, 1) = '5'"
"""Whether a row's id is of version 5, and may stand for an old name."""

_WAITING: Final = f"SELECT kind, id FROM log_removals WHERE requested_at = 'infinity' LIMIT {MOST}"
_STILL: Final = """
SELECT kind, id FROM log_removals r JOIN unnest($1::text[], $2::uuid[]) AS g(kind, id) USING (kind, id)
WHERE requested_at = 'infinity' AND NOT EXISTS (SELECT FROM streams s WHERE r.kind = 'stream' AND s.id = r.id)
  AND NOT EXISTS (SELECT FROM operations o WHERE r.kind = 'operation' AND o.id = r.id) FOR UPDATE OF r"""
_DONE: Final = """
DELETE FROM log_removals
WHERE requested_at = 'infinity' AND (kind, id) IN (SELECT * FROM unnest($1::text[], $2::uuid[]))"""


async def remove_old_names(log: EventLog) -> int:
    """Remove logs under old names whose conversation or operation was deleted here.

    One statement where none was deleted since the last time. Otherwise all names in Redis are gone through, twice: a
    round trip for each 1,000 keys that Redis holds, and three statements for each 1,000 among which something is found.

    Args:
        log: The event log.

    Returns:
        How many were removed.

    Raises:
        UnavailableError: A server does not answer; what is left stays ordered.
    """
    client, removed = await get_engine().open(), 0
    ordered = {(row["kind"], row["id"]) for row in await client.execute_rows(_WAITING)}
    if not ordered:
        return 0
    async for keys in _chunks(log):
        found = [key for key in keys if (key.kind.told, key.id) in ordered]
        removed += await _remove(log, found) if found else 0
    await client.execute_query(_DONE, [[kind for kind, _ in ordered], [identity for _, identity in ordered]])
    return removed


async def _chunks(log: EventLog) -> AsyncIterator[list[LogKey]]:
    for kind in LogKind:
        cursor, more = 0, True
        while more:
            cursor, keys = await log.names.scan_old(kind, cursor)
            yield keys
            more = cursor != 0


async def _remove(log: EventLog, found: list[LogKey]) -> int:
    """Remove those whose orders still stand, and which are not made again under the same id."""
    async with async_session_factory() as session:
        arrays = [[key.kind.told for key in found], [key.id for key in found]]
        still = {(row["kind"], row["id"]) for row in await session.client.execute_rows(_STILL, arrays)}
        gone = [key for key in found if (key.kind.told, key.id) in still]
        await log.remove(gone)
    return len(gone)
