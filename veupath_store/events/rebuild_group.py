"""Rebuilding some conversations in one transaction: those against which nothing stands, the others one by one.

A transaction for each conversation costs more than its log. Together go those whose plan is small, so that the first
pages of all their logs fit into memory, and whose row nobody else has locked or moved meanwhile. What then goes wrong
with one of them undoes the transaction, and each is rebuilt alone, where what is wrong is found out.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Final
from uuid import UUID

from veupath_store.errors import NotFoundError, StoreError
from veupath_store.events.catch_up import log_problems
from veupath_store.events.fold import Folded
from veupath_store.events.keys import LogKey
from veupath_store.events.log import EventLog, Exchange, Exchanged
from veupath_store.events.pages import FIRST
from veupath_store.events.rebuild import Prefix, fold_prefix, outcome_of, rebuild_stream
from veupath_store.events.recorded import settling
from veupath_store.events.rows import Row, lock_free_rows
from veupath_store.events.selection import Chosen
from veupath_store.events.settlement import Settlement
from veupath_store.values import RebuildOutcome, StreamRebuild

TOGETHER: Final = 32
"""Conversations of one transaction at the most: so long may a writer of one of them have to wait."""

_SMALL: Final = 8 * 1024
"""Bytes of a plan in the table."""


async def rebuild_group(log: EventLog, group: Sequence[Chosen], *, force: bool = False) -> AsyncIterator[StreamRebuild]:
    """Make rows anew from their logs, each as `rebuild.rebuild_stream` does.

    Args:
        log: The event log.
        group: The conversations, `TOGETHER` at the most.
        force: Also where a log cannot be trusted.

    Yields:
        What was done with each that exists, as soon as it is.
    """
    small = [one for one in group if one.plan_size <= _SMALL]
    done: dict[UUID, StreamRebuild] = {}
    if len(small) > 1:
        # Whatever it is, it is raised again where it belongs: by the conversation that is concerned.
        with suppress(StoreError):
            done = await _together(log, small, force=force)
    for rebuilt in done.values():
        yield rebuilt
    for one in group:
        if one.stream_id not in done:
            with suppress(NotFoundError):
                yield await rebuild_stream(log, one.stream_id, one.last_event_id, force=force)


async def _together(log: EventLog, group: Sequence[Chosen], *, force: bool) -> dict[UUID, StreamRebuild]:
    """Rebuild those that can be in one transaction; what is not in the result is to be looked at alone."""
    prefixes = await _prefixes(log, group)
    done: dict[UUID, StreamRebuild] = {}
    async with settling(log, set()) as settlement:
        rows = await lock_free_rows(settlement.client, prefixes)
        # A row that has moved, or whose log has lost what it has seen, does not stand where its prefix ends.
        still = [row for row in rows if row.state.last_event_id == prefixes[row.stream_id].state.last_event_id]
        parts = [Exchange(key=LogKey.stream(row.stream_id), after=row.position, count=FIRST) for row in still]
        for row in still:
            row.state = prefixes[row.stream_id].state
        answers = await log.exchange(parts)
        pages = [answer.entries for answer in answers]
        folded = await settlement.advance_all(list(zip(still, pages, strict=True)))
        for row, answer, page in zip(still, answers, folded, strict=True):
            rebuilt = await _finished(settlement, row, prefixes[row.stream_id], answer, page)
            if rebuilt.outcome is RebuildOutcome.REBUILT:
                settlement.add(row)
            if not (rebuilt.refused and force):
                done[row.stream_id] = rebuilt
        if any(one.outcome is RebuildOutcome.REBUILT for one in done.values()):
            await settlement.finish()
    return done


async def _prefixes(log: EventLog, group: Sequence[Chosen]) -> dict[UUID, Prefix]:
    """What the logs say up to where the rows stood a moment ago, without a lock."""
    moved = [one.stream_id for one in group if one.last_event_id is not None]
    pages = await log.read_first([LogKey.stream(stream_id) for stream_id in moved], FIRST)
    first = dict(zip(moved, pages, strict=True))
    return {
        one.stream_id: await fold_prefix(log, one.stream_id, one.last_event_id, first.get(one.stream_id))
        for one in group
    }


async def _finished(settlement: Settlement, row: Row, prefix: Prefix, answer: Exchanged, page: Folded) -> StreamRebuild:
    """Fold what comes after the first page into a locked row."""
    folded, problems = settlement.folded, len(settlement.problems)
    if len(answer.entries) == FIRST:
        await settlement.fold_rest(row, after=answer.entries[-1].position)
    events = prefix.events + page.folded + settlement.folded - folded
    return StreamRebuild(
        stream_id=row.stream_id,
        outcome=outcome_of(row, whole=answer.whole, empty=events == 0),
        events=events,
        problems=log_problems([*prefix.problems, *page.problems, *settlement.problems[problems:]]),
    )
