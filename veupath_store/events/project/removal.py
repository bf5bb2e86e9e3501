"""What logs do not keep: old parts, and the logs of what was deleted (docs/event-log.md, rules 15 to 17).

A log is trimmed below what its row has seen, with the whole row at its end, from which a rebuild can start. A deletion
remembers the id in its own transaction, in `deleted_ids`, for good. Its log is removed afterwards, and again as often
as it shows up: an old one comes back with a restore of Redis.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from veupath_store.errors import InvalidInputError, NotFoundError, StoreError
from veupath_store.events.log.client import FullError
from veupath_store.events.log.entries import FIRST, LAST, LogKey, LogKind, Position
from veupath_store.events.log.log import EventLog
from veupath_store.events.project.catch_up import append_whole, catch_up
from veupath_store.events.project.commit import is_of_one
from veupath_store.inputs import limits
from veupath_store.inputs.legacy_ids import adopted_id
from veupath_store.models.unlogged import DECISION, LOGGED, tagged
from veupath_store.session import get_engine

logger: logging.Logger = logging.getLogger("veupath_store.events")

BATCH: Final = 500
_LONGEST: Final = 50
_DECIDE: Final = """
UPDATE stream_projections SET unlogged = $2::jsonb || unlogged WHERE stream_id = $1 RETURNING last_event_id"""

_KINDS: Final = {kind.entity: kind for kind in LogKind}
_MESSAGES: Final = "messages"
# Operations before messages: what they append is refused before all that they have appended is removed. A kind of a
# newer version is left to that version.
_WAITING: Final = f"""
SELECT kind, id, kind = 'operation' AND EXISTS (SELECT FROM operations o WHERE o.id = d.id) AS is_back
FROM deleted_ids d
WHERE log_removed_at IS NULL AND kind IN ({", ".join(repr(kind) for kind in (*_KINDS, _MESSAGES))})
ORDER BY deleted_at, kind DESC, id LIMIT {BATCH} OFFSET $1"""
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
    """A log that belongs to no row, or is to be removed."""

    key: LogKey
    is_removable: bool
    """Whether its conversation or operation was deleted, or its operation ended long ago; otherwise its row is gone."""


async def trim_stream(log: EventLog, stream_id: UUID, *, keep: int | None, before: Position | None) -> int:
    """Remove what a row has seen, is older than `before`, and none of the `keep` newest entries; returns how many.

    A full Redis takes no entry: there all columns of the row are unlogged meanwhile, so that it needs nothing of what
    is removed, and are logged when there is room.
    """
    key = LogKey.stream(stream_id)
    try:
        position = Position.parse((await catch_up(log, stream_id)).position or str(FIRST))
        bound = await _bound(log, key, position, keep, before)
        [ends] = await log.ends([key])
        first = getattr(ends, "first", None)
        return 0 if first is None or first >= bound else await _trim_below(log, key, bound)
    except FullError:
        return await _trim_full(log, key, keep, before)


async def _trim_below(log: EventLog, key: LogKey, bound: Position) -> int:
    """Append the whole row, and remove what is before a position; returns how many entries were removed."""
    whole = await append_whole(log, key.id)
    return await log.trim(key, min(whole, bound), beside=whole)


async def _trim_full(log: EventLog, key: LogKey, keep: int | None, before: Position | None) -> int:
    client = await get_engine().open()
    rows = await client.execute_rows(_DECIDE, [key.id, tagged(LOGGED, DECISION)])
    if not rows:
        raise NotFoundError("stream")
    if rows[0]["last_event_id"] is None:
        return 0
    position = Position.parse(rows[0]["last_event_id"])
    return await log.trim(key, await _bound(log, key, position, keep, before), beside=position)


async def _bound(log: EventLog, key: LogKey, position: Position, keep: int | None, before: Position | None) -> Position:
    """The oldest entry that is to stay: the row's position, or an older one."""
    kept = position if keep is None else await _newest_but(log, key, keep)
    return min(position, kept, position if before is None else before)


async def _newest_but(log: EventLog, key: LogKey, keep: int) -> Position:
    """The oldest of so many newest entries; `FIRST` where there are not so many."""
    async for page in log.pages(key, backwards=True):
        if keep <= len(page):
            return page[keep - 1].position
        keep -= len(page)
    return FIRST


async def remove_logs(log: EventLog) -> int:
    """Remove the logs of what was deleted since the last time; returns how many. What is left is removed the next time.

    Two statements and a round trip for each `BATCH`.
    """
    client, removed, left = await get_engine().open(), 0, 0
    while rows := await client.execute_rows(_WAITING, [left]):
        gone = [row for row in rows if row["kind"] != _MESSAGES and not row["is_back"]]
        await log.refuse([row["id"] for row in gone if row["kind"] == LogKind.OPERATION.entity])
        await log.remove([LogKey(_KINDS[row["kind"]], row["id"]) for row in gone])
        done = [row for row in rows if row["kind"] != _MESSAGES or await _remove_messages(log, row["id"])]
        await client.execute_query(_REMOVED, [[row["kind"] for row in done], [row["id"] for row in done]])
        removed, left = removed + len(done), left + len(rows) - len(done)
    return removed


async def _remove_messages(log: EventLog, stream_id: UUID) -> bool:
    if not await _is_trimmed(log, LogKey.stream(stream_id), LAST):
        return False
    client = await get_engine().open()
    await client.execute_query(_NO_MESSAGES, [stream_id, tagged(("message_count", "messages_after"))])
    return True


async def _is_trimmed(log: EventLog, key: LogKey, before: Position) -> bool:
    """Trim a log; whether that was done, or its conversation is gone. Why it cannot be is logged."""
    try:
        await _trim_below(log, key, before)
    except NotFoundError:
        pass
    except StoreError as exc:
        if not is_of_one(exc):
            raise
        logger.warning("messages of %s that a purge has deleted cannot be removed now: %s", key.id, exc)
        return False
    return True


async def remove_messages_again(log: EventLog) -> int:
    """Where logs of conversations that a purge has kept came back, remove what was said before it.

    Only up to `messages_after`, so that nothing goes that is listed or counted. A statement and a round trip for each
    `BATCH` of these conversations. Returns of how many there was something to remove.
    """
    client, removed, last = await get_engine().open(), 0, UUID(int=0)
    while rows := await client.execute_rows(_KEPT, [last]):
        last = rows[-1]["id"]
        keys = [LogKey.stream(row["id"]) for row in rows]
        for row, key, ends in zip(rows, keys, await log.ends(keys), strict=True):
            first = getattr(ends, "first", None)
            with suppress(InvalidInputError):
                after = Position.parse(row["messages_after"])
                removed += first is not None and first < after and await _is_trimmed(log, key, after.after)
    return removed


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
    """Remove the logs of what was deleted, and of operations that ended long ago; returns how many."""
    removed = 0
    async for found in strays(log, ended_for):
        gone = [stray.key for stray in found if stray.is_removable]
        await log.remove(gone)
        removed += len(gone)
    return removed


async def count_without_row(log: EventLog) -> int:
    """How many logs there are of conversations whose rows are gone, though they were not deleted here."""
    found = 0
    async for chunk in strays(log, limits.INT32_MAX):
        found += sum(stray.key.kind is LogKind.STREAM and not stray.is_removable for stray in chunk)
        await asyncio.sleep(0)
    return found


def _key_of(kind: LogKind, name: str) -> LogKey | None:
    """The log of a key; under a name of the SQLAlchemy layer, with the id that stands for that."""
    if not 0 < len(name) <= _LONGEST:
        return None
    identity: UUID = adopted_id(name)
    return LogKey(kind, identity, "" if str(identity) == name else name)
