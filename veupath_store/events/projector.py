"""`Projector`: appending events, and keeping the table equal to what the logs say."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from veupath_store import limits
from veupath_store.errors import InvalidInputError, NotFoundError
from veupath_store.events.catch_up import catch_up
from veupath_store.events.entries import Event
from veupath_store.events.keys import LogKey
from veupath_store.events.maintenance import ProjectionMaintenance
from veupath_store.events.trimming import begin_log, trim_stream
from veupath_store.validation import as_uuid, boolean, integer
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
            await begin_log(self.log, key.id)
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
        key = LogKey.operation_given(operation_id)
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

    async def trim(
        self,
        stream_id: UUID | str,
        *,
        keep: int | None = None,
        older_than: timedelta | None = None,
        checkpoint: bool = True,
    ) -> int:
        """Remove the old part of a conversation's log, below what its row has seen. Messages in it are gone for good.

        With a checkpoint the log first gets an event with all that the row holds. A later rebuild starts from it: it
        gives back the row, and no longer proves how it came about. Without one a rebuild refuses the log, as
        incomplete, and the row can be trusted no more than a backup of it.

        A catch-up, three round trips to Redis, and for the checkpoint a transaction of three statements.

        Args:
            stream_id: The conversation.
            keep: How many of the newest entries stay at least, from 1 on.
            older_than: Only entries of at least this age.
            checkpoint: Whether a later rebuild is to be possible.

        Returns:
            How many entries were removed; 0 where neither `keep` nor `older_than` lets any go.

        Raises:
            NotFoundError: No such conversation.
            InvalidInputError: An argument is refused, or neither of the two is given.
            UnavailableError: A server does not answer.
        """
        identity = as_uuid(stream_id, "stream_id")
        if keep is None and older_than is None:
            raise InvalidInputError("keep", "it, or older_than, is needed")
        return await trim_stream(
            self.log,
            identity,
            keep=None if keep is None else integer(keep, "keep", 1, limits.INT32_MAX),
            before=None if older_than is None else _ago(older_than),
            checkpoint=boolean(checkpoint, "checkpoint"),
        )


def _ago(age: timedelta) -> datetime:
    if not isinstance(age, timedelta) or age < timedelta():
        raise InvalidInputError("older_than", "a timedelta, not below zero, is needed")
    try:
        return datetime.now(UTC) - age
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)
