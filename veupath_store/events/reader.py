"""What reading logs back has in common: whose logs they are, where they are, and reading a page."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self, TypeVar
from uuid import UUID

from pydantic import BaseModel

from veupath_store import limits
from veupath_store.errors import NotFoundError
from veupath_store.events.current import required_log
from veupath_store.events.entries import Entry, Position
from veupath_store.events.keys import LogKey
from veupath_store.events.pages import PageSize
from veupath_store.events.shown import events_of
from veupath_store.session import get_engine
from veupath_store.validation import as_uuid
from veupath_store.values import LoggedEvent, LogPage, OperationStatus

E = TypeVar("E", bound=BaseModel)

READ: Final = 5_000
"""Entries that one call reads at most, however few of them are wanted: 95 % of a chat's are deltas."""

_STREAM: Final = "SELECT FROM streams WHERE id = $1 AND ($2::uuid IS NULL OR user_id = $2)"
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


class ScopedReader:
    """Reads one user's logs, or everybody's."""

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

    async def _place_of(self, own: LogKey, start: Position | None) -> Place:
        """Where an operation's events are.

        Args:
            own: The log that it has where it works for no conversation. An old one, under its old name, holds them
                also where it does, if it is there.
            start: Only events after this entry.
        """
        client = await get_engine().open()
        rows = await client.execute_rows(_OPERATION, [own.id, self._owner])
        if not rows:
            raise NotFoundError("operation")
        stream_id, begins = rows[0]["stream_id"], rows[0]["start_position"]
        if stream_id is None or (own.name and (await self._log.ends([own]))[0] is not None):
            return Place(own, start, events_of(None))
        if start is None and begins is not None:
            start = _before(Position.parse(begins))
        return Place(LogKey.stream(stream_id), start, events_of(own.id))

    async def _has_ended(self, operation_id: UUID) -> bool:
        client = await get_engine().open()
        rows = await client.execute_rows(_OPERATION, [operation_id, self._owner])
        return not rows or rows[0]["status"] != OperationStatus.ACTIVE

    async def _refuse_foreign(self, stream_id: UUID) -> None:
        client = await get_engine().open()
        if not await client.execute_rows(_STREAM, [stream_id, self._owner]):
            raise NotFoundError("stream")


def _log_page(found: list[E], position: Position | None, *, at_end: bool) -> LogPage[E]:
    return LogPage(items=tuple(found), position=None if position is None else str(position), at_end=at_end)


def _before(position: Position) -> Position | None:
    """The position before, so that the given one is read, too."""
    if position.seq > 0:
        return Position(position.ms, position.seq - 1)
    return Position(position.ms - 1, limits.UINT64_MAX) if position.ms > 0 else None
