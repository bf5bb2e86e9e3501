"""Catch-up: the one mechanism that moves a row, and that writes the row's own changes to its log.

A round for one conversation: read the row without a lock; ask Redis, in one atomic step, for what follows the row's
position, and to append the row's unlogged columns if nothing that projects follows; fold that into the row in a short
transaction. No lock and no connection is held while Redis is asked. A process may die anywhere: whoever comes next
begins again where the row stands. Numbers in comments are those of the rules in docs/event-log.md.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from veupath_store.errors import NotFoundError, StoreError
from veupath_store.events.fold.fold import PROJECTING, Problem, fold_all
from veupath_store.events.fold.patch import DOCUMENTS, KEYS, PATCHED, is_unsettled, patch_raw, whole_row
from veupath_store.events.log.entries import FIRST, Entry, Fields, Position
from veupath_store.events.log.keys import LogKey
from veupath_store.events.log.log import EventLog, Step, Stepped
from veupath_store.events.log.pages import MOST
from veupath_store.events.project.commit import Committed, Own, Part, commit
from veupath_store.events.project.losses import accept_loss, beginning_after, is_own, loss, own_beginning
from veupath_store.events.project.rows import Snapshot, read_rows
from veupath_store.session import get_engine
from veupath_store.values import CaughtUp, LogProblem

TOGETHER: Final = 32
"""Conversations of one round at the most: so many rows may be locked together for a moment."""

_DISMISSAL: Final = frozenset({"dismissed_at", "dismissed_reason"})

_MOST_WAITING: Final = 20_000
"""Entries that wait for the end of a log before something that they claim is settled."""


class Unfinished(CaughtUp):
    """Where a row stands whose log has more."""


@dataclass(slots=True)
class _Turn:
    """One conversation while it is caught up."""

    stream_id: UUID
    reason: str = ""
    """Why a whole row is to be appended: ``trim``, or nothing."""
    leaves_changes: bool = False
    """Whether what is changed meanwhile is left to the next time: a row that is changed all the time has no end."""
    mode: str = "end"
    last: Position | None = None
    waiting: list[Entry] = field(default_factory=list)
    """Entries that were read and not committed: they claim what a later one may give up."""
    position: str | None = None
    events: int = 0
    problems: list[Problem] = field(default_factory=list)
    lost: Mapping[str, Any] | None = None
    """The mark of the loss that a whole row carries which is to be appended."""
    appended: Position | None = None
    """Where the whole row is that was to be appended."""
    result: StoreError | CaughtUp | None = None

    def end(self, error: StoreError | None = None) -> None:
        """Nothing more is to be done."""
        self.result = error or CaughtUp(**self.standing())

    def standing(self) -> dict[str, Any]:
        """The values of a `CaughtUp`."""
        return {"position": self.position, "events": self.events, "problems": log_problems(self.problems)}


async def catch_up(log: EventLog, stream_id: UUID) -> CaughtUp:
    """Bring one row and its log to the same place.

    Raises:
        NotFoundError: No such conversation.
    """
    done = (await catch_up_all(log, [stream_id]))[stream_id]
    if isinstance(done, StoreError):
        raise done
    return done


async def catch_up_all(
    log: EventLog, stream_ids: Iterable[UUID], rounds: int | None = None
) -> dict[UUID, CaughtUp | StoreError]:
    """Bring some rows and their logs to the same place, `TOGETHER` at a time.

    Args:
        stream_ids: The conversations.
        rounds: Pages of a log after which one that is further behind is left where it stands, so that others need not
            wait for it; what is changed meanwhile is left as well. ``None`` for all of it.

    Returns:
        For each conversation where its row stands now, or what was wrong with it; `Unfinished` for one that was left.
    """
    turns = [_Turn(stream_id, leaves_changes=rounds is not None) for stream_id in dict.fromkeys(stream_ids)]
    for start in range(0, len(turns), TOGETHER):
        group, taken = turns[start : start + TOGETHER], 0
        while going := [turn for turn in group if turn.result is None and _goes_on(turn, taken, rounds)]:
            await _round(log, going)
            taken += 1
    for turn in turns:
        if turn.result is None:
            turn.result = Unfinished(**turn.standing())
    return {turn.stream_id: turn.result for turn in turns if turn.result is not None}


def _goes_on(turn: _Turn, taken: int, rounds: int | None) -> bool:
    """Whether there is to be another round; what waits for a claim to be settled would have to be read again."""
    return rounds is None or taken < rounds or bool(turn.waiting)


async def append_whole(log: EventLog, stream_id: UUID) -> Position:
    """Have the log hold the whole row once more, behind which it can be trimmed.

    Raises:
        NotFoundError: No such conversation.
    """
    turn = _Turn(stream_id, reason="trim")
    while turn.appended is None:
        await _round(log, [turn])
        if isinstance(turn.result, StoreError):
            raise turn.result
    return turn.appended


async def _round(log: EventLog, turns: Sequence[_Turn]) -> None:
    rows = await read_rows(
        await get_engine().open(),
        [turn.stream_id for turn in turns],
        [turn.stream_id for turn in turns if turn.mode != "end" or turn.reason],
    )
    asked: list[tuple[_Turn, Snapshot, Step]] = []
    for turn in turns:
        row = rows.get(turn.stream_id)
        if row is None or isinstance(row, StoreError):
            turn.end(row or NotFoundError("stream"))
            continue
        try:
            asked.append((turn, row, _step(turn, row)))
        except StoreError as exc:
            turn.end(exc)
    answers = await log.step([step for _, _, step in asked])
    parts: dict[UUID, tuple[_Turn, Part, Stepped]] = {}
    for (turn, row, step), answer in zip(asked, answers, strict=True):
        if isinstance(answer, StoreError):
            turn.end(answer)
            continue
        part = await _part(log, turn, row, step, answer)
        if part is not None:
            parts[turn.stream_id] = turn, part, answer
    done = await commit([part for _, part, _ in parts.values()])
    for stream_id, (turn, part, answer) in parts.items():
        _advance(turn, part, answer, done[stream_id])


def _step(turn: _Turn, row: Snapshot) -> Step:
    """What to ask Redis (rules 3 and 4)."""
    key, position = LogKey.stream(row.stream_id), row.position
    if position is None and turn.mode == "end":
        turn.mode = "new"
    if turn.waiting:
        return Step(key, turn.waiting[-1].position, MOST, "read")
    return Step(key, position, MOST, turn.mode, _appended(turn, row), turn.last)


def _appended(turn: _Turn, row: Snapshot) -> list[Fields]:
    reason = _reason(turn, row)
    turn.lost = loss(row, FIRST, row.state.message_count) if reason == "lost" else None
    own = [_patch(row, reason, turn.lost)] if reason or row.state.unlogged else []
    return [*own, *row.waiting]


def _reason(turn: _Turn, row: Snapshot) -> str:
    """Why the whole row is to be appended; nothing where only its unlogged columns are."""
    if turn.mode == "end":
        return turn.reason or ("made" if row.needs_whole_row else "")
    return "lost" if row.has_seen_any else "made"


def _patch(row: Snapshot, reason: str, lost: Mapping[str, Any] | None) -> Fields:
    state = row.state
    # A dismissal has its time beside its reason: one of the two says nothing by itself.
    named = {*state.unlogged, *(_DISMISSAL if _DISMISSAL & state.unlogged.keys() else ())}
    columns = [column for column in KEYS if reason or column in named]
    values = {column: getattr(state, column) for column in columns if column not in DOCUMENTS}
    if lost is not None:
        values |= {"message_count": 0, "lost": dict(lost)}
    raw = patch_raw(
        {column: value for column, value in values.items() if column != "lost" or value is not None},
        tags=state.unlogged,
        updated_at=state.updated_at or row.created_at,
        documents={column: row.documents[column] for column in columns if column in DOCUMENTS},
        whole=whole_row(
            reason,
            user_id=row.user_id,
            site_id=row.site_id,
            experiment_id=row.experiment_id,
            created_at=row.created_at,
        )
        if reason
        else None,
    )
    return "", PATCHED, raw, ""


async def _part(log: EventLog, turn: _Turn, row: Snapshot, step: Step, answer: Stepped) -> Part | None:
    """What is to be committed of an answer; ``None`` where another round comes first."""
    unsettled = [entry.position for entry in answer.entries if is_unsettled(entry)]
    if unsettled:
        await log.discard(step.key, unsettled)
        return None
    if answer.positions:
        return _with_appended(turn, row, step, answer)
    if step.mode == "replace" or not answer.is_there:
        # There is no log where the row has seen one (rule 13), or none any more (rule 10).
        turn.waiting.clear()
        turn.mode = "new"
        return None
    if not answer.holds_position:
        turn.waiting.clear()
        turn.mode = "end"
        return await _not_held(log, turn, row)
    if row.position is None and not turn.waiting:
        return await _first(log, turn, row, answer)
    turn.mode = "end"
    return _read(turn, row, answer.entries, at_end=answer.at_end)


async def _not_held(log: EventLog, turn: _Turn, row: Snapshot) -> Part | None:
    """A row whose position is not in its log (rules 11 and 12)."""
    entries = await beginning_after(log, row)
    if entries is not None:
        return _read(turn, row, entries, at_end=False)
    await accept_loss(log, row)
    return None


def _with_appended(turn: _Turn, row: Snapshot, step: Step, answer: Stepped) -> Part:
    reason = _reason(turn, row)
    has_own = bool(reason or row.state.unlogged)
    after = [
        Entry(position, kind, data if isinstance(data, bytes) else data.encode(), operation, key)
        for position, (operation, kind, data, key) in zip(answer.positions, step.appended, strict=True)
    ][int(has_own) :]
    if not has_own:
        return Part(row, [*answer.entries, *after])
    own = Own(answer.positions[0], row.state.unlogged, turn.lost, after)
    if turn.reason:
        turn.appended = answer.positions[0]
    exactly = step.mode != "end"
    turn.mode = "end"
    return Part(row, answer.entries, own, exactly=exactly)


async def _first(log: EventLog, turn: _Turn, row: Snapshot, answer: Stepped) -> Part | None:
    """A row that has seen nothing, and a log that is there (rule 10)."""
    entries: list[Entry] | None = None
    for number, entry in enumerate(answer.entries):
        if is_own(row, entry):
            entries = answer.entries[number:]
            break
    if entries is None and not answer.at_end:
        entries = await own_beginning(log, row)
    if entries is not None:
        turn.mode = "end"
        return _read(turn, row, entries, at_end=answer.at_end)
    [ends] = await log.ends([LogKey.stream(row.stream_id)])
    if isinstance(ends, StoreError):
        turn.end(ends)
    elif ends is None:
        turn.mode = "new"
    else:
        turn.mode, turn.last = "replace", ends.last
    return None


def _read(turn: _Turn, row: Snapshot, read: Sequence[Entry], *, at_end: bool) -> Part | None:
    """What follows the position; a page that ends in a claim is not committed before the next is read (rule 19)."""
    entries = [*turn.waiting, *read]
    if not at_end and len(turn.waiting) < _MOST_WAITING and _claims(row, entries):
        # Those with a key, too: an event of a unit of work that is not deleted with its commit is appended again.
        turn.waiting = [*(entry for entry in entries[:-1] if entry.type in PROJECTING or entry.key), entries[-1]]
        return None
    turn.waiting = []
    if not entries:
        turn.position = row.state.last_event_id
        turn.end()
        return None
    return Part(row, entries)


def _claims(row: Snapshot, entries: Sequence[Entry]) -> bool:
    state = fold_all(row.state, entries).state
    return state.name != row.state.name or state.wdk_strategy_id not in (None, row.state.wdk_strategy_id)


def _advance(turn: _Turn, part: Part, answer: Stepped, done: Committed | StoreError | None) -> None:
    """Take over what a commit has done; another round follows unless row and log are at the same place."""
    if done is None:
        turn.appended = None
    elif isinstance(done, StoreError):
        turn.end(done)
    else:
        turn.position = done.state.last_event_id
        turn.events += done.folded
        turn.problems += done.problems
        all_appended = answer.positions or not (part.row.state.unlogged or part.row.waiting or turn.reason)
        is_left = bool(done.state.unlogged) and not (turn.leaves_changes and answer.positions)
        if answer.holds_position and answer.at_end and all_appended and not is_left:
            turn.end()


def log_problems(problems: Iterable[Problem]) -> tuple[LogProblem, ...]:
    """The fold's problems as the report shows them."""
    return tuple(
        LogProblem(position=str(problem.position), type=problem.type, reason=problem.reason) for problem in problems
    )
