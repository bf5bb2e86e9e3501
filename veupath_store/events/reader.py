"""`LogReader`: conversations and operations read back from their logs, page by page or as they grow."""

import copy
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, Self, TypeVar
from uuid import UUID

from pydantic import BaseModel

from veupath_store.engine.changes import of_operation
from veupath_store.errors import NotFoundError, UnavailableError
from veupath_store.events.log.current import required_log
from veupath_store.events.log.entries import Entry, Position
from veupath_store.events.log.following import Hint, follow
from veupath_store.events.log.keys import LogKey
from veupath_store.events.log.walking import Ended, walk
from veupath_store.events.message_pages import page_of_messages
from veupath_store.events.project.catch_up import catch_up
from veupath_store.events.shown import events_of
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

_STREAM: Final = """
SELECT p.messages_after, p.stream_id IS NOT NULL AND p.last_event_id IS NULL AS is_unlogged
FROM streams s LEFT JOIN stream_projections p ON p.user_id = s.user_id AND p.stream_id = s.id
WHERE s.id = $1 AND ($2::uuid IS NULL OR s.user_id = $2)"""
_OPERATION: Final = """
SELECT stream_id, start_position, status FROM operations WHERE id = $1 AND ($2::uuid IS NULL OR user_id = $2)"""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an operation's events are."""

    key: LogKey
    after: Position | None
    """They come after this entry."""
    wanted: Callable[[Entry], LoggedEvent | None]
    """Which of the entries they are."""
    is_seen: bool = True
    """Whether the entry `after` was read from the log, which should hold it then."""


class LogReader:
    """Reads logs back. Made by itself it reads every user's, which is for jobs; request code uses `for_user`.

    Raises:
        ConfigurationError: No log is configured.
    """

    def __init__(self) -> None:
        self._log: Final = required_log()
        self._owner: UUID | None = None

    def for_user(self, user_id: UUID | str) -> Self:
        """The same reader, for one user's conversations and operations only.

        Another user's id then looks exactly like one that does not exist. Each call costs an indexed read for it.

        Returns:
            A new reader.
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
            limit: Messages at most, 1 to `limits.PAGE`.
            newest_first: Read backwards from the end.

        Returns:
            The page. About `walking.READ` entries are read for it at most, and `message_pages.TURN` more at either end
            where a turn is cut: of one that is longer than that, what is further away is left out.

        Raises:
            NotFoundError: No such conversation, or not this user's.
        """
        key = LogKey.stream(as_uuid(stream_id, "stream_id"))
        start = None if position is None else Position.parse(position)
        most = integer(limit, "limit", 1, limits.PAGE)
        backwards = boolean(newest_first, "newest_first")
        after = await self._messages_after(key.id)
        if not backwards and after is not None:
            start = max(start or after, after)
        found, ended = await page_of_messages(self._log, key, start, most, backwards=backwards, floor=after)
        return _log_page(found, ended)

    def iterate_messages(self, stream_id: UUID | str) -> AsyncIterator[Message]:
        """All messages of a conversation, oldest first; never more than a page in memory.

        Returns:
            An asynchronous iterator, of `page_messages`' cost for each page.

        Raises:
            NotFoundError: While iterating: no such conversation, or not this user's.
            InvalidInputError: While iterating: the id is no UUID.
            UnavailableError: While iterating: a server does not answer.
        """
        return self._iterate_messages(stream_id)

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
            limit: Events at most, 1 to `limits.PAGE`.
            operation_id: Only this operation's.
            newest_first: Read backwards from the end.

        Returns:
            The page; go on with its `position` until `at_end`. Forwards, wait for new ones then.

        Raises:
            NotFoundError: No such conversation, or not this user's.
        """
        key = LogKey.stream(as_uuid(stream_id, "stream_id"))
        start = None if position is None else Position.parse(position)
        operation = None if operation_id is None else as_operation_id(operation_id, "operation_id")
        most = integer(limit, "limit", 1, limits.PAGE)
        backwards = boolean(newest_first, "newest_first")
        await self._messages_after(key.id)
        return await self._page(Place(key, start, events_of(operation)), start, most, backwards=backwards)

    async def page_operation_events(
        self, operation_id: UUID | str, *, position: str | None = None, limit: int = 500
    ) -> LogPage[LoggedEvent]:
        """A page of an operation's events, whichever log they are in. One indexed read, and round trips to Redis.

        A conversation's operation has them in the conversation's log, from its `start_position` on; others have a log
        of their own.

        Args:
            position: Only events after this entry; ``None`` for all.
            limit: Events at most, 1 to `limits.PAGE`.

        Returns:
            The page; go on with its `position` until `at_end`, then wait for new ones.

        Raises:
            NotFoundError: No such operation, or not this user's.
        """
        own = LogKey.operation_given(operation_id)
        start = None if position is None else Position.parse(position)
        most = integer(limit, "limit", 1, limits.PAGE)
        place = await self._place_of(own, start)
        return await self._page(place, place.after, most)

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
            operation_id: Only this operation's.

        Returns:
            An asynchronous generator, which ends when the conversation is gone. Iterating raises `UnavailableError`
            when Redis does not answer: follow again from the last event.

        Raises:
            NotFoundError: No such conversation, or not this user's.
        """
        key = LogKey.stream(as_uuid(stream_id, "stream_id"))
        start = None if position is None else Position.parse(position)
        operation = None if operation_id is None else as_operation_id(operation_id, "operation_id")
        await self._messages_after(key.id)

        return self._follow(Place(key, start, events_of(operation)), lambda: self._is_gone(key.id), FOLLOW_SECONDS)

    async def follow_operation(
        self, operation_id: UUID | str, *, position: str | None = None
    ) -> AsyncGenerator[LoggedEvent, None]:
        """An operation's events after a position, and then each as it is appended, until it has ended.

        As `follow`. How the operation ended is not an event: read it from the table afterwards
        (`OperationRepository.get_status`). Every `OPERATION_SECONDS` one indexed read sees whether it has, and at once
        when this process has ended it.

        Args:
            position: Only events after this entry; ``None`` for all.

        Returns:
            An asynchronous generator, which ends when the operation has ended or is gone: at once where this process
            did that, and a second later at most where another did.

        Raises:
            NotFoundError: No such operation, or not this user's.
        """
        own = LogKey.operation_given(operation_id)
        start = None if position is None else Position.parse(position)
        place = await self._place_of(own, start)

        return self._follow_until_ended(place, own.id)

    async def _follow_until_ended(self, place: Place, operation_id: UUID) -> AsyncGenerator[LoggedEvent, None]:
        hint = Hint()
        hint()  # it may have ended before this was called
        forget = on_change(of_operation(operation_id), hint)
        try:
            events = self._follow(place, lambda: self._has_ended(operation_id), OPERATION_SECONDS, hint)
            async with aclosing(events):
                async for event in events:
                    yield event
        finally:
            forget()

    async def _iterate_messages(self, stream_id: UUID | str) -> AsyncIterator[Message]:
        position, at_end = None, False
        while not at_end:
            page = await self.page_messages(stream_id, position=position, limit=limits.PAGE)
            for item in page.items:
                yield item
            position, at_end = page.position, page.at_end

    async def _is_gone(self, stream_id: UUID) -> bool:
        try:
            await self._messages_after(stream_id)
        except NotFoundError:
            return True
        return False

    async def _follow(
        self, place: Place, is_over: Callable[[], Awaitable[bool]], every: float, hint: Hint | None = None
    ) -> AsyncGenerator[LoggedEvent, None]:
        entries = follow(self._log, place.key, place.after, _patient(is_over), every, is_seen=place.is_seen, hint=hint)
        async with aclosing(entries):
            async for entry in entries:
                event = place.wanted(entry)
                if event is not None:
                    yield event

    async def _page(
        self, place: Place, position: Position | None, most: int, *, backwards: bool = False
    ) -> LogPage[LoggedEvent]:
        found: list[LoggedEvent] = []

        def take(entry: Entry) -> bool:
            event = place.wanted(entry)
            if event is not None:
                found.append(event)
            return len(found) == most

        return _log_page(found, await walk(self._log, place.key, position, take, backwards=backwards))

    async def _place_of(self, own: LogKey, start: Position | None) -> Place:
        """Where an operation's events are.

        Args:
            own: The log that it has where it works for no conversation. An old one holds them also where it does,
                if it is there.
            start: Only events after this entry.
        """
        client = await get_engine().open()
        rows = await client.execute_rows(_OPERATION, [own.id, self._owner])
        if not rows:
            raise NotFoundError("operation")
        stream_id, begins = rows[0]["stream_id"], rows[0]["start_position"]
        # Of an operation that says where it begins all is in the conversation's log.
        may_have_own = own.name or begins is None
        if stream_id is None or (may_have_own and (await self._log.ends([own]))[0] is not None):
            return Place(own, start, events_of(None))
        if start is None and begins is not None:
            return Place(LogKey.stream(stream_id), Position.parse(begins).before, events_of(own.id), is_seen=False)
        return Place(LogKey.stream(stream_id), start, events_of(own.id))

    async def _has_ended(self, operation_id: UUID) -> bool:
        client = await get_engine().open()
        rows = await client.execute_rows(_OPERATION, [operation_id, self._owner])
        return not rows or rows[0]["status"] != OperationStatus.ACTIVE

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


def _patient(is_over: Callable[[], Awaitable[bool]]) -> Callable[[], Awaitable[bool]]:
    """While the database does not answer this is not known, and the log may go on."""

    async def asked() -> bool:
        try:
            return await is_over()
        except UnavailableError as exc:
            logger.warning("a log is followed without the database: %s", exc)
            return False

    return asked
