"""Conversations and operations read back from their logs: page by page, as they grow, or all of a user's."""

import copy
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Self, TypeVar
from uuid import UUID

from pydantic import BaseModel

from veupath_store.engine.changes import of_operation
from veupath_store.errors import NotFoundError, UnavailableError
from veupath_store.events.fold.patch import PATCHED
from veupath_store.events.fold.text import decoded
from veupath_store.events.log.entries import Entry, LogKey, Position
from veupath_store.events.log.following import GAP, Hints, follow
from veupath_store.events.log.log import EventLog, required_log
from veupath_store.events.log.pages import Ended, walk
from veupath_store.events.project.catch_up import catch_up
from veupath_store.events.turns import ASKED, SHOWN, is_cut, is_message, messages, operation_of
from veupath_store.inputs import limits
from veupath_store.inputs.validation import as_operation_id, as_uuid, boolean, integer
from veupath_store.session import get_engine, on_change
from veupath_store.values import LoggedEvent, LogPage, Message, OperationStatus

logger: logging.Logger = logging.getLogger("veupath_store.events")

E = TypeVar("E", bound=BaseModel)

FOLLOW_SECONDS: Final = 15.0
"""Seconds between two looks at whether a conversation that is followed is still there."""

OPERATION_SECONDS: Final = 1.0
"""Seconds between two looks at whether an operation that is followed has ended."""

TURN: Final = 20_000
"""Entries of a turn that are read beyond one end of a page of messages at most; each word of a model is an entry. Of a
turn that is longer, what is further away is left out of the messages at that end."""

_STREAMS: Final = """
SELECT s.id, p.messages_after, p.stream_id IS NOT NULL AND p.last_event_id IS NULL AS is_unlogged
FROM streams s LEFT JOIN stream_projections p ON p.user_id = s.user_id AND p.stream_id = s.id
WHERE """
_STREAM: Final = _STREAMS + "s.id = $1 AND ($2::uuid IS NULL OR s.user_id = $2)"
_USERS_STREAMS: Final = _STREAMS + "s.user_id = $1 AND ($2::text IS NULL OR s.site_id = $2) ORDER BY s.id"
_OPERATION: Final = """
SELECT stream_id, start_position FROM operations WHERE id = $1 AND ($2::uuid IS NULL OR user_id = $2)"""
# As long as there is a row, there is something to follow.
_STREAM_GOES_ON: Final = "SELECT FROM streams WHERE id = $1 AND ($2::uuid IS NULL OR user_id = $2)"
_OPERATION_GOES_ON: Final = f"""
SELECT FROM operations WHERE id = $1 AND ($2::uuid IS NULL OR user_id = $2) AND status = '{OperationStatus.ACTIVE}'"""
_USERS_OPERATIONS: Final = "SELECT id FROM operations WHERE user_id = $1 AND stream_id IS NULL ORDER BY id"


@dataclass(frozen=True, slots=True)
class Place:
    """Where an operation's events are."""

    key: LogKey
    after: Position | None
    """They come after this entry."""
    operation: UUID | None = None
    """Whose they are, in a conversation's log; ``None`` for all of it."""
    is_seen: bool = True
    """Whether the entry `after` was read from the log, which should hold it then."""


class LogReader:
    """Reads logs back. Made by itself it reads every user's, which is for jobs; request code uses `for_user`.

    Every method raises `NotFoundError` where there is no such conversation or operation, or it is not this user's. A
    `limit` is from 1 to `limits.PAGE`; an `operation_id` beside a conversation's leaves only that operation's events.

    Raises:
        ConfigurationError: No log is configured.
    """

    def __init__(self) -> None:
        self._log: Final = required_log()
        self._owner: UUID | None = None

    def for_user(self, user_id: UUID | str) -> Self:
        """A reader of one user's conversations and operations only.

        Another user's id then looks exactly like one that does not exist. Each call costs an indexed read for it.
        """
        scoped = copy.copy(self)
        scoped._owner = as_uuid(user_id, "user_id")
        return scoped

    async def page_messages(
        self, stream_id: UUID | str, *, position: str | None = None, limit: int = 50, newest_first: bool = False
    ) -> LogPage[Message]:
        """A page of a conversation's messages, each with what else was logged of its turn.

        A turn is a user's message and what follows, up to the next one; what is logged of it with an assistant's
        message is part of that (`values.Message`). So each message is the same on every page, from either end and at
        every limit. Of a turn that goes on, the user's message is shown, and an assistant's as far as it has come:
        whoever waits for the rest follows the events.

        One indexed read, and a round trip to Redis for each piece of the log. Pieces have 64 entries at first, and up
        to 2,000 while these are small.

        Args:
            position: `LogPage.position` of the page before; ``None`` for the first page.
            newest_first: Read backwards from the end.

        Returns:
            The page. About `pages.READ` entries are read for it at most, and `TURN` more at either end
            where a turn is cut: of one that is longer than that, what is further away is left out.
        """
        key = LogKey.stream(as_uuid(stream_id, "stream_id"))
        start = None if position is None else Position.parse(position)
        most = integer(limit, "limit", 1, limits.PAGE)
        backwards = boolean(newest_first, "newest_first")
        after = await self._messages_after(key.id)
        if not backwards and after is not None:
            start = max(start or after, after)
        found, ended = await _page_of_messages(self._log, key, start, most, backwards=backwards, floor=after)
        return _log_page(found, ended)

    async def iterate_messages(self, stream_id: UUID | str) -> AsyncIterator[Message]:
        """All messages of a conversation, oldest first; never more than a page in memory.

        Returns:
            An asynchronous iterator, of `page_messages`' cost for each page. What it raises comes while iterating.
        """
        position, at_end = None, False
        while not at_end:
            page = await self.page_messages(stream_id, position=position, limit=limits.PAGE)
            for item in page.items:
                yield item
            position, at_end = page.position, page.at_end

    async def page_events(
        self,
        stream_id: UUID | str,
        *,
        position: str | None = None,
        limit: int = 500,
        operation_id: UUID | str | None = None,
        newest_first: bool = False,
    ) -> LogPage[LoggedEvent]:
        """A page of a conversation's events: in their order, what an SSE client has missed since its last event id.

        The store's own events (``projection_patched``) are left out. Reads as `page_messages`: one of the table, and
        round trips to Redis.

        Args:
            position: Only events after this entry, or before it where the newest come first; ``None`` for all.
            newest_first: Read backwards from the end.

        Returns:
            The page; go on with its `position` until `at_end`. Forwards, wait for new ones then.
        """
        most = integer(limit, "limit", 1, limits.PAGE)
        backwards = boolean(newest_first, "newest_first")
        place = await self._place_of_stream(stream_id, position, operation_id)
        return await self._page(place, most, backwards=backwards)

    async def page_operation_events(
        self, operation_id: UUID | str, *, position: str | None = None, limit: int = 500
    ) -> LogPage[LoggedEvent]:
        """A page of an operation's events, whichever log they are in, as `page_events` has those of a conversation.

        A conversation's operation has them in the conversation's log, from its `start_position` on; others have a log
        of their own.
        """
        most = integer(limit, "limit", 1, limits.PAGE)
        return await self._page(await self._place_of_operation(LogKey.operation_given(operation_id), position), most)

    async def follow(
        self, stream_id: UUID | str, *, position: str | None = None, operation_id: UUID | str | None = None
    ) -> AsyncGenerator[LoggedEvent, None]:
        """A conversation's events after a position, and then each as it is appended: what an SSE response sends.

        Without a gap and without a repeat, whoever appends. The iterator holds no connection while it waits or while
        its consumer is busy: one request to Redis waits for all that this process follows. An event reaches it within
        milliseconds; in the first 0.2 s of its waiting it may take as long as that. Every `FOLLOW_SECONDS` one indexed
        read sees whether the conversation is still there.

        Where the log does not hold the last event that was seen, because it was trimmed or has lost something, one
        event of the type ``log_gap`` says so before it goes on: what was shown until then is to be read anew. Its data
        are the ``position`` that is not there, and the ``reason``, ``trimmed`` or ``lost``.

        Args:
            position: Only events after this entry, as the ``Last-Event-ID`` that a client sends; ``None`` for all.

        Returns:
            An asynchronous generator, which ends when the conversation is gone. Iterating raises `UnavailableError`
            when Redis does not answer: follow again from the last event.
        """
        place = await self._place_of_stream(stream_id, position, operation_id)
        return self._follow(place, _STREAM_GOES_ON, place.key.id, FOLLOW_SECONDS)

    async def follow_operation(
        self, operation_id: UUID | str, *, position: str | None = None
    ) -> AsyncGenerator[LoggedEvent, None]:
        """An operation's events after a position, and then each as it is appended, until it has ended.

        As `follow`. How the operation ended is not an event: read it from the table afterwards
        (`OperationRepository.get_status`). Every `OPERATION_SECONDS` one indexed read sees whether it has, and at once
        when this process has ended it.

        Returns:
            An asynchronous generator, which ends when the operation has ended or is gone: at once where this process
            did that, and a second later at most where another did.
        """
        own = LogKey.operation_given(operation_id)
        place = await self._place_of_operation(own, position)
        hints = partial(on_change, of_operation(own.id))
        return self._follow(place, _OPERATION_GOES_ON, own.id, OPERATION_SECONDS, hints)

    async def _follow(
        self, place: Place, goes_on: str, identity: UUID, every: float, hints: Hints | None = None
    ) -> AsyncGenerator[LoggedEvent, None]:
        """The events of a place, until a query finds no row of what they are of."""

        async def is_over() -> bool:
            try:
                client = await get_engine().open()
                return not await client.execute_rows(goes_on, [identity, self._owner])
            except UnavailableError as exc:  # it is not known, and the log may go on
                logger.warning("a log is followed without the database: %s", exc)
                return False

        entries = follow(self._log, place.key, place.after, is_over, every, is_seen=place.is_seen, hints=hints)
        async with aclosing(entries):
            async for entry in entries:
                event = event_of(entry, place.operation)
                if event is not None:
                    yield event

    async def _page(self, place: Place, most: int, *, backwards: bool = False) -> LogPage[LoggedEvent]:
        found: list[LoggedEvent] = []

        def take(entry: Entry) -> bool:
            event = event_of(entry, place.operation)
            if event is not None:
                found.append(event)
            return len(found) == most

        return _log_page(found, await walk(self._log, place.key, place.after, take, backwards=backwards))

    async def _place_of_stream(
        self, stream_id: UUID | str, position: str | None, operation_id: UUID | str | None
    ) -> Place:
        """Where a conversation's events, or one operation's in it, are after a position."""
        key = LogKey.stream(as_uuid(stream_id, "stream_id"))
        start = None if position is None else Position.parse(position)
        operation = None if operation_id is None else as_operation_id(operation_id, "operation_id")
        await self._messages_after(key.id)
        return Place(key, start, operation)

    async def _place_of_operation(self, own: LogKey, position: str | None) -> Place:
        """Where an operation's events are: in its own log if it has no conversation, or is an old one with that log."""
        start = None if position is None else Position.parse(position)
        client = await get_engine().open()
        rows = await client.execute_rows(_OPERATION, [own.id, self._owner])
        if not rows:
            raise NotFoundError("operation")
        stream_id, begins = rows[0]["stream_id"], rows[0]["start_position"]
        # Of an operation that says where it begins all is in the conversation's log.
        may_have_own = own.name or begins is None
        if stream_id is None or (may_have_own and (await self._log.ends([own]))[0] is not None):
            return Place(own, start)
        if start is None and begins is not None:
            return Place(LogKey.stream(stream_id), Position.parse(begins).before, own.id, is_seen=False)
        return Place(LogKey.stream(stream_id), start, own.id)

    async def _messages_after(self, stream_id: UUID) -> Position | None:
        """The entry up to which messages are not listed; refuses a conversation that is not this user's."""
        client = await get_engine().open()
        rows = await client.execute_rows(_STREAM, [stream_id, self._owner])
        if not rows:
            raise NotFoundError("stream")
        if rows[0]["is_unlogged"]:
            await catch_up(self._log, stream_id)  # what is under its id until then may be somebody else's
        found: str | None = rows[0]["messages_after"]
        return None if found is None else Position.parse(found)


def _log_page(found: list[E], ended: Ended) -> LogPage[E]:
    position, at_end = ended
    return LogPage(items=tuple(found), position=None if position is None else str(position), at_end=at_end)


async def _page_of_messages(
    log: EventLog, key: LogKey, position: Position | None, most: int, *, backwards: bool, floor: Position | None
) -> tuple[list[Message], Ended]:
    """Messages from a position on. A turn that an end of the page cuts is read whole, so that each is shown whole."""
    entries: list[Entry] = []
    listed: set[str] = set()

    def take(entry: Entry) -> bool:
        if entry.type in SHOWN:
            entries.append(entry)
        if is_message(entry):
            listed.add(str(entry.position))
        return len(listed) == most

    ended = await walk(log, key, position, take, backwards=backwards, floor=floor)
    first, last = position and position.after, ended[0]
    if backwards:
        entries.reverse()
        first, last = ended[0], position and position.before
    before: list[Entry] = []
    after: list[Entry] = []
    if first is not None and is_cut(entries):
        await walk(log, key, first, _rest_of_turn(before), backwards=True, floor=floor, most=TURN)
    if last is not None and is_cut(reversed(entries)):
        await walk(log, key, last, _rest_of_turn(after), most=TURN)
    found = [message for message in messages([*before[::-1], *entries, *after]) if message.id in listed]
    return found[::-1] if backwards else found, ended


def _rest_of_turn(found: list[Entry]) -> Callable[[Entry], bool]:
    """Takes entries up to where the turn begins, or another one."""

    def take(entry: Entry) -> bool:
        if entry.type in SHOWN:
            found.append(entry)
        return entry.type == ASKED

    return take


def event_of(entry: Entry, operation: UUID | None = None) -> LoggedEvent | None:
    """What an entry shows; ``None`` for the store's own, and where one operation's are wanted, for another's."""
    named = operation_of(entry.operation_id)
    if entry.type == PATCHED or not (operation is None or entry.type == GAP or named == operation):
        return None
    return LoggedEvent(
        id=str(entry.position),
        created_at=entry.position.time,
        type=entry.type,
        operation_id=named,
        data=decoded(entry.raw),
    )


async def logged_events(user_id: UUID, site_id: str | None) -> AsyncIterator[dict[str, Any]]:
    """The events of a user's conversations, and of operations without one: what no table has of an account's export.

    Each log is in its order. A round trip to Redis for each piece of a log, which has some megabytes at most. No
    connection is held meanwhile. A conversation that is deleted meanwhile is left out.

    Args:
        site_id: Only conversations of this site; ``None`` for all, and the operations.
    """
    log, client = required_log(), await get_engine().open()
    for row in await client.execute_rows(_USERS_STREAMS, [user_id, site_id]):
        if row["is_unlogged"]:
            with suppress(NotFoundError):
                await catch_up(log, row["id"])  # what is under its id until then may be somebody else's
        async for event in _events(log, LogKey.stream(row["id"])):
            yield {"user_id": str(user_id), "stream_id": str(row["id"]), **event}
    for row in await client.execute_rows(_USERS_OPERATIONS, [user_id]) if site_id is None else ():
        async for event in _events(log, LogKey.operation(row["id"])):
            yield {"user_id": str(user_id), "stream_id": None, **event, "operation_id": str(row["id"])}


async def _events(log: EventLog, key: LogKey) -> AsyncIterator[dict[str, Any]]:
    async for entries in log.pages(key):
        for entry in entries:
            event = event_of(entry)
            if event is not None:
                yield event.model_dump(mode="json")
