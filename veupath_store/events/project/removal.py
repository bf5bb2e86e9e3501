"""Removing the logs of deleted conversations and operations (docs/event-log.md, rule 17).

A deletion remembers the id in its own transaction, in `deleted_ids`, for good. Its log is removed afterwards, and again
as often as it shows up: an old one comes back with a restore of Redis.
"""

from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from veupath_store.errors import NotFoundError, StoreError
from veupath_store.events.log.entries import Position
from veupath_store.events.log.keys import LogKey, LogKind
from veupath_store.events.log.log import EventLog
from veupath_store.events.project.catch_up import append_whole
from veupath_store.inputs.legacy_ids import adopted_id
from veupath_store.models.unlogged import tagged
from veupath_store.session import get_engine

BATCH: Final = 500
_LONGEST: Final = 50

_KINDS: Final = {kind.entity: kind for kind in LogKind}
_MESSAGES: Final = "messages"
# Operations before messages: what they append is refused before all that they have appended is removed. A kind of a
# newer version is left to that version.
_WAITING: Final = f"""
SELECT kind, id, kind = 'operation' AND EXISTS (SELECT FROM operations o WHERE o.id = d.id) AS is_back
FROM deleted_ids d
WHERE log_removed_at IS NULL AND kind IN ({", ".join(repr(kind) for kind in (*_KINDS, _MESSAGES))})
ORDER BY deleted_at, kind DESC LIMIT {BATCH}"""
_REMOVED: Final = """
UPDATE deleted_ids SET log_removed_at = CURRENT_TIMESTAMP
WHERE (kind, id) IN (SELECT * FROM unnest($1::text[], $2::uuid[])) AND log_removed_at IS NULL"""
_NO_MESSAGES: Final = """
UPDATE stream_projections p SET message_count = 0, messages_after = p.last_event_id, unlogged = p.unlogged || $2::jsonb
WHERE p.stream_id = $1"""
_KEPT: Final = f"""
SELECT d.id, p.messages_after FROM deleted_ids d JOIN stream_projections p ON p.stream_id = d.id
WHERE d.kind = '{_MESSAGES}' AND d.id > $1 AND d.log_removed_at IS NOT NULL AND p.messages_after IS NOT NULL
ORDER BY d.id LIMIT {BATCH}"""
_KNOWN: Final = """
SELECT g.number, d.id IS NOT NULL AS is_deleted,
       CASE g.kind WHEN 'stream' THEN EXISTS (SELECT FROM streams s WHERE s.id = g.id)
                   ELSE EXISTS (SELECT FROM operations o WHERE o.id = g.id) END AS is_there,
       g.kind = 'operation' AND EXISTS (SELECT FROM operations o WHERE o.id = g.id AND o.status <> 'active'
            AND o.completed_at < CURRENT_TIMESTAMP - make_interval(secs => $3)) AS is_old
FROM unnest($1::text[], $2::uuid[]) WITH ORDINALITY AS g(kind, id, number)
LEFT JOIN deleted_ids d ON d.kind = g.kind AND d.id = g.id"""


@dataclass(frozen=True, slots=True)
class Stray:
    """A log that belongs to no row, or is to be removed.

    Attributes:
        key: The log.
        is_removable: Whether its conversation or operation was deleted, or its operation ended long ago; otherwise it
            is a conversation's whose row is gone.
    """

    key: LogKey
    is_removable: bool


async def remove_logs(log: EventLog) -> int:
    """Remove the logs of what was deleted since the last time. Two statements and a round trip for each `BATCH`.

    Returns:
        How many were removed.

    Raises:
        UnavailableError: A server does not answer; what is left is removed the next time.
    """
    client, removed = await get_engine().open(), 0
    while rows := await client.execute_rows(_WAITING):
        gone = [row for row in rows if row["kind"] != _MESSAGES and not row["is_back"]]
        await log.refuse([row["id"] for row in gone if row["kind"] == LogKind.OPERATION.entity])
        await log.remove([LogKey(_KINDS[row["kind"]], row["id"]) for row in gone])
        for row in rows:
            if row["kind"] == _MESSAGES:
                await _remove_messages(log, row["id"])
        await client.execute_query(_REMOVED, [[row["kind"] for row in rows], [row["id"] for row in rows]])
        removed += len(rows)
    return removed


async def _remove_messages(log: EventLog, stream_id: UUID) -> None:
    """Remove all that a log holds but the row: what was said in a conversation that a purge has kept."""
    with suppress(NotFoundError):
        whole = await append_whole(log, stream_id)
        await log.trim(LogKey.stream(stream_id), whole, beside=whole)
        client = await get_engine().open()
        await client.execute_query(_NO_MESSAGES, [stream_id, tagged(("message_count", "messages_after"))])


async def remove_messages_again(log: EventLog) -> int:
    """Where logs of conversations that a purge has kept came back, remove what was said before it.

    Only up to `messages_after`, so that nothing goes that is listed or counted. A statement and a round trip for each
    `BATCH` of these conversations.

    Returns:
        Of how many there was something to remove.

    Raises:
        UnavailableError: A server does not answer; what is left is removed the next time.
    """
    client, removed, last = await get_engine().open(), 0, UUID(int=0)
    while rows := await client.execute_rows(_KEPT, [last]):
        last = rows[-1]["id"]
        firsts = await log.read_first([LogKey.stream(row["id"]) for row in rows], 1)
        for row, first in zip(rows, firsts, strict=True):
            after = Position.parse(row["messages_after"])
            if not isinstance(first, StoreError) and first and first[0].position < after:
                await _remove_up_to(log, row["id"], after)
                removed += 1
    return removed


async def _remove_up_to(log: EventLog, stream_id: UUID, last: Position) -> None:
    with suppress(NotFoundError):
        whole = await append_whole(log, stream_id)
        await log.trim(LogKey.stream(stream_id), min(whole, last.after), beside=whole)


async def count_waiting() -> int:
    """How many logs are still to be removed. One statement."""
    client = await get_engine().open()
    [row] = await client.execute_rows("SELECT count(*) AS waiting FROM deleted_ids WHERE log_removed_at IS NULL")
    return int(row["waiting"])


async def strays(log: EventLog, ended_for: float) -> AsyncIterator[list[Stray]]:
    """The logs that belong to no row, or to an operation that ended long ago, by the names of all keys.

    A round trip to Redis and a statement for each 1,000 keys that Redis holds.

    Args:
        ended_for: Seconds after whose end the log of an operation is not kept any more.
    """
    client = await get_engine().open()
    for kind in LogKind:
        cursor, more = 0, True
        while more:
            cursor, names = await log.scan(kind, cursor)
            more = cursor != 0
            keys = [key for name in dict.fromkeys(names) if (key := _key_of(kind, name)) is not None]
            if keys:
                arguments = [[key.kind.entity for key in keys], [key.id for key in keys], ended_for]
                rows = await client.execute_rows(_KNOWN, arguments)
                found = [(keys[row["number"] - 1], row) for row in rows if not row["is_there"] or row["is_old"]]
                yield [Stray(key, bool(row["is_deleted"] or row["is_old"])) for key, row in found]


async def remove_strays(log: EventLog, ended_for: float) -> int:
    """Remove the logs of what was deleted, wherever they came from, and of operations that ended long ago.

    Returns:
        How many were removed.
    """
    removed = 0
    async for found in strays(log, ended_for):
        gone = [stray.key for stray in found if stray.is_removable]
        await log.remove(gone)
        removed += len(gone)
    return removed


def _key_of(kind: LogKind, name: str) -> LogKey | None:
    """The log of a key; under a name of the SQLAlchemy layer, with the id that stands for that."""
    if not 0 < len(name) <= _LONGEST:
        return None
    identity: UUID = adopted_id(name)
    return LogKey(kind, identity, "" if str(identity) == name else name)
