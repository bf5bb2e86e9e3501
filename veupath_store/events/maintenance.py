"""Rebuilding, verifying and measuring many projections at once."""

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any, Final
from uuid import UUID

from veupath_store import limits
from veupath_store.errors import NotFoundError
from veupath_store.events.current import required_log
from veupath_store.events.lag import STUCK_AFTER, lag_of
from veupath_store.events.rebuild_group import TOGETHER, rebuild_group
from veupath_store.events.removals import count_removals
from veupath_store.events.selection import Chosen, Progress, Selection, for_each
from veupath_store.events.verify import verify_stream
from veupath_store.validation import seconds
from veupath_store.values import (
    LagReport,
    LagState,
    LogProblem,
    RebuildOutcome,
    RebuildReport,
    StreamLag,
    StreamRebuild,
    StreamVerification,
    VerifyOutcome,
    VerifyReport,
)

_PROVEN = {VerifyOutcome.EQUAL, VerifyOutcome.EMPTY}
_AT_REST = {LagState.CURRENT, LagState.EMPTY}


class ProjectionMaintenance:
    """The part of `Projector` that goes through many conversations."""

    def __init__(self) -> None:
        self.log: Final = required_log()

    async def rebuild(
        self,
        *,
        stream_id: UUID | str | None = None,
        user_id: UUID | str | None = None,
        site_id: str | None = None,
        force: bool = False,
        parallel: int = 4,
        progress: Progress | None = None,
    ) -> RebuildReport:
        """Make rows anew from their whole logs, while the application runs. All conversations by default.

        Rows are locked only while what they have not seen yet is folded. Cost: the reading of the logs, and two
        statements for some conversations together, in one transaction; for each alone where its plan is large, or
        somebody else is changing it. A log that lacks what its row has seen, or that has no beginning, is refused and
        reported.

        Args:
            stream_id: Only this conversation.
            user_id: Only this user's.
            site_id: Only those on this site.
            force: Fold also what would be refused. **The row then holds only what the log still says.**
            parallel: How many at once, each on a connection of the pool.
            progress: Called as they are done.

        Returns:
            What was done.

        Raises:
            NotFoundError: The `stream_id` is nobody's.
            InvalidInputError: An argument is refused.
            UnavailableError: A server does not answer. What was rebuilt until then is.
        """
        selection = Selection(stream_id, user_id, site_id)
        counts, events = Counter[RebuildOutcome](), 0
        refused, problems = list[StreamRebuild](), dict[UUID, tuple[LogProblem, ...]]()

        def add(done: StreamRebuild) -> None:
            nonlocal events
            counts[done.outcome] += 1
            events += done.events
            if done.refused:
                refused.append(done)
            if done.problems:
                problems[done.stream_id] = done.problems

        def rebuild(group: list[Chosen]) -> AsyncIterator[StreamRebuild]:
            return rebuild_group(self.log, group, force=force)

        await for_each(selection, rebuild, add, parallel, progress, together=TOGETHER)
        _refuse_nobodys(stream_id, counts)
        return RebuildReport(counts=counts, events=events, refused=tuple(refused), problems=problems)

    async def verify(
        self,
        *,
        stream_id: UUID | str | None = None,
        user_id: UUID | str | None = None,
        site_id: str | None = None,
        parallel: int = 4,
        progress: Progress | None = None,
    ) -> VerifyReport:
        """Compare rows with what their logs say, up to the rows' positions. Writes and locks nothing.

        Cost: the reading of the logs, and one indexed read for each conversation.

        Args:
            stream_id: Only this conversation.
            user_id: Only this user's.
            site_id: Only those on this site.
            parallel: How many at once.
            progress: Called as they are done.

        Returns:
            What was found, with the differences column by column.

        Raises:
            NotFoundError: The `stream_id` is nobody's.
            InvalidInputError: An argument is refused.
            UnavailableError: A server does not answer.
        """
        selection = Selection(stream_id, user_id, site_id)
        counts, events, suspects = Counter[VerifyOutcome](), 0, list[StreamVerification]()

        def add(done: StreamVerification) -> None:
            nonlocal events
            counts[done.outcome] += 1
            events += done.events
            if done.outcome not in _PROVEN:
                suspects.append(done)

        async def verify(group: list[Chosen]) -> AsyncIterator[StreamVerification]:
            for one in group:
                with suppress(NotFoundError):
                    yield await verify_stream(self.log, one.stream_id, one.last_event_id)

        await for_each(selection, verify, add, parallel, progress)
        _refuse_nobodys(stream_id, counts)
        return VerifyReport(counts=counts, events=events, suspects=tuple(suspects))

    async def lag(
        self,
        *,
        stream_id: UUID | str | None = None,
        user_id: UUID | str | None = None,
        site_id: str | None = None,
        stuck_after: float = STUCK_AFTER,
        progress: Progress | None = None,
    ) -> LagReport:
        """How far rows are behind their logs. For each 500 conversations one read and one round trip to Redis.

        One round trip more for each that is behind, whose entries Redis counts.

        Args:
            stream_id: Only this conversation.
            user_id: Only this user's.
            site_id: Only those on this site.
            stuck_after: Seconds after which a row that is behind counts as stuck.
            progress: Called as they are done.

        Returns:
            Where they stand.

        Raises:
            NotFoundError: The `stream_id` is nobody's.
            InvalidInputError: An argument is refused.
            UnavailableError: A server does not answer.
        """
        selection = Selection(stream_id, user_id, site_id)
        limit = seconds(stuck_after, "stuck_after", limits.LEASE_SECONDS)
        counts, lagging = Counter[LagState](), list[StreamLag]()
        async for chunk in selection.chunks():
            for one in await lag_of(self.log, chunk, limit):
                counts[one.state] += 1
                if one.state not in _AT_REST:
                    lagging.append(one)
            if progress is not None:
                progress(len(chunk))
        _refuse_nobodys(stream_id, counts)
        return LagReport(
            counts=counts,
            events=sum(one.events for one in lagging),
            seconds=max((one.seconds for one in lagging), default=0.0),
            removals=await count_removals(),
            lagging=tuple(lagging),
        )


def _refuse_nobodys(stream_id: UUID | str | None, counts: Mapping[Any, int]) -> None:
    if stream_id is not None and not counts:
        raise NotFoundError("stream")
