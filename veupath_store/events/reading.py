"""`LogReader`: conversations and operations read back from their logs, page by page."""

import copy
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, Self, TypeVar
from uuid import UUID

from pydantic import BaseModel

from veupath_store import limits
from veupath_store.errors import NotFoundError
from veupath_store.events.current import required_log
from veupath_store.events.entries import Entry, Position
from veupath_store.events.keys import LogKey
from veupath_store.events.pages import PageSize
from veupath_store.events.patched import PATCHED
from veupath_store.events.text import decoded
from veupath_store.session import get_engine
from veupath_store.validation import as_optional_uuid, as_uuid, boolean, integer
from veupath_store.values import LoggedEvent, LogPage, Message, MessageRole

E = TypeVar("E", bound=BaseModel)

READ: Final = 5_000
"""Entries that one call reads at most, however few of them are wanted: 95 % of a chat's are deltas."""

_ROLES: Final = {"user_message": MessageRole.USER, "assistant_message": MessageRole.ASSISTANT}

_STREAM: Final = "SELECT FROM streams WHERE id = $1 AND ($2::uuid IS NULL OR user_id = $2)"
_OPERATION: Final = """
SELECT stream_id, start_position FROM operations WHERE id = $1 AND ($2::uuid IS NULL OR user_id = $2)"""


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

        Args:
            user_id: The user.

        Returns:
            A new reader.

        Raises:
            InvalidInputError: The id is no UUID.
        """
        scoped = copy.copy(self)
        scoped._owner = as_uuid(user_id, "user_id")
        return scoped

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
        return await self._page(key, start, most, _message, backwards=backwards)

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
        operation = as_optional_uuid(operation_id, "operation_id")
        most = integer(limit, "limit", 1, limits.PAGE)
        await self._refuse_foreign(key.id)
        return await self._page(key, start, most, _events_of(operation))

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
        identity = as_uuid(operation_id, "operation_id")
        after = None if position is None else Position.parse(position)
        most = integer(limit, "limit", 1, limits.PAGE)
        client = await get_engine().open()
        rows = await client.execute_rows(_OPERATION, [identity, self._owner])
        if not rows:
            raise NotFoundError("operation")
        if rows[0]["stream_id"] is None:
            return await self._page(LogKey.operation(identity), after, most, _events_of(None))
        if after is None and rows[0]["start_position"] is not None:
            after = _before(Position.parse(rows[0]["start_position"]))
        return await self._page(LogKey.stream(rows[0]["stream_id"]), after, most, _events_of(identity))

    async def _iterate_messages(self, stream_id: UUID | str) -> AsyncIterator[Message]:
        position, at_end = None, False
        while not at_end:
            page = await self.page_messages(stream_id, position=position, limit=limits.PAGE)
            for message in page.items:
                yield message
            position, at_end = page.position, page.at_end

    async def _page(
        self,
        key: LogKey,
        position: Position | None,
        most: int,
        wanted: Callable[[Entry], E | None],
        *,
        backwards: bool = False,
    ) -> LogPage[E]:
        found: list[E] = []
        pages, read = PageSize(), 0
        while read < READ:
            entries = await self._piece(key, position, pages.entries, backwards=backwards)
            read += len(entries)
            for entry in entries:
                position = entry.position
                item = wanted(entry)
                if item is not None:
                    found.append(item)
                if len(found) == most:
                    return _log_page(found, position, at_end=False)
            if not pages.seen(entries):
                return _log_page(found, position, at_end=True)
        return _log_page(found, position, at_end=False)

    async def _piece(self, key: LogKey, position: Position | None, count: int, *, backwards: bool) -> list[Entry]:
        if backwards:
            return await self._log.read_newest(key, count, before=position)
        return await self._log.read(key, after=position, count=count)

    async def _refuse_foreign(self, stream_id: UUID) -> None:
        client = await get_engine().open()
        if not await client.execute_rows(_STREAM, [stream_id, self._owner]):
            raise NotFoundError("stream")


def _log_page(found: list[E], position: Position | None, *, at_end: bool) -> LogPage[E]:
    return LogPage(items=tuple(found), position=None if position is None else str(position), at_end=at_end)


def _events_of(operation: UUID | None) -> Callable[[Entry], LoggedEvent | None]:
    """Takes all events but the store's own, or one operation's."""

    def event(entry: Entry) -> LoggedEvent | None:
        if entry.type == PATCHED or (operation is not None and entry.operation_id != str(operation)):
            return None
        return LoggedEvent(
            id=str(entry.position),
            created_at=entry.position.time,
            type=entry.type,
            operation_id=_operation(entry),
            data=decoded(entry.raw),
        )

    return event


def _message(entry: Entry) -> Message | None:
    role = _ROLES.get(entry.type)
    data = None if role is None else decoded(entry.raw)
    if role is None or data is None:
        return None
    return Message(
        id=str(entry.position),
        created_at=entry.position.time,
        role=role,
        message_id=_text(data.get("messageId")),
        content=_text(data.get("content")) or "",
        operation_id=_operation(entry),
        data=data,
    )


def _text(value: Any) -> str | None:  # noqa: ANN401 - whatever the event holds
    return value if isinstance(value, str) else None


def _operation(entry: Entry) -> UUID | None:
    try:
        return as_uuid(entry.operation_id, "operation_id")
    except ValueError:  # none, or an older application's
        return None


def _before(position: Position) -> Position | None:
    """The position before, so that the given one is read, too."""
    if position.seq > 0:
        return Position(position.ms, position.seq - 1)
    return Position(position.ms - 1, limits.UINT64_MAX) if position.ms > 0 else None
