"""`EventLog`: the streams of entries in Redis."""

import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeVar
from uuid import UUID

from veupath_store.config import StoreSettings
from veupath_store.errors import ConfigurationError, NotFoundError, StoreError
from veupath_store.events.fold.fold import PROJECTING
from veupath_store.events.log import scripts
from veupath_store.events.log.client import Command, RedisClient
from veupath_store.events.log.entries import (
    FIRST,
    LAST,
    Entry,
    Event,
    Fields,
    LogKey,
    LogKind,
    Position,
    encode_event,
    entries_of,
    position_of,
)
from veupath_store.events.log.following import LogWatch
from veupath_store.events.log.pages import BYTES, PageSize
from veupath_store.servers.redis_url import HOW_TO_SET
from veupath_store.session import get_engine

logger: logging.Logger = logging.getLogger("veupath_store.events")

T = TypeVar("T")

SCANNED: Final = 1_000
"""Keys that one step of a scan looks at."""

NO_LOG: Final = (
    "The store has no event log: set REDIS_URL (redis://… for a running server, embedded:PATH for one of its own). "
    "Without one, repositories write the table only."
)


class LogEnds(NamedTuple):
    """Where a log begins and ends."""

    first: Position | None
    """Its oldest entry; ``None`` when it has none."""
    newest: Position | None
    """Its newest entry; ``None`` when it has none."""
    last: Position
    """The newest entry that it ever had, removed ones included."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """What is to be caught up."""

    count: int
    """Streams that are marked as behind."""
    seconds: float
    """For how long the oldest mark stands; 0 without one."""


@dataclass(frozen=True, slots=True)
class Step:
    """One log's part of a catch-up: what to read, and what to append if the row has reached the log's end."""

    key: LogKey
    after: Position | None
    """The row's position; ``None`` for a row that has none."""
    count: int
    """Entries to read at most; fewer where they are large, all steps of a request `pages.BYTES` together."""
    mode: str = "end"
    """``end``, ``new`` or ``replace``, as `scripts.CATCH_UP` says."""
    appended: Sequence[Fields] = ()
    """What to append."""
    bound: Position | None = None
    """The smallest id that a ``new`` log may begin with, or the last id of the log to ``replace``."""


class Stepped(NamedTuple):
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
    and be cancelled at any point. No command is sent twice. Logs, entries and members that are not there are no error.

    Args:
        settings: Where Redis is.

    Raises:
        ConfigurationError: `redis_url` is not set, or the package redis is not installed.

    Every method raises `UnavailableError` when Redis is out of reach, does not answer in time or refuses for now,
    `ConfigurationError` when it refuses the credentials, and `InternalError` when it refuses a command. Those that ask
    about several logs give the error of one in the place of its answer.
    """

    def __init__(self, settings: StoreSettings) -> None:
        target = settings.log_target
        if target is None:
            raise ConfigurationError(f"REDIS_URL is not set, and the event log needs it. {HOW_TO_SET}")
        self._prefix = settings.log_prefix
        self._client = RedisClient(target, settings.log_timeout)
        self._behind = f"{self._prefix}{scripts.BEHIND}"
        self.identity: str | None = None
        """What tells the store's database from others, once somebody has asked."""
        self.watch: Final = LogWatch(self._client, self._prefix)

    async def append(self, key: LogKey, events: Sequence[Event], *, new: bool = False) -> list[Position]:
        """Append events, all or none, without anybody else's between them.

        The stream is marked as behind when one of them changes the projection.

        Args:
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
        command = ("EVAL", scripts.APPEND, len(keys), *keys, *options, *arguments)
        [reply] = await self._client.run([command], writes=True)
        if reply is None:
            raise NotFoundError("log")
        return [position_of(identifier) for identifier in reply]

    async def step(self, steps: Sequence[Step]) -> list[Stepped | StoreError]:
        """Take some steps of catch-ups, each atomic, all in one round trip.

        What was sent may have been done when this raises.
        """
        return await self._of_each([self._step(step, BYTES // len(steps)) for step in steps], _stepped)

    def _step(self, step: Step, size: int) -> Command:
        options = ("" if it is None else str(it) for it in (step.after, step.count, size, step.mode, step.bound))
        keys = [step.key.of_event(self._prefix, key) for *_, key in step.appended if key]
        appended = (it for fields in step.appended for it in fields)
        return ("EVAL", scripts.CATCH_UP, 1 + len(keys), step.key.text(self._prefix), *keys, *options, *appended)

    async def _ask(self, *command: str | bytes | int | float) -> Any:  # noqa: ANN401 - whatever the server answers
        [reply] = await self._client.run([command])
        return reply

    async def _of_each(self, commands: Sequence[Command], read: Callable[[Any], T]) -> list[T | StoreError]:
        replies = await self._client.run_each(commands) if commands else ()
        return [reply if isinstance(reply, StoreError) else read(reply) for reply in replies]

    async def read(self, key: LogKey, *, after: Position | None = None, count: int) -> list[Entry]:
        """At most so many entries, in their order, of those after a position."""
        if after == LAST or count < 1:
            return []
        start = "-" if after is None else f"({after}"
        return entries_of(await self._ask("XRANGE", key.text(self._prefix), start, "+", "COUNT", count))

    async def read_newest(self, key: LogKey, count: int, *, before: Position | None = None) -> list[Entry]:
        """At most so many entries, newest first, of those before a position."""
        if count < 1 or before == FIRST:
            return []
        end = "+" if before is None else f"({before}"
        return entries_of(await self._ask("XREVRANGE", key.text(self._prefix), end, "-", "COUNT", count))

    async def read_each(self, places: Iterable[tuple[LogKey, Position | None, int]]) -> list[list[Entry] | StoreError]:
        """As `read`, for each of several logs, the position and the number."""
        commands = [
            ("XRANGE", key.text(self._prefix), "-" if after is None else f"({after}", "+", "COUNT", count)
            for key, after, count in places
        ]
        return await self._of_each(commands, entries_of)

    async def pages(
        self, key: LogKey, start: Position | None = None, *, backwards: bool = False, size: PageSize | None = None
    ) -> AsyncGenerator[list[Entry], None]:
        """All that a log holds after a position, or before it where `backwards`, in pages of a bounded size."""
        size, more = size or PageSize(), True
        while more:
            entries = await (
                self.read_newest(key, size.entries, before=start)
                if backwards
                else self.read(key, after=start, count=size.entries)
            )
            more = size.seen(entries)
            if entries:
                yield entries
                start = entries[-1].position

    async def ends(self, keys: Sequence[LogKey]) -> list[LogEnds | StoreError | None]:
        """Where each of several logs begins and ends; ``None`` for one that is not there."""
        return await self._of_each([("EVAL", scripts.ENDS, 1, key.text(self._prefix)) for key in keys], _ends)

    async def count_after(self, key: LogKey, after: Position | None, most: int) -> tuple[int, Position | None]:
        """How many entries a log holds after a position, and the first of them; none is transferred.

        At most so many, or of `pages.BYTES`, are counted.
        """
        start = "-" if after is None else f"({after}"
        count, first = await self._ask("EVAL", scripts.COUNT, 1, key.text(self._prefix), start, most)
        return int(count), position_of(first) if first else None

    async def trim(self, key: LogKey, before: Position, *, beside: Position) -> int:
        """Remove all before a position, if the log holds the entry `beside`, also of a full Redis; returns how many."""
        return int(await self._ask("EVAL", scripts.TRIM, 1, key.text(self._prefix), str(beside), str(before)) or 0)

    async def discard(self, key: LogKey, positions: Sequence[Position]) -> None:
        """Remove single entries."""
        if positions:
            await self._ask("XDEL", key.text(self._prefix), *map(str, positions))

    async def remove(self, keys: Sequence[LogKey]) -> None:
        """Remove whole logs, and their marks. Works on a full Redis."""
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
        """Have conversations' logs take no more events of some operations, for `scripts.DAY` seconds.

        A full Redis has no room for this, which is no error: it takes no events either.
        """
        commands: list[Command] = [("SET", self._gone(str(one)), "", "EX", scripts.DAY) for one in operation_ids]
        failed = [it for it in await self._of_each(commands, bool) if isinstance(it, StoreError)]
        if failed:
            logger.warning("%d deleted operations may still append to logs: %s", len(failed), failed[0])

    def _gone(self, operation_id: str) -> str:
        return f"{self._prefix}{scripts.GONE}{operation_id}"

    async def scan(self, kind: LogKind, cursor: int) -> tuple[int, list[str]]:
        """Go through some of the keys that Redis holds, from 0 or where the last call ended.

        Returns:
            Where to go on, 0 at the end; and what the keys of logs have in the place of an id, some perhaps twice.
        """
        start = f"{self._prefix}{kind}:"
        # A prefix has no character that a pattern gives a meaning to.
        after, keys = await self._ask("SCAN", cursor, "MATCH", f"{start}*", "COUNT", SCANNED)
        return int(after), [key.decode(errors="replace").removeprefix(start) for key in keys]

    async def behind(self, limit: int, skip: int = 0) -> list[tuple[UUID, float]]:
        """At most so many streams that are marked as behind, the oldest mark first, some of the oldest left out.

        A member that is no stream is removed.

        Returns:
            Pairs of a stream and its mark: since when it stands in milliseconds, and what `caught_up` takes.
        """
        if limit < 1:
            return []
        reply = await self._ask("ZRANGE", self._behind, skip, skip + limit - 1, "WITHSCORES")
        found: list[tuple[UUID, float]] = []
        odd: list[bytes] = []
        for member, score in zip(reply[::2], reply[1::2], strict=True):
            try:
                found.append((UUID(member.decode()), float(score)))
            except ValueError:
                odd.append(member)
        if odd:
            logger.warning("%s holds %d members that are no streams, which are removed", self._behind, len(odd))
            await self._ask("ZREM", self._behind, *odd)
            return await self.behind(limit, skip)
        return found

    async def caught_up(self, seen: Iterable[tuple[UUID, float]]) -> None:
        """Take marks away, except for those of streams to which something was appended since `behind` gave them."""
        pairs = [text for stream_id, score in seen for text in (str(stream_id), repr(float(score)))]
        if pairs:
            await self._ask("EVAL", scripts.CAUGHT_UP, 1, self._behind, *pairs)

    async def backlog(self) -> Backlog:
        """How many streams are marked as behind, and for how long the oldest mark stands, by the clock of Redis."""
        count, oldest, now = await self._client.run(
            [("ZCARD", self._behind), ("ZRANGE", self._behind, 0, 0, "WITHSCORES"), ("TIME",)]
        )
        clock = int(now[0]) + int(now[1]) / 1_000_000
        return Backlog(int(count), max(0.0, clock - float(oldest[1]) / 1000) if oldest else 0.0)

    async def claim_sweep(self, span: float) -> bool:
        """Of all processes that ask within so many seconds, let one go through all the logs: whether it is this one."""
        key = f"{self._prefix}{scripts.SWEPT}"
        return await self._ask("EVAL", scripts.CLAIM, 1, key, max(1, int(span * 1000))) is not None

    async def hold(self, database: str) -> str:
        """Have a database hold the prefix's logs for a day, unless another one does; returns which of them does."""
        key = f"{self._prefix}{scripts.HOLDER}"
        return str((await self._ask("EVAL", scripts.HOLD, 1, key, database, scripts.DAY)).decode(errors="replace"))

    async def holder(self) -> str | None:
        """The database that the logs under this prefix belong to; ``None`` where none has claimed them."""
        reply = await self._ask("GET", f"{self._prefix}{scripts.HOLDER}")
        return None if reply is None else str(reply.decode(errors="replace"))

    async def ping(self) -> None:
        """Ask Redis for an answer."""
        await self._ask("PING")

    async def check_writable(self) -> None:
        """An `UnavailableError` where Redis takes no writes: a replica, or full, or unable to persist its data."""
        await self._ask(*never_written(self._prefix))

    async def close(self) -> None:
        """Close the connections. Further calls raise `StoreClosedError`. May be repeated."""
        await self._client.close()
        await self.watch.close()


def required_log() -> EventLog:
    """As `event_log`, where nothing can be done without one: a `ConfigurationError` where the store has no log."""
    log = event_log()
    if log is None:
        raise ConfigurationError(NO_LOG)
    return log


def event_log() -> EventLog | None:
    """The log that ``REDIS_URL`` configures, made on first use; ``None`` where that is unset, or empty.

    Raises:
        ConfigurationError: The extra ``events`` is not installed.
    """
    engine = get_engine()
    url = engine.settings.redis_url
    return engine.resource(EventLog) if url is not None and url.get_secret_value().strip() else None


def never_written(prefix: str) -> Command:
    """An append to a stream that is never there: does nothing, and is refused by a server that takes no writes."""
    return ("XADD", f"{prefix}{scripts.NEVER}", "NOMKSTREAM", "*", "type", "")


def _stepped(reply: Sequence[Any]) -> Stepped:
    there, found, last, page, ids = reply
    return Stepped(bool(there), bool(found), bool(last), entries_of(page), [position_of(it) for it in ids])


def _ends(reply: Sequence[Any] | None) -> LogEnds | None:
    if not reply:
        return None
    first, newest = (position_of(it) if it else None for it in reply[:2])
    return LogEnds(first, newest, position_of(reply[2]))
