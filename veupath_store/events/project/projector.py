"""`Projector`: appending events, and keeping rows and logs at the same place."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Final, Generic, TypeVar
from uuid import UUID

from veupath_store.errors import InvalidInputError, NotFoundError
from veupath_store.events.log.entries import Event, LogKey, Position
from veupath_store.events.log.log import required_log
from veupath_store.events.project.catch_up import catch_up
from veupath_store.events.project.lag import STUCK_AFTER, lag_of
from veupath_store.events.project.rebuild import make_missing_streams, rebuild_group
from veupath_store.events.project.removal import count_waiting, count_without_row, trim_stream
from veupath_store.events.project.rows import keep_events
from veupath_store.events.project.selection import Progress, Selection, for_each
from veupath_store.events.project.verify import PROVEN, verify_group
from veupath_store.inputs import limits
from veupath_store.inputs.validation import as_uuid, integer, seconds
from veupath_store.session import get_engine
from veupath_store.session.unit_of_work import Session
from veupath_store.values import (
    CaughtUp,
    LagReport,
    LagState,
    RebuildReport,
    StreamLag,
    StreamRebuild,
    StreamVerification,
    VerifyReport,
)

D = TypeVar("D", bound=StreamRebuild | StreamVerification)

_AT_REST: Final = {LagState.CURRENT, LagState.UNLOGGED}
_OPERATION: Final = "SELECT FROM operations WHERE id = $1"


class Projector:
    """Appends events to conversations' logs, and keeps rows and logs together. For jobs: it sees every user's.

    Every method raises `NotFoundError` where there is no conversation of the id that it is given, and
    `UnavailableError` where a server does not answer, or a row is locked for too long: nothing was appended, what was
    rebuilt until then is, and the call may be repeated.

    Where no id is needed all conversations are meant by default, or those of one user, or of one site; `progress` is
    called with the number of those that were done since it was called last, and `parallel` (1 to `PARALLEL`) says how
    many groups of them are worked on at once.

    Raises:
        ConfigurationError: No log is configured.
    """

    def __init__(self) -> None:
        self.log: Final = required_log()

    async def append(
        self, stream_id: UUID | str, events: Sequence[Event], *, session: Session | None = None
    ) -> list[str]:
        """Append events to a conversation's log, all or none.

        Without a session: no database work, one round trip to Redis. The row follows with the next `catch_up`. With one
        the events are part of that unit of work, also where it makes the conversation: they are in the log soon after
        its commit, each once, and nowhere when it is rolled back. One statement.

        U+0000 and lone surrogates in the data become U+FFFD, and NaN and the infinities null.

        Args:
            events: The events, in their order. The key of one makes it harmless to append it again.
            session: The unit of work that they are part of.

        Returns:
            The entries' ids, ``ms-seq``; none with a session, because they have none yet.

        Raises:
            NotFoundError: No such conversation, or an event is of an operation that a purge has deleted.
            InvalidInputError: An event cannot be kept; the path names it, as ``events[3].data.content``.
            OutcomeUnknownError: The answer was lost: read the log back, or append again if each event has a key.
        """
        key = LogKey.stream(as_uuid(stream_id, "stream_id"))
        if session is not None:
            await keep_events(session, key.id, events)
            return []
        try:
            positions = await self.log.append(key, events)
        except NotFoundError:
            # It was lost, or is not begun yet: the row begins it, if there is one.
            await catch_up(self.log, key.id)
            positions = await self.log.append(key, events)
        return [str(position) for position in positions]

    async def append_to_operation(self, operation_id: UUID | str, events: Sequence[Event]) -> list[str]:
        """As `append`, to the log of an operation that belongs to no conversation.

        One round trip to Redis; for the first events one indexed read and one round trip more.

        Raises:
            NotFoundError: There is no such operation, or no longer.
        """
        key = LogKey.operation_given(operation_id)
        try:
            positions = await self.log.append(key, events)
        except NotFoundError:
            client = await get_engine().open()
            if not await client.execute_rows(_OPERATION, [key.id]):
                raise NotFoundError("operation") from None
            positions = await self.log.append(key, events, new=True)
        return [str(position) for position in positions]

    async def catch_up(self, stream_id: UUID | str) -> CaughtUp:
        """Bring a row and its log to the same place. Idempotent, in order, without gaps, whoever calls it.

        Folds what the log holds after the row's position, and writes to the log what the row holds and the log does
        not. Nothing to do: one indexed read and one round trip to Redis. Otherwise for each page (up to 2,000 entries,
        of about 4 MiB) also a transaction of two statements, which locks the row; and where a name or a WDK id is
        claimed, one to three statements more. No lock is held while Redis is asked.

        Returns:
            Where the row stands now, and the entries that were skipped.
        """
        return await catch_up(self.log, as_uuid(stream_id, "stream_id"))

    async def trim(self, stream_id: UUID | str, *, keep: int | None = None, older_than: timedelta | None = None) -> int:
        """Remove the old part of a conversation's log, below what its row has seen. Messages in it are gone for good.

        The log first gets an event with all that the row holds. A later rebuild starts from it: it gives back the row,
        and no longer proves how it came about. Also a Redis whose memory is full can be trimmed.

        A catch-up, and a few round trips more.

        Args:
            keep: How many of the newest entries stay at least, from 1 on.
            older_than: Only entries of at least this age.

        Returns:
            How many entries were removed; 0 where neither `keep` nor `older_than` lets any go.

        Raises:
            InvalidInputError: An argument is refused, or neither of the two is given.
        """
        identity = as_uuid(stream_id, "stream_id")
        if keep is None and older_than is None:
            raise InvalidInputError("keep", "it, or older_than, is needed")
        kept = None if keep is None else integer(keep, "keep", 1, limits.INT32_MAX)
        before = None if older_than is None else _ago(older_than)
        return await trim_stream(self.log, identity, keep=kept, before=before)

    async def rebuild(
        self,
        *,
        stream_id: UUID | str | None = None,
        user_id: UUID | str | None = None,
        site_id: str | None = None,
        missing: bool = False,
        force: bool = False,
        parallel: int = 4,
        progress: Progress | None = None,
    ) -> RebuildReport:
        """Make rows anew from their whole logs, while the application runs. All conversations by default.

        What a row holds and its log does not yet stays. Rows are locked for the moment of a write. Cost: the reading of
        the logs, and a few statements for each `TOGETHER` conversations. A log that lacks what its row has seen, or
        that has no beginning, is refused and reported.

        Args:
            missing: First make the conversations anew whose logs are there and whose rows are not, as after a restore
                of PostgreSQL, for the owners that the logs name.
            force: Fold also what would be refused. **The row then holds only what the log still says.**
            parallel: Each group's transaction is on a connection of the pool.
        """
        selection = Selection(stream_id, user_id, site_id)
        tally = _Tally[StreamRebuild](lambda one: one.refused or bool(one.problems))
        for one in await make_missing_streams(self.log) if missing else ():
            tally.add(one)
        rebuild = partial(rebuild_group, self.log, force=force)
        await for_each(selection, rebuild, tally.add, parallel, progress)
        return RebuildReport(
            counts=tally.counts,
            events=tally.events,
            refused=tuple(one for one in tally.named if one.refused),
            problems={one.stream_id: one.problems for one in tally.named if one.problems},
        )

    async def verify(
        self,
        *,
        stream_id: UUID | str | None = None,
        user_id: UUID | str | None = None,
        site_id: str | None = None,
        parallel: int = 4,
        progress: Progress | None = None,
    ) -> VerifyReport:
        """Compare rows with what their logs say, up to the rows' positions, column by column. Writes and locks nothing.

        What a row holds and its log does not yet is not compared. Cost: the reading of the logs, and a statement for
        each `TOGETHER` conversations, and each whose plan is large; few large plans are in memory at once.
        """
        selection = Selection(stream_id, user_id, site_id)
        tally = _Tally[StreamVerification](lambda one: one.outcome not in PROVEN)
        await for_each(selection, partial(verify_group, self.log), tally.add, parallel, progress)
        return VerifyReport(counts=tally.counts, events=tally.events, suspects=tuple(tally.named))

    async def lag(
        self,
        *,
        stream_id: UUID | str | None = None,
        user_id: UUID | str | None = None,
        site_id: str | None = None,
        stuck_after: float = STUCK_AFTER,
        progress: Progress | None = None,
    ) -> LagReport:
        """How far rows are behind their logs, and what logs have lost.

        For each 500 conversations one read and one round trip to Redis, and one round trip more for each that is
        behind; where all are asked for, also one for each 1,000 keys, to find logs that have no row.

        Args:
            stuck_after: Seconds after which a row that is behind counts as stuck.
        """
        selection = Selection(stream_id, user_id, site_id)
        limit = seconds(stuck_after, "stuck_after", limits.LEASE_SECONDS)
        counts, lagging = Counter[LagState](), list[StreamLag]()
        async for chunk in selection.chunks():
            for one in await lag_of(self.log, chunk, limit):
                counts[one.state] += 1
                if one.state not in _AT_REST or one.lost is not None:
                    lagging.append(one)
            if progress is not None:
                progress(len(chunk))
        return LagReport(
            counts=counts,
            events=sum(one.events for one in lagging),
            seconds=max((one.seconds for one in lagging), default=0.0),
            removals=await count_waiting(),
            without_row=await count_without_row(self.log) if stream_id is user_id is site_id is None else 0,
            lagging=tuple(lagging),
        )


class _Tally(Generic[D]):
    """What was done with conversations: each outcome's number, and those worth naming."""

    def __init__(self, is_named: Callable[[D], bool]) -> None:
        self.counts: Counter[Any] = Counter()
        self.events = 0
        self.named: list[D] = []
        self._is_named = is_named

    def add(self, one: D) -> None:
        self.counts[one.outcome] += 1
        self.events += one.events
        if self._is_named(one):
            self.named.append(one)


def _ago(age: timedelta) -> Position:
    """The first position of so long ago."""
    if not isinstance(age, timedelta) or age < timedelta():
        raise InvalidInputError("older_than", "a timedelta, not below zero, is needed")
    return Position(max(0, int((time.time() - age.total_seconds()) * 1000)), 0)
