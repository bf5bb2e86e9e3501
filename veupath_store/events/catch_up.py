"""Catch-up: the one way in which events of the application move a projection."""

from collections.abc import Iterable
from functools import partial
from typing import Final
from uuid import UUID

from veupath_store.errors import NotFoundError
from veupath_store.events.entries import Position
from veupath_store.events.fold import Problem
from veupath_store.events.keys import LogKey
from veupath_store.events.log import EventLog, Exchange, Exchanged
from veupath_store.events.pages import PageSize
from veupath_store.events.recorded import settling
from veupath_store.events.rows import Row
from veupath_store.events.settlement import Settlement
from veupath_store.races import despite_deadlocks
from veupath_store.session import get_engine
from veupath_store.values import CaughtUp, LogProblem

_POSITION: Final = "SELECT last_event_id FROM stream_projections WHERE stream_id = $1"


async def catch_up(log: EventLog, stream_id: UUID) -> CaughtUp:
    """Fold into a row what its log holds after the row's position, page by page, a transaction for each.

    The page is read before the row is locked; under the lock, what another one has folded meanwhile is left out.

    Raises:
        NotFoundError: No such conversation.
    """
    pages, events, problems = PageSize(), 0, list[Problem]()
    while True:
        after = await _position(stream_id)
        part = Exchange(key=LogKey.stream(stream_id), after=after, count=pages.entries)
        answer = (await log.exchange([part]))[0]
        more = pages.seen(answer.entries)
        if not answer.entries:
            return CaughtUp(position=_text(after), events=events, problems=log_problems(problems))

        settlement = await despite_deadlocks(partial(_folded, log, stream_id, answer, after, set()))
        if settlement is None:
            continue
        events += settlement.folded
        problems += settlement.problems
        if not more:
            position = _text(answer.entries[-1].position)
            return CaughtUp(position=position, events=events, problems=log_problems(problems))


async def _position(stream_id: UUID) -> Position | None:
    client = await get_engine().open()
    rows = await client.execute_rows(_POSITION, [stream_id])
    if not rows:
        raise NotFoundError("stream")
    found: str | None = rows[0]["last_event_id"]
    return None if found is None else Position.parse(found)


async def _folded(
    log: EventLog, stream_id: UUID, answer: Exchanged, after: Position | None, known: set[UUID]
) -> Settlement | None:
    """Fold one page in a transaction; ``None`` where the row was set back meanwhile, as by a restore."""
    async with settling(log, known) as settlement:
        rows = await settlement.load([stream_id])
        if not rows:
            raise NotFoundError("stream")
        row = rows[0]
        if _is_before(row, after):
            return None
        await settlement.advance(row, answer.entries)
        if not (answer.whole and row.state.begun):
            # The log has lost what the row has seen and goes on, or what the row held before there was one was never
            # in it: from here on it explains the row.
            await settlement.begin(row)
        await settlement.finish()
    return settlement


def _is_before(row: Row, after: Position | None) -> bool:
    return after is not None and (row.position is None or row.position < after)


def _text(position: Position | None) -> str | None:
    return None if position is None else str(position)


def log_problems(problems: Iterable[Problem]) -> tuple[LogProblem, ...]:
    """The fold's problems as the report shows them."""
    return tuple(
        LogProblem(position=str(problem.position), type=problem.type, reason=problem.reason) for problem in problems
    )
