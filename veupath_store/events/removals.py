"""Removing the logs of deleted conversations and operations.

The deletion and the order to remove the log are one transaction; Redis is told after its commit. Whatever is cut in
between stays ordered, and the projection worker does it. So does what may have a log under an old name.

A conversation that is deleted and made again under its id in one unit of work goes on in the same log: of that what is
older than its second beginning is removed.
"""

from collections.abc import Sequence
from typing import Final

from veupath_store.engine.statements import Statements
from veupath_store.events.entries import Position
from veupath_store.events.keys import LogKey, LogKind
from veupath_store.events.log import EventLog
from veupath_store.events.old_names import DERIVED
from veupath_store.events.pages import PageSize
from veupath_store.events.patched import begins, origin_of
from veupath_store.session import async_session_factory, get_engine

BATCH: Final = 500

_ORDER: Final = """
INSERT INTO log_removals (kind, id) SELECT * FROM unnest($1::text[], $2::uuid[])
ON CONFLICT (kind, id) DO UPDATE SET requested_at = CURRENT_TIMESTAMP"""

# Locked, so that a conversation that is made again under the same id waits, or is waited for; another remover goes on.
_ORDERED: Final = """
SELECT kind, id FROM log_removals
WHERE requested_at < 'infinity'
  AND ($1::text[] IS NULL OR (kind, id) IN (SELECT * FROM unnest($1::text[], $2::uuid[])))
ORDER BY requested_at, kind, id LIMIT $3 FOR UPDATE SKIP LOCKED"""
# An order's xmin is the transaction that gave it, at its end and so in no savepoint: the lower half of its id.
_ALIVE: Final = """
SELECT r.id, r.xmin::text AS xmin FROM log_removals r JOIN streams s ON s.id = r.id
WHERE r.kind = 'stream' AND r.id = ANY ($1::uuid[])"""
# What may have a log under an old name as well stays ordered: see `old_names`.
_DONE: Final = f"""
WITH done AS (
    DELETE FROM log_removals
    WHERE (kind, id) IN (SELECT * FROM unnest($1::text[], $2::uuid[])) AND NOT {DERIVED}
)
UPDATE log_removals SET requested_at = 'infinity'
WHERE (kind, id) IN (SELECT * FROM unnest($1::text[], $2::uuid[])) AND {DERIVED}"""

_KINDS: Final = {kind.told: kind for kind in LogKind}


async def order_removals(client: Statements, keys: Sequence[LogKey]) -> None:
    """Order logs to be removed when the transaction has committed. One statement.

    Args:
        client: The transaction that deletes what the logs belong to.
        keys: The logs.
    """
    await client.execute_query(_ORDER, _arrays(keys))


async def count_removals() -> int:
    """How many logs are ordered to be removed, or to be looked for under an old name. One statement."""
    client = await get_engine().open()
    ordered: int = (await client.execute_rows("SELECT count(*) AS ordered FROM log_removals"))[0]["ordered"]
    return ordered


async def remove_logs(log: EventLog, keys: Sequence[LogKey] | None = None) -> int:
    """Remove logs that were ordered to be removed. Three statements and a round trip to Redis for each `BATCH`.

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
            found = [LogKey(_KINDS[row["kind"]], row["id"]) for row in rows]
            if found:
                await _remove(log, session.client, found)
                await session.client.execute_query(_DONE, _arrays(found))
        removed += len(found)
        if len(found) < BATCH:
            return removed


async def _remove(log: EventLog, client: Statements, found: Sequence[LogKey]) -> None:
    streams = [key.id for key in found if key.kind is LogKind.STREAM]
    alive = {LogKey.stream(row["id"]): int(row["xmin"]) for row in await client.execute_rows(_ALIVE, [streams])}
    gone = [key for key in found if key not in alive]
    # An id in capitals was kept as it was, too; there is no index of other mixtures.
    old = [LogKey(key.kind, key.id, str(key.id).upper()) for key in gone if key.kind is LogKind.STREAM]
    await log.remove([*gone, *old])
    for key, xmin in alive.items():
        beginning = await _beginning(log, key, xmin)
        if beginning is not None:
            await log.trim(key, beginning)


async def _beginning(log: EventLog, key: LogKey, xmin: int) -> Position | None:
    """The entry with which a transaction has begun a conversation: its last one, if it did that more than once."""
    pages, more, after, found = PageSize(), True, None, None
    while more:
        entries = await log.read(key, after=after, count=pages.entries)
        for entry in entries:
            origin = origin_of(entry)
            if origin is not None and int(origin.xact) % 2**32 == xmin and begins(entry):
                found = entry.position
        more = pages.seen(entries)
        after = entries[-1].position if entries else after
    return found


def _arrays(keys: Sequence[LogKey]) -> list[list[object]]:
    return [[key.kind.told for key in keys], [key.id for key in keys]]
