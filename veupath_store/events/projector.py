"""`Projector`: appending events, and keeping the table equal to what the logs say."""

from collections.abc import Sequence
from uuid import UUID

from veupath_store.errors import NotFoundError
from veupath_store.events.catch_up import catch_up
from veupath_store.events.entries import Event
from veupath_store.events.keys import LogKey
from veupath_store.events.maintenance import ProjectionMaintenance
from veupath_store.events.recorded import RecordedChanges
from veupath_store.races import despite_deadlocks
from veupath_store.session import async_session_factory
from veupath_store.validation import as_uuid
from veupath_store.values import CaughtUp


class Projector(ProjectionMaintenance):
    """Appends events to conversations' logs, and folds them into their rows. For jobs: it sees every user's.

    It takes no session: what it appends is in the log at once, and each fold is a transaction of its own. Inside a
    unit of work that has changed the same conversation, a catch-up would wait for that unit's own lock; there is no
    need for it, because the unit's commit folds what others have appended.

    Raises:
        ConfigurationError: No log is configured.
    """

    async def append(self, stream_id: UUID | str, events: Sequence[Event]) -> list[str]:
        """Append events to a conversation's log, all or none. No database work, one round trip to Redis.

        The row follows with the next `catch_up`, by the worker within its interval. U+0000 and lone surrogates in
        the data become U+FFFD.

        Args:
            stream_id: The conversation.
            events: The events, in their order.

        Returns:
            The entries' ids, ``ms-seq``.

        Raises:
            NotFoundError: No such conversation. A log that was lost is begun again, with what the row holds.
            InvalidInputError: An event cannot be kept; the path names it, as ``events[3].data.content``.
            UnavailableError: Redis does not answer; nothing was appended.
            OutcomeUnknownError: The answer was lost; read the log back.
        """
        key = LogKey.stream(as_uuid(stream_id, "stream_id"))
        try:
            return [str(position) for position in await self.log.append(key, events)]
        except NotFoundError:
            await self._begin(key.id)
            return [str(position) for position in await self.log.append(key, events)]

    async def append_to_operation(self, operation_id: UUID | str, events: Sequence[Event]) -> list[str]:
        """Append events to the log of an operation that belongs to no conversation. One round trip to Redis.

        Args:
            operation_id: The operation.
            events: The events, in their order.

        Returns:
            The entries' ids, ``ms-seq``.

        Raises:
            InvalidInputError: An event cannot be kept.
            UnavailableError: Redis does not answer; nothing was appended.
            OutcomeUnknownError: The answer was lost; read the log back.
        """
        key = LogKey.operation(as_uuid(operation_id, "operation_id"))
        return [str(position) for position in await self.log.append(key, events, new=True)]

    async def catch_up(self, stream_id: UUID | str) -> CaughtUp:
        """Fold what a log holds after its row's position. Idempotent, in order, without gaps, whoever calls it.

        Nothing to fold: one indexed read and one round trip to Redis. Otherwise for each page (64 entries at first,
        then up to 2,000) also a transaction of two statements, which locks the row; and where a name or a WDK id is
        claimed, three to six statements more.

        Args:
            stream_id: The conversation.

        Returns:
            Where the row stands now, and the entries that were skipped.

        Raises:
            NotFoundError: No such conversation.
            UnavailableError: A server does not answer, or the row is locked for too long; the call may be repeated.
        """
        return await catch_up(self.log, as_uuid(stream_id, "stream_id"))

    async def _begin(self, stream_id: UUID) -> None:
        """Begin the log of a row that has none, with what the row holds."""

        async def begin() -> None:
            async with async_session_factory() as session:
                session.companion = companion = RecordedChanges(self.log)
                settlement = companion.settlement(session.client)
                rows = await settlement.load([stream_id])
                if not rows:
                    raise NotFoundError("stream")
                await settlement.begin(rows[0])
                await settlement.finish()

        await despite_deadlocks(begin)
