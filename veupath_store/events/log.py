"""`EventLog`: the streams of entries in Redis."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from veupath_store.config import StoreSettings
from veupath_store.errors import ConfigurationError, NotFoundError
from veupath_store.events.encoding import encode_event, entries_of, position_of
from veupath_store.events.entries import Entry, Event, Position
from veupath_store.events.exchange import (
    FIRST,
    LAST,
    Exchange,
    Exchanged,
    add,
    commands_of,
    entries_between,
    exchanged,
)
from veupath_store.events.fold import PROJECTING
from veupath_store.events.keys import SWEPT, LogKey, LogKind
from veupath_store.events.log_names import LogNames
from veupath_store.events.log_scripts import AHEAD, ENDS, NEWEST, REMOVE_EMPTY
from veupath_store.events.marks import Backlog, BehindMarks
from veupath_store.events.redis_client import Command, RedisClient
from veupath_store.events.watch import LogWatch
from veupath_store.redis_url import HOW_TO_SET, RedisTarget

__all__ = ["EventLog", "Exchange", "Exchanged", "LogEnds"]


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
        self._client = _client_of(target, settings.log_timeout)
        self._marks = BehindMarks(self._client, self._prefix)
        self.names: Final = LogNames(self._client, self._prefix)
        self.watch: Final = LogWatch(self._client, self._prefix)

    async def append(self, key: LogKey, events: Sequence[Event], *, new: bool = False) -> list[Position]:
        """Append events, all or none, without anybody else's between them.

        The stream is marked as behind when one of them changes the projection.

        Args:
            key: The log.
            events: The events. U+0000 and lone surrogates in their data become U+FFFD.
            new: Whether the log is made when it is not there.

        Returns:
            Their positions.

        Raises:
            InvalidInputError: An event cannot be kept; the path names it, as ``events[3].data.content``.
            NotFoundError: The log is not there, and `new` is not set. Nothing was appended.
            OutcomeUnknownError: The connection failed, or time ran out, after the events were sent. Read the log back.
        """
        if not events:
            return []
        fields = [encode_event(event, f"events[{index}]") for index, event in enumerate(events)]
        commands = [add(key.text(self._prefix), *values, new=new) for values in fields]
        if key.kind is LogKind.STREAM and any(kind in PROJECTING for _, kind, _ in fields):
            commands.append(self._marks.mark(key))
        replies = await self._client.run_at_once(commands, writes=True)
        if replies[0] is None:
            raise NotFoundError("log")
        return [position_of(reply) for reply in replies[: len(events)]]

    async def exchange(self, parts: Sequence[Exchange]) -> list[Exchanged]:
        """Read logs and append to them, all at once: nobody else's entry comes between what is read and appended.

        What is sent may have been done when this raises `UnavailableError`.

        Args:
            parts: What to do with each log.

        Returns:
            What came of each part.
        """
        if not parts:
            return []
        replies = iter(await self._client.run_at_once([it for part in parts for it in commands_of(part, self._prefix)]))
        return [exchanged(part, replies) for part in parts]

    async def read(
        self, key: LogKey, *, after: Position | None = None, before: Position | None = None, count: int
    ) -> list[Entry]:
        """Read entries in their order.

        Args:
            key: The log.
            after: Only those after this position.
            before: Only those before this position.
            count: How many at most.

        Returns:
            The entries; none when the log is not there.
        """
        if after == LAST or before == FIRST or count < 1:
            return []
        [reply] = await self._client.run([entries_between(key.text(self._prefix), after, before, count)])
        return entries_of(reply)

    async def read_first(self, keys: Sequence[LogKey], count: int) -> list[list[Entry]]:
        """The first entries of several logs, in one round trip.

        Args:
            keys: The logs.
            count: How many of each at most.

        Returns:
            The entries of each, in their order; none where the log is not there.
        """
        if not keys:
            return []
        replies = await self._client.run([entries_between(key.text(self._prefix), None, None, count) for key in keys])
        return [entries_of(reply) for reply in replies]

    async def read_newest(self, key: LogKey, count: int, *, before: Position | None = None) -> list[Entry]:
        """Read the newest entries.

        Args:
            key: The log.
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

    async def ends(self, keys: Sequence[LogKey]) -> list[LogEnds | None]:
        """Where logs begin and end.

        Returns:
            For each log its ends, ``None`` for one that is not there.
        """
        if not keys:
            return []
        replies = await self._client.run([("EVAL", ENDS, 1, key.text(self._prefix)) for key in keys])
        return [_ends(*reply) if reply else None for reply in replies]

    async def count_after(self, key: LogKey, after: Position | None) -> tuple[int, Position | None]:
        """How many entries a log holds after a position. Redis goes through them; none is transferred.

        Args:
            key: The log.
            after: The position; ``None`` for all.

        Returns:
            The number, and the first of them.
        """
        command = ("EVAL", AHEAD, 1, key.text(self._prefix), "" if after is None else str(after))
        [reply] = await self._client.run([command])
        return int(reply[0]), position_of(reply[1]) if reply[1] else None

    async def newest_but(self, key: LogKey, count: int) -> Position | None:
        """The oldest of a log's newest entries. Redis goes through them; none is transferred.

        Args:
            key: The log.
            count: How many are the newest, from 1 on.

        Returns:
            Its position; of a shorter log the first one's, ``None`` for one without entries.
        """
        [reply] = await self._client.run([("EVAL", NEWEST, 1, key.text(self._prefix), count)])
        return position_of(reply) if reply else None

    async def trim(self, key: LogKey, before: Position) -> int:
        """Remove all entries before a position.

        Returns:
            How many there were.
        """
        [reply] = await self._client.run([("XTRIM", key.text(self._prefix), "MINID", "=", str(before))])
        return int(reply)

    async def discard(self, key: LogKey, positions: Sequence[Position]) -> None:
        """Remove single entries. Those that are not there are no error."""
        if positions:
            await self._client.run([("XDEL", key.text(self._prefix), *map(str, positions))])

    async def remove(self, keys: Sequence[LogKey]) -> None:
        """Remove whole logs, and their marks. Those that are not there are no error."""
        if not keys:
            return
        commands: list[Command] = [("UNLINK", *(key.text(self._prefix) for key in keys))]
        streams = [key for key in keys if key.kind is LogKind.STREAM]
        if streams:
            commands.append(self._marks.forget(streams))
        await self._client.run_at_once(commands)

    async def remove_empty(self, keys: Sequence[LogKey]) -> None:
        """Remove those of the logs that hold no entry."""
        if keys:
            await self._client.run([("EVAL", REMOVE_EMPTY, 1, key.text(self._prefix)) for key in keys])

    async def behind(self, limit: int, skip: int = 0) -> list[tuple[UUID, float]]:
        """The streams that are marked as behind, the oldest mark first.

        Args:
            limit: How many at most.
            skip: How many of the oldest to leave out.

        Returns:
            Pairs of a stream and its mark: since when it stands in milliseconds, and what `caught_up` takes.
        """
        return await self._marks.list(limit, skip) if limit > 0 else []

    async def caught_up(self, seen: Sequence[tuple[UUID, float]]) -> None:
        """Take marks away, except for those of streams to which something was appended since they were seen.

        Args:
            seen: What `behind` returned before the logs were read.
        """
        await self._marks.clear(seen)

    async def backlog(self) -> Backlog:
        """How many streams are marked as behind, and for how long the oldest mark stands, by the clock of Redis."""
        return await self._marks.backlog()

    async def take_sweep(self, span: float) -> bool:
        """Of all processes that ask within a span of time, let one go through all the logs.

        Args:
            span: Seconds until the next one may.

        Returns:
            Whether it is this one.
        """
        key = f"{self._prefix}{SWEPT}"
        [reply] = await self._client.run([("SET", key, "1", "NX", "PX", max(1, int(span * 1000)))])
        return reply is not None

    async def ping(self) -> None:
        """Ask Redis for an answer."""
        await self._client.run([("PING",)])

    async def close(self) -> None:
        """Close the connections. Further calls raise `StoreClosedError`. May be repeated."""
        await self._client.close()
        await self.watch.close()


def _client_of(target: RedisTarget, timeout: float) -> RedisClient:
    if target.memory is None:
        return RedisClient(target, timeout)
    from veupath_store.events.memory import MemoryClient  # noqa: PLC0415 - for tests only

    return MemoryClient(target.memory)


def _ends(first: bytes, newest: bytes, last: bytes, length: int) -> LogEnds:
    return LogEnds(
        position_of(first) if first else None, position_of(newest) if newest else None, position_of(last), length
    )
