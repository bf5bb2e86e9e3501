"""`LogReader`: conversations and operations read back from their logs, page by page or as they grow."""

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Final
from uuid import UUID

from veupath_store import limits
from veupath_store.errors import NotFoundError, UnavailableError
from veupath_store.events.entries import Position
from veupath_store.events.following import follow
from veupath_store.events.keys import LogKey
from veupath_store.events.reader import Place, ScopedReader
from veupath_store.events.shown import events_of, message
from veupath_store.validation import as_operation_id, as_uuid, boolean, integer
from veupath_store.values import LoggedEvent, LogPage, Message

logger = logging.getLogger("veupath_store.events")

FOLLOW_SECONDS: Final = 15.0
"""Seconds between two looks at whether a conversation that is followed is still there."""

OPERATION_SECONDS: Final = 1.0
"""Seconds between two looks at whether an operation that is followed has ended."""


class LogReader(ScopedReader):
    """Reads logs back. Made by itself it reads every user's, which is for jobs; request code uses `for_user`.

    Raises:
        ConfigurationError: No log is configured.
    """

    async def page_messages(
        self, stream_id: UUID | str, *, position: str | None = None, limit: int = 50, newest_first: bool = False
    ) -> LogPage[Message]:
        """A page of a conversation's messages. One indexed read, and a round trip to Redis for each piece of the log.

        Pieces have 64 entries at first, and up to 2,000 while these are small.

        Args:
            stream_id: The conversation.
            position: `LogPage.position` of the page before; ``None`` for the first page.
            limit: Messages at most, 1 to `limits.PAGE`.
            newest_first: Read backwards from the end.

        Returns:
            The page. About `READ` entries are read for it at most.

        Raises:
            NotFoundError: No such conversation, or not this user's.
            InvalidInputError: An argument is refused.
            UnavailableError: A server does not answer.
        """
        key = LogKey.stream(as_uuid(stream_id, "stream_id"))
        start = None if position is None else Position.parse(position)
        most = integer(limit, "limit", 1, limits.PAGE)
        backwards = boolean(newest_first, "newest_first")
        await self._refuse_foreign(key.id)
        return await self._page(key, start, most, message, backwards=backwards)

    def iterate_messages(self, stream_id: UUID | str) -> AsyncIterator[Message]:
        """All messages of a conversation, oldest first; never more than a page in memory.

        Args:
            stream_id: The conversation.

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
    ) -> LogPage[LoggedEvent]:
        """A page of a conversation's events, in their order: what an SSE client has missed since its last event id.

        The store's own events (``projection_patched``) are left out. Reads as `page_messages`: one of the table, and
        round trips to Redis.

        Args:
            stream_id: The conversation.
            position: Only events after this entry; ``None`` for all.
            limit: Events at most, 1 to `limits.PAGE`.
            operation_id: Only this operation's.

        Returns:
            The page; go on with its `position` until `at_end`, then wait for new ones.

        Raises:
            NotFoundError: No such conversation, or not this user's.
            InvalidInputError: An argument is refused.
            UnavailableError: A server does not answer.
        """
        key = LogKey.stream(as_uuid(stream_id, "stream_id"))
        start = None if position is None else Position.parse(position)
        operation = None if operation_id is None else as_operation_id(operation_id, "operation_id")
        most = integer(limit, "limit", 1, limits.PAGE)
        await self._refuse_foreign(key.id)
        return await self._page(key, start, most, events_of(operation))

    async def page_operation_events(
        self, operation_id: UUID | str, *, position: str | None = None, limit: int = 500
    ) -> LogPage[LoggedEvent]:
        """A page of an operation's events, whichever log they are in. One indexed read, and round trips to Redis.

        A conversation's operation has them in the conversation's log, from its `start_position` on; others have a log
        of their own.

        Args:
            operation_id: The operation.
            position: Only events after this entry; ``None`` for all.
            limit: Events at most, 1 to `limits.PAGE`.

        Returns:
            The page; go on with its `position` until `at_end`, then wait for new ones.

        Raises:
            NotFoundError: No such operation, or not this user's.
            InvalidInputError: An argument is refused.
            UnavailableError: A server does not answer.
        """
        own = LogKey.operation_given(operation_id)
        start = None if position is None else Position.parse(position)
        most = integer(limit, "limit", 1, limits.PAGE)
        place = await self._place_of(own, start)
        return await self._page(place.key, place.after, most, place.wanted)

    async def follow(
        self, stream_id: UUID | str, *, position: str | None = None, operation_id: UUID | str | None = None
    ) -> AsyncGenerator[LoggedEvent, None]:
        """A conversation's events after a position, and then each as it is appended: what an SSE response sends.

        Without a gap and without a repeat, whoever appends. The iterator holds no connection while it waits or while
        its consumer is busy: one request to Redis waits for all that this process follows. An event reaches it within
        milliseconds; in the first 0.2 s of its waiting it may take as long as that. Every `FOLLOW_SECONDS` one indexed
        read sees whether the conversation is still there.

        Args:
            stream_id: The conversation.
            position: Only events after this entry, as the ``Last-Event-ID`` that a client sends; ``None`` for all.
            operation_id: Only this operation's.

        Returns:
            An asynchronous generator, which ends when the conversation is gone. Iterating raises `UnavailableError`
            when Redis does not answer: follow again from the last event.

        Raises:
            NotFoundError: No such conversation, or not this user's.
            InvalidInputError: An argument is refused.
            UnavailableError: The database does not answer.
        """
        key = LogKey.stream(as_uuid(stream_id, "stream_id"))
        start = None if position is None else Position.parse(position)
        operation = None if operation_id is None else as_operation_id(operation_id, "operation_id")
        await self._refuse_foreign(key.id)

        return self._follow(Place(key, start, events_of(operation)), lambda: self._is_gone(key.id), FOLLOW_SECONDS)

    async def follow_operation(
        self, operation_id: UUID | str, *, position: str | None = None
    ) -> AsyncGenerator[LoggedEvent, None]:
        """An operation's events after a position, and then each as it is appended, until it has ended.

        As `follow`. How the operation ended is not an event: read it from the table afterwards
        (`OperationRepository.get_status`). Every `OPERATION_SECONDS` one indexed read sees whether it has.

        Args:
            operation_id: The operation.
            position: Only events after this entry; ``None`` for all.

        Returns:
            An asynchronous generator, which ends about a second after the operation, or when it is gone.

        Raises:
            NotFoundError: No such operation, or not this user's.
            InvalidInputError: An argument is refused.
            UnavailableError: The database does not answer.
        """
        own = LogKey.operation_given(operation_id)
        start = None if position is None else Position.parse(position)
        place = await self._place_of(own, start)

        return self._follow(place, lambda: self._has_ended(own.id), OPERATION_SECONDS)

    async def _iterate_messages(self, stream_id: UUID | str) -> AsyncIterator[Message]:
        position, at_end = None, False
        while not at_end:
            page = await self.page_messages(stream_id, position=position, limit=limits.PAGE)
            for item in page.items:
                yield item
            position, at_end = page.position, page.at_end

    async def _is_gone(self, stream_id: UUID) -> bool:
        try:
            await self._refuse_foreign(stream_id)
        except NotFoundError:
            return True
        return False

    async def _follow(
        self, place: Place, is_over: Callable[[], Awaitable[bool]], every: float
    ) -> AsyncGenerator[LoggedEvent, None]:
        entries = follow(self._log, place.key, place.after, _patient(is_over), every)
        async with aclosing(entries):
            async for entry in entries:
                event = place.wanted(entry)
                if event is not None:
                    yield event


def _patient(is_over: Callable[[], Awaitable[bool]]) -> Callable[[], Awaitable[bool]]:
    """While the database does not answer nobody knows, and the log may go on."""

    async def asked() -> bool:
        try:
            return await is_over()
        except UnavailableError as exc:
            logger.warning("a log is followed without the database: %s", exc)
            return False

    return asked
