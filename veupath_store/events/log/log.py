"""`EventLog`: the streams of entries in Redis."""

import logging
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from veupath_store.config import StoreSettings
from veupath_store.errors import ConfigurationError, InvalidInputError, NotFoundError, StoreError
from veupath_store.events.fold.fold import PROJECTING
from veupath_store.events.log.client import Command, RedisClient
from veupath_store.events.log.commands import never_written
from veupath_store.events.log.encoding import Fields, encode_event, entries_of, position_of
from veupath_store.events.log.entries import FIRST, LAST, Entry, Event, Position
from veupath_store.events.log.keys import BEHIND, GONE, GONE_KEPT, HELD, HOLDER, SWEPT, LogKey, LogKind
from veupath_store.events.log.pages import BYTES, PageSize
from veupath_store.events.log.scripts import APPEND, CAUGHT_UP, CLAIM, COUNT, ENDS, HOLD, TRIM, catch_up_script
from veupath_store.events.log.watch import LogWatch
from veupath_store.servers.redis_url import HOW_TO_SET

logger: logging.Logger = logging.getLogger("veupath_store.events")

SCANNED: Final = 1_000
"""Keys that one step of a scan looks at."""

_CATCH_UP: Final = catch_up_script(PROJECTING)


@dataclass(frozen=True, slots=True)
class LogEnds:
    """Where a log begins and ends."""

    first: Position | None
    """Its oldest entry; ``None`` when it has none."""
    newest: Position | None
    """Its newest entry; ``None`` when it has none."""
    last: Position
    """The newest entry that it ever had, removed ones included."""
    length: int
    """How many entries it holds."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """What is to be caught up."""

    count: int
    """Streams that are marked as behind."""
    seconds: float
    """For how long the oldest mark stands; 0 without one."""


@dataclass(frozen=True, slots=True)
class Step:
    """One log's part of a catch-up: what to read, and what to append if the row has reached the log's end.

    Attributes:
        key: The log.
        after: The row's position; ``None`` for a row that has none.
        count: Entries to read at most; fewer where they are large, all steps of a request `pages.BYTES` together.
        mode: ``end``, ``new``, ``replace`` or ``read``, as `scripts.catch_up_script` tells.
        appended: What to append.
        last: For ``replace``, the last id of the log that is to be replaced.
    """

    key: LogKey
    after: Position | None
    count: int
    mode: str = "end"
    appended: Sequence[Fields] = ()
    last: Position | None = None


@dataclass(frozen=True, slots=True)
class Stepped:
    """What came of a `Step`."""

    is_there: bool
    """Whether there was a log."""
    holds_position: bool
    """Whether it held the row's position; ``True`` for a row that has none."""
    at_end: bool
    """Whether the entries are the last ones."""
    entries: list[Entry]
    """The entries after the position."""
    positions: list[Position]
    """Where the appended ones are; empty where they were not."""


class EventLog:
    """The logs of conversations and operations, as Redis Streams. Opens nothing before the first call.

    Every call is one round trip and ends within `log_timeout`. It may be used by any number of tasks of one event loop,
    and be cancelled at any point. No command is sent twice.

    Args:
        settings: Where Redis is.

    Raises:
        ConfigurationError: `redis_url` is not set, or the package redis is not installed.

    Every method raises `UnavailableError` when Redis is out of reach, does not answer in time or refuses for now,
    `ConfigurationError` when it refuses the credentials, and `InternalError` when it refuses a command.
    """

    def __init__(self, settings: StoreSettings) -> None:
        target = settings.log_target
        if target is None:
            raise ConfigurationError(f"REDIS_URL is not set, and the event log needs it. {HOW_TO_SET}")
        self._prefix = settings.log_prefix
        self._client = RedisClient(target, settings.log_timeout)
        self._behind = f"{self._prefix}{BEHIND}"
        self.identity: str | None = None
        """What tells the store's database from others, once somebody has asked."""
        self.watch: Final = LogWatch(self._client, self._prefix)

    async def append(self, key: LogKey, events: Sequence[Event], *, new: bool = False) -> list[Position]:
        """Append events, all or none, without anybody else's between them.

        The stream is marked as behind when one of them changes the projection.

        Args:
            events: The events. U+0000 and lone surrogates in their data become U+FFFD.
            new: Whether the log is made when it is not there.

        Returns:
            Their positions; of one whose key the log has had, the position of the first.

        Raises:
            InvalidInputError: An event cannot be kept; the path names it, as ``events[3].data.content``.
            NotFoundError: The log is not there, and `new` is not set; or an event is of an operation that was deleted.
                Nothing was appended.
            OutcomeUnknownError: The connection failed, or time ran out, after the events were sent. Read the log back,
                or append them again if each has a key.
        """
        if not events:
            return []
        fields = [encode_event(event, f"events[{index}]") for index, event in enumerate(events)]
        operations = {operation for operation, *_ in fields if operation and key.kind is LogKind.STREAM}
        keys = [key.text(self._prefix), self._behind, *(self._gone(operation) for operation in operations)]
        arguments: list[str | bytes | int] = []
        for operation, kind, data, own in fields:
            if own:
                keys.append(key.of_event(self._prefix, own))
            arguments += [operation, kind, data, len(keys) if own else 0]
        projects = key.kind is LogKind.STREAM and any(kind in PROJECTING for _, kind, _, _ in fields)
        options = ("1" if new else "", str(key.id) if projects else "", len(operations))
        [reply] = await self._client.run([("EVAL", APPEND, len(keys), *keys, *options, *arguments)], writes=True)
        if reply is None:
            raise NotFoundError("log")
        return [position_of(identifier) for identifier in reply]

    async def step(self, steps: Sequence[Step]) -> list[Stepped | StoreError]:
        """Take some steps of catch-ups, each atomic, all in one round trip.

        What was sent may have been done when this raises.

        Returns:
            What came of each; where the server refuses one, as for a key of another type, the error.
        """
        if not steps:
            return []
        return [
            reply if isinstance(reply, StoreError) else _stepped(reply)
            for reply in await self._client.run_each(self._step(step, BYTES // len(steps)) for step in steps)
        ]

    def _step(self, step: Step, size: int) -> Command:
        floor = _successor(step.after) if step.mode == "new" and step.after is not None else None
        bound = floor or step.last
        options = ("" if it is None else str(it) for it in (step.after, step.count, size, step.mode, bound))
        appended = (part for fields in step.appended for part in fields)
        return ("EVAL", _CATCH_UP, 1, step.key.text(self._prefix), *options, *appended)

    async def read(
        self, key: LogKey, *, after: Position | None = None, before: Position | None = None, count: int
    ) -> list[Entry]:
        """Read entries in their order.

        Args:
            after: Only those after this position.
            before: Only those before this position.
            count: How many at most.

        Returns:
            The entries; none when the log is not there.
        """
        if after == LAST or before == FIRST or count < 1:
            return []
        start = "-" if after is None else f"({after}"
        end = "+" if before is None else f"({before}"
        [reply] = await self._client.run([("XRANGE", key.text(self._prefix), start, end, "COUNT", count)])
        return entries_of(reply)

    async def pages(self, key: LogKey, after: Position | None = None) -> AsyncGenerator[list[Entry], None]:
        """All that a log holds after a position, in pages of a bounded size."""
        size, more = PageSize(), True
        while more:
            entries = await self.read(key, after=after, count=size.entries)
            more = size.seen(entries)
            if entries:
                yield entries
                after = entries[-1].position

    async def read_first(self, keys: Sequence[LogKey], count: int) -> Iterator[list[Entry] | StoreError]:
        """The first entries of several logs, in one round trip; each log's are made as they are asked for.

        Args:
            keys: The logs.
            count: How many of each at most.

        Returns:
            The entries of each, in their order; none where the log is not there; where the server refuses it, the
            error.
        """
        commands = [("XRANGE", key.text(self._prefix), "-", "+", "COUNT", count) for key in keys]
        replies = await self._client.run_each(commands) if commands else []
        return (reply if isinstance(reply, StoreError) else entries_of(reply) for reply in replies)

    async def read_newest(self, key: LogKey, count: int, *, before: Position | None = None) -> list[Entry]:
        """Read the newest entries.

        Args:
            count: How many at most.
            before: Only those before this position.

        Returns:
            The entries, newest first; none when the log is not there.
        """
        if count < 1 or before == FIRST:
            return []
        end = "+" if before is None else f"({before}"
        [reply] = await self._client.run([("XREVRANGE", key.text(self._prefix), end, "-", "COUNT", count)])
        return entries_of(reply)

    async def ends(self, keys: Sequence[LogKey]) -> list[LogEnds | StoreError | None]:
        """Where logs begin and end. One round trip.

        Returns:
            For each log its ends, ``None`` for one that is not there, and the error where the server refuses it.
        """
        if not keys:
            return []
        replies = await self._client.run_each([("EVAL", ENDS, 1, key.text(self._prefix)) for key in keys])
        return [reply if isinstance(reply, StoreError) else _ends(*reply) if reply else None for reply in replies]

    async def count_after(self, key: LogKey, after: Position | None, most: int) -> tuple[int, Position | None]:
        """How many entries a log holds after a position. None is transferred.

        Args:
            after: The position; ``None`` for all.
            most: How many are counted at the most.

        Returns:
            The number, and the first of them.
        """
        start = "-" if after is None else f"({after}"
        [reply] = await self._client.run([("EVAL", COUNT, 1, key.text(self._prefix), start, most)])
        return int(reply[0]), position_of(reply[1]) if reply[1] else None

    async def trim(self, key: LogKey, before: Position, *, beside: Position) -> int:
        """Remove all entries before a position, if the log still holds a certain entry.

        Args:
            before: The oldest entry that stays.
            beside: The entry that must be there.

        Returns:
            How many were removed.
        """
        [reply] = await self._client.run([("EVAL", TRIM, 1, key.text(self._prefix), str(beside), str(before))])
        return int(reply or 0)

    async def make_room(self, key: LogKey, before: Position) -> int:
        """Remove all entries before a position. Redis does this also when its memory is full.

        Returns:
            How many were removed.
        """
        [reply] = await self._client.run([("XTRIM", key.text(self._prefix), "MINID", "=", str(before))])
        return int(reply)

    async def discard(self, key: LogKey, positions: Sequence[Position]) -> None:
        """Remove single entries. Those that are not there are no error."""
        if positions:
            await self._client.run([("XDEL", key.text(self._prefix), *map(str, positions))])

    async def remove(self, keys: Sequence[LogKey]) -> None:
        """Remove whole logs, and their marks. Those that are not there are no error. Works on a full Redis."""
        if not keys:
            return
        removal: Command = ("UNLINK", *(key.text(self._prefix) for key in keys))
        marks: Command = ("ZREM", self._behind, "", *(str(key.id) for key in keys if key.kind is LogKind.STREAM))
        removed, unmarked = await self._client.run_each([removal, marks])
        if isinstance(removed, StoreError):
            raise removed
        if isinstance(unmarked, StoreError):
            logger.warning("marks of streams that are behind cannot be removed: %s", unmarked)

    async def refuse(self, operation_ids: Sequence[UUID]) -> None:
        """Have conversations' logs take no more events of some operations, for `GONE_KEPT` seconds.

        A full Redis has no room for this, which is no error: it takes no events either.
        """
        if operation_ids:
            commands: list[Command] = [("SET", self._gone(str(one)), "", "EX", GONE_KEPT) for one in operation_ids]
            failed = [error for error in await self._client.run_each(commands) if isinstance(error, StoreError)]
            if failed:
                logger.warning("%d deleted operations may still append to logs: %s", len(failed), failed[0])

    def _gone(self, operation_id: str) -> str:
        return f"{self._prefix}{GONE}{operation_id}"

    async def scan(self, kind: LogKind, cursor: int) -> tuple[int, list[str]]:
        """Go through some of the keys that Redis holds.

        Args:
            kind: Whose logs.
            cursor: 0, then what this returned.

        Returns:
            Where to go on, 0 at the end; and what the keys of logs have in the place of an id, some perhaps twice.
        """
        start = f"{self._prefix}{kind}:"
        # A prefix has no character that a pattern gives a meaning to.
        [[after, keys]] = await self._client.run([("SCAN", cursor, "MATCH", f"{start}*", "COUNT", SCANNED)])
        return int(after), [key.decode(errors="replace").removeprefix(start) for key in keys]

    async def behind(self, limit: int, skip: int = 0) -> list[tuple[UUID, float]]:
        """The streams that are marked as behind, the oldest mark first. A member that is no stream is removed.

        Args:
            limit: How many at most.
            skip: How many of the oldest to leave out.

        Returns:
            Pairs of a stream and its mark: since when it stands in milliseconds, and what `caught_up` takes.
        """
        if limit < 1:
            return []
        [reply] = await self._client.run([("ZRANGE", self._behind, skip, skip + limit - 1, "WITHSCORES")])
        odd = [member for member in reply[::2] if _stream(member) is None]
        if odd:
            logger.warning("%s holds %d members that are no streams, which are removed", self._behind, len(odd))
            await self._client.run([("ZREM", self._behind, *odd)])
            return await self.behind(limit, skip)
        return [(UUID(member.decode()), float(score)) for member, score in zip(reply[::2], reply[1::2], strict=True)]

    async def caught_up(self, seen: Sequence[tuple[UUID, float]]) -> None:
        """Take marks away, except for those of streams to which something was appended since they were seen.

        Args:
            seen: What `behind` returned before the logs were read.
        """
        if seen:
            pairs = (text for stream_id, score in seen for text in (str(stream_id), repr(float(score))))
            await self._client.run([("EVAL", CAUGHT_UP, 1, self._behind, *pairs)])

    async def backlog(self) -> Backlog:
        """How many streams are marked as behind, and for how long the oldest mark stands, by the clock of Redis."""
        count, oldest, now = await self._client.run(
            [("ZCARD", self._behind), ("ZRANGE", self._behind, 0, 0, "WITHSCORES"), ("TIME",)]
        )
        if not oldest:
            return Backlog(count=int(count), seconds=0.0)
        clock = int(now[0]) + int(now[1]) / 1_000_000
        return Backlog(count=int(count), seconds=max(0.0, clock - float(oldest[1]) / 1000))

    async def claim_sweep(self, span: float) -> bool:
        """Of all processes that ask within a span of time, let one go through all the logs.

        Args:
            span: Seconds until the next one may.

        Returns:
            Whether it is this one.
        """
        key = f"{self._prefix}{SWEPT}"
        [reply] = await self._client.run([("EVAL", CLAIM, 1, key, max(1, int(span * 1000)))])
        return reply is not None

    async def hold(self, database: str) -> str:
        """Say for a day that the logs under this prefix belong to a database, unless they belong to another one.

        Args:
            database: What tells it from others.

        Returns:
            The database that they belong to.
        """
        [reply] = await self._client.run([("EVAL", HOLD, 1, f"{self._prefix}{HOLDER}", database, HELD)])
        return str(reply.decode(errors="replace"))

    async def holder(self) -> str | None:
        """The database that the logs under this prefix belong to; ``None`` where none has claimed them."""
        [reply] = await self._client.run([("GET", f"{self._prefix}{HOLDER}")])
        return None if reply is None else str(reply.decode(errors="replace"))

    async def ping(self) -> None:
        """Ask Redis for an answer."""
        await self._client.run([("PING",)])

    async def check_writable(self) -> None:
        """Ask Redis whether it takes writes: have it append to a stream that is never there, which does nothing.

        Raises:
            UnavailableError: It takes none: it is a replica, its memory is full, or it cannot persist its data.
        """
        await self._client.run([never_written(self._prefix)])

    async def close(self) -> None:
        """Close the connections. Further calls raise `StoreClosedError`. May be repeated."""
        await self._client.close()
        await self.watch.close()


def _stepped(reply: Sequence[Any]) -> Stepped:
    there, found, last, page, ids = reply
    return Stepped(bool(there), bool(found), bool(last), entries_of(page), [position_of(it) for it in ids])


def _successor(position: Position) -> Position:
    if position == LAST:
        raise InvalidInputError("position", "no entry can follow it")
    return position.after


def _stream(member: bytes) -> UUID | None:
    try:
        return UUID(member.decode())
    except ValueError:
        return None


def _ends(first: bytes, newest: bytes, last: bytes, length: int) -> LogEnds:
    return LogEnds(
        position_of(first) if first else None, position_of(newest) if newest else None, position_of(last), length
    )
