"""Removing the logs of deleted conversations and operations.

The deletion and the order to remove the log are one transaction; Redis is told after its commit. Whatever is cut in
between stays ordered, and the projection worker does it.
"""

from collections.abc import Sequence
from typing import Final

from veupath_store.engine.statements import Statements
from veupath_store.events.keys import LogKey, LogKind
from veupath_store.events.log import EventLog
from veupath_store.session import async_session_factory, get_engine

BATCH: Final = 500

_ORDER: Final = """
INSERT INTO log_removals (kind, id) SELECT * FROM unnest($1::text[], $2::uuid[])
ON CONFLICT (kind, id) DO UPDATE SET requested_at = CURRENT_TIMESTAMP"""

# Locked, so that a conversation that is made again under the same id waits, or is waited for; another remover goes on.
_ORDERED: Final = """
SELECT kind, id FROM log_removals
WHERE $1::text[] IS NULL OR (kind, id) IN (SELECT * FROM unnest($1::text[], $2::uuid[]))
ORDER BY requested_at, kind, id LIMIT $3 FOR UPDATE SKIP LOCKED"""
_DONE: Final = "DELETE FROM log_removals WHERE (kind, id) IN (SELECT * FROM unnest($1::text[], $2::uuid[]))"

KINDS: Final = {LogKind.STREAM: "stream", LogKind.OPERATION: "operation"}
_KEYS: Final = {"stream": LogKey.stream, "operation": LogKey.operation}


async def order_removals(client: Statements, keys: Sequence[LogKey]) -> None:
    """Order logs to be removed when the transaction has committed. One statement.

    Args:
        client: The transaction that deletes what the logs belong to.
        keys: The logs.
    """
    await client.execute_query(_ORDER, _arrays(keys))


async def count_removals() -> int:
    """How many logs are ordered to be removed. One statement."""
    client = await get_engine().open()
    ordered: int = (await client.execute_rows("SELECT count(*) AS ordered FROM log_removals"))[0]["ordered"]
    return ordered


async def remove_logs(log: EventLog, keys: Sequence[LogKey] | None = None) -> int:
    """Remove logs that were ordered to be removed. Two statements and a round trip to Redis for each `BATCH`.

    Args:
        log: The event log.
        keys: Only these; ``None`` for all.

    Returns:
        How many were removed.

    Raises:
        UnavailableError: A server does not answer; what is left stays ordered.
    """
    removed = 0
    while True:
        async with async_session_factory() as session:
            kinds, ids = _arrays(keys) if keys is not None else (None, None)
            rows = await session.client.execute_rows(_ORDERED, [kinds, ids, BATCH])
            found = [_KEYS[row["kind"]](row["id"]) for row in rows]
            if found:
                await log.remove(found)
                await session.client.execute_query(_DONE, _arrays(found))
        removed += len(found)
        if len(found) < BATCH:
            return removed


def _arrays(keys: Sequence[LogKey]) -> list[list[object]]:
    return [[KINDS[key.kind] for key in keys], [key.id for key in keys]]
