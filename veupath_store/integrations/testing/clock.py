"""A clock that tests move.

Nothing here is faked: the clock goes on, and what is stored becomes older. So it holds for every reader alike, for
the server's ``CURRENT_TIMESTAMP`` and ``clock_timestamp()``, for ``datetime.now`` in the application, and for the
times of a log's entries, which are their ids. Functions that shadow the server's would reach neither
``CURRENT_TIMESTAMP``, which is no function, nor the application.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from orjson import dumps

from veupath_store.events.fold import fields
from veupath_store.events.fold.patch import PATCHED
from veupath_store.events.fold.text import decoded
from veupath_store.events.log.client import Command, RedisClient
from veupath_store.events.log.entries import LogKind, Position, position_of
from veupath_store.events.log.log import EventLog, event_log
from veupath_store.events.log.scripts import BEHIND, ENDS, SWEPT
from veupath_store.events.project.worker import log_unlogged
from veupath_store.session import async_session_factory

_MILLISECOND: Final = timedelta(milliseconds=1)

# Whoever may, switches triggers off meanwhile, which might stamp a row anew.
_AGE: Final = """
DO $$
DECLARE
    older text;
BEGIN
    IF current_setting('is_superuser')::boolean THEN SET LOCAL session_replication_role = replica; END IF;
    FOR older IN
        SELECT format('UPDATE %I.%I SET ', n.nspname, c.relname)
               || string_agg(format('%1$I = %1$I - interval ''{milliseconds} milliseconds''', a.attname), ', ')
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
        WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND a.atttypid = 'timestamptz'::regtype
          AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
          AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%'
        GROUP BY n.nspname, c.relname
    LOOP EXECUTE older; END LOOP;
END $$"""

# The columns that hold the id of a log's entry, which begins with its time in milliseconds.
_POSITIONS: Final = (
    ("stream_projections", "last_event_id"),
    ("stream_projections", "messages_after"),
    ("operations", "start_position"),
)
_AGE_POSITION: Final = """
UPDATE {table} SET {column} = (split_part({column}, '-', 1)::numeric - {milliseconds})::text || '-'
                              || split_part({column}, '-', 2)
WHERE split_part({column}, '-', 1)::numeric >= {milliseconds}"""

# The columns that a whole row in a log has with a time.
_TIMES: Final = ("updatedAt", "dismissedAt", "createdAt")
_POSITION: Final = "messagesAfter"


class StoreClock:
    """Moves time on, for all that the open store has stored."""

    async def advance(self, span: timedelta | None = None, /, **parts: float) -> None:
        """Let time pass: everything that is stored becomes so much older. Some milliseconds.

        All columns of the type ``timestamptz`` move, also those of the application's own tables in this database, and
        the entries of all logs. What was read before is not moved: a `Lease` that is held (its worker learns from its
        next heartbeat that it has expired), a page's cursor, the id of an event. Nor is what the application writes
        into a document or an event of its own. Call it while no unit of work is open.

        Args:
            span: How long, in whole milliseconds.
            parts: The same in words, as ``days=3`` or ``hours=1, minutes=30``.

        Raises:
            ValueError: The time is not positive, or no whole number of milliseconds.
            UnavailableError: A row is locked by a unit of work; nothing was moved.
        """
        whole = span if span is not None else timedelta(**parts)
        milliseconds, rest = divmod(whole, _MILLISECOND)
        if milliseconds <= 0 or rest:
            raise ValueError("time moves on, by whole milliseconds: advance(days=3)")
        statements = [_AGE.format(milliseconds=milliseconds)] + [
            _AGE_POSITION.format(table=table, column=column, milliseconds=milliseconds) for table, column in _POSITIONS
        ]
        log = event_log()
        if log is not None:
            await log_unlogged(log)  # so that nothing is written to a log while its entries are moved
        async with async_session_factory() as session:
            for statement in statements:
                await session.client.execute_script(statement)
            if log is not None:
                await _make_log_older(log, milliseconds)


async def _make_log_older(log: EventLog, milliseconds: int) -> None:
    """Make all entries of all logs older, and the marks of what is behind. A few round trips for each log.

    Their ids are their times, so that each log is written anew; nothing else may append to it meanwhile.
    """
    client, prefix = log._client, log._prefix
    for kind in LogKind:
        for key in await names_of(client, f"{prefix}{kind}:"):
            await _rewrite(client, key, milliseconds)
    [marks] = await client.run([("ZRANGE", f"{prefix}{BEHIND}", 0, -1, "WITHSCORES")])
    if marks:
        older = zip(marks[::2], marks[1::2], strict=True)
        pairs = (it for member, score in older for it in (repr(float(score) - milliseconds), member))
        await client.run([("ZADD", f"{prefix}{BEHIND}", *pairs)])
    [left] = await client.run([("PTTL", f"{prefix}{SWEPT}")])
    if left > 0:
        await client.run([("PEXPIRE", f"{prefix}{SWEPT}", max(1, left - milliseconds))])


async def names_of(client: RedisClient, start: str) -> set[str]:
    """All keys that begin with a text."""
    found: set[str] = set()
    cursor: Any = None
    while cursor != 0:
        [[after, names]] = await client.run([("SCAN", cursor or 0, "MATCH", f"{start}*", "COUNT", 1_000)])
        found.update(name.decode() for name in names)
        cursor = int(after)
    return found


async def _rewrite(client: RedisClient, key: str, milliseconds: int) -> None:
    ends, entries = await client.run([("EVAL", ENDS, 1, key), ("XRANGE", key, "-", "+")])
    if not ends:
        return  # it has been removed since its name was found
    commands: list[Command] = [("UNLINK", key)]
    for position, values in entries:
        older = str(_older(position_of(position), milliseconds))
        commands.append(("XADD", key, older, *_values(values, milliseconds)))
    # A log remembers the newest entry that it ever had, also when that was removed.
    last = position_of(ends[2])
    if not entries or last > position_of(entries[-1][0]):
        older = str(_older(last, milliseconds))
        commands += [("XADD", key, older, "type", "removed"), ("XDEL", key, older)]
    await client.run(commands)


def _older(position: Position, milliseconds: int) -> Position:
    """What is older than the clock can go back, as the ids that a test makes up, stays."""
    return position._replace(ms=position.ms - milliseconds) if position.ms >= milliseconds else position


def _values(values: Sequence[bytes], milliseconds: int) -> list[bytes]:
    by_name = dict(zip(values[::2], values[1::2], strict=True))
    data = decoded(by_name.get(b"data", b"")) if by_name.get(b"type") == PATCHED.encode() else None
    if data is not None:
        by_name[b"data"] = dumps(_with_older_times(data, milliseconds))
    return [it for pair in by_name.items() for it in pair]


def _with_older_times(data: dict[str, Any], milliseconds: int) -> dict[str, Any]:
    moved = dict(data)
    for name in _TIMES:
        moment = fields.time(data.get(name))
        if moment is not None:
            moved[name] = (moment - timedelta(milliseconds=milliseconds)).isoformat()
    if isinstance(data.get(_POSITION), str):
        moved[_POSITION] = str(_older(Position.parse(data[_POSITION]), milliseconds))
    return moved
