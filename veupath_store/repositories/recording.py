"""Changes of conversations become events where there is a log, in the unit of work that makes them.

Without a log (``REDIS_URL`` is unset) repositories write the table only, and nothing here does anything.
"""

import copy
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Self
from uuid import UUID

from veupath_store.events.changes import Change
from veupath_store.events.current import event_log
from veupath_store.events.keys import LogKey
from veupath_store.events.recorded import RecordedChanges
from veupath_store.repositories.base import M, Repository
from veupath_store.session import async_session_factory
from veupath_store.unit_of_work import Session


class Recording(Repository[M]):
    """A repository that changes conversations."""

    @asynccontextmanager
    async def _recording(self) -> AsyncIterator[Self]:
        """This repository where its changes can be recorded: without a session, in one of its own."""
        if self._session is not None or event_log() is None:
            yield self
            return
        async with async_session_factory() as session:
            yield self._within(session)

    def _within(self, session: Session) -> Self:
        """The same repository in a session."""
        inside = copy.copy(self)
        inside._session = session
        return inside

    def _record(
        self, stream_id: UUID, fields: Mapping[str, Any], *, created: bool = False, order: int | None = None
    ) -> None:
        """Note what a statement has changed in one conversation.

        Args:
            stream_id: The conversation.
            fields: The new values by their columns.
            created: Whether it is new.
            order: Microseconds by which its `updated_at` is earlier than the others' of the same statement.
        """
        self._record_change(Change(stream_id=stream_id, fields=fields, created=created, order=order))

    def _record_change(self, change: Change) -> None:
        companion = self._companion()
        if companion is not None:
            companion.record(change)

    def _remove_logs(self, *, streams: Iterable[UUID] = (), operations: Iterable[UUID] = ()) -> None:
        """Note which conversations and operations are gone, so that their logs go too."""
        companion = self._companion()
        if companion is not None:
            companion.remove([*map(LogKey.stream, streams), *map(LogKey.operation, operations)])

    def _companion(self) -> RecordedChanges | None:
        log = event_log() if self._session is not None else None
        if self._session is None or log is None:
            return None
        if not isinstance(self._session.companion, RecordedChanges):
            self._session.companion = RecordedChanges(log)
        return self._session.companion
