"""Changes of conversations become events where there is a log, in the unit of work that makes them.

Without a log (``REDIS_URL`` is unset) repositories write the table only, and nothing here does anything. With one, a
unit of work that changes conversations costs two statements and a round trip to Redis more, however many they are, and
a third statement where some are new; a call without a session is a unit of work of its own. What the methods say of
their statements is what they send themselves.
"""

import copy
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Self
from uuid import UUID

from veupath_store.events.changes import Change
from veupath_store.events.current import event_log
from veupath_store.events.keys import LogKey
from veupath_store.events.recorded import RecordedChanges
from veupath_store.races import despite_deadlocks
from veupath_store.repositories.base import M, Repository, T
from veupath_store.session import async_session_factory
from veupath_store.unit_of_work import Session


class Recording(Repository[M]):
    """A repository that changes conversations."""

    async def delete(self, id: UUID | str) -> bool:  # noqa: A002 - the entity's own word
        """Delete one, with all that belongs to it, its log included. One statement; a user's logs take two more.

        Where there is an event log, what goes is removed from it right after the commit, which takes three
        statements, or, when that is cut off, by the worker. A conversation takes a read more, for the operations of an
        adopted database that have logs of their own; those under old keys go with the worker's next sweep.

        Args:
            id: Its id.

        Returns:
            Whether there was one; ``False`` also when it is not this user's.

        Raises:
            InvalidInputError: The id is no UUID.
            UnavailableError: The database does not answer; nothing was deleted.
            OutcomeUnknownError: Without a session, the answer was lost.
        """
        identity = self._identity(id)

        async def delete(inside: Self) -> bool:
            logs = await inside._logs_of(identity) if inside._companion() else ()
            deleted = await (await inside._own_rows()).filter(pk=identity).delete() > 0
            if deleted:
                inside._remove_logs(logs)
            return deleted

        return await self._recorded(delete)

    async def _logs_of(self, identity: UUID) -> Sequence[LogKey]:
        """The logs that go with one that is deleted."""
        del identity
        return ()

    async def _recorded(self, write: Callable[[Self], Awaitable[T]]) -> T:
        """Run a write where its changes can be recorded: without a session, in one of its own where there is a log.

        That one is repeated when it deadlocks with others; a caller's own session is the caller's to repeat.

        Args:
            write: The write, of this repository or of one in that session. It may be run again.

        Returns:
            What it returned.
        """
        if self._session is not None or event_log() is None:
            return await write(self)

        async def unit() -> T:
            async with async_session_factory() as session:
                return await write(self._within(session))

        return await despite_deadlocks(unit)

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

    def _remove_logs(self, logs: Sequence[LogKey]) -> None:
        """Note logs of what is deleted, so that they go too."""
        companion = self._companion()
        if companion is not None:
            companion.remove(logs)

    def _companion(self) -> RecordedChanges | None:
        log = None if self._session is None else event_log(self._session)
        if self._session is None or log is None:
            return None
        if not isinstance(self._session.companion, RecordedChanges):
            self._session.companion = RecordedChanges(log)
        return self._session.companion
