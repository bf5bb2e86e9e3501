"""Catch-up: the one mechanism that moves a row, and that writes the row's own changes to its log.

A round for one conversation: read the row without a lock; ask Redis, in one atomic step, for what follows the row's
position, and to append the row's unlogged columns if nothing that projects follows; fold that into the row in a short
transaction. No lock and no connection is held while Redis is asked. A process may die anywhere: whoever comes next
begins again where the row stands. Numbers in comments are those of the rules in docs/event-log.md.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final
from uuid import UUID

from veupath_store.errors import InvalidInputError, NotFoundError, StoreError, UnavailableError
from veupath_store.events.fold.fold import PROJECTING
from veupath_store.events.fold.patch import DISMISSAL, DOCUMENTS, KEYS, PATCHED, is_unsettled, patch_raw
from veupath_store.events.log.entries import FIRST, LAST, Entry, Fields, LogKey, Position
from veupath_store.events.log.log import EventLog, Step, Stepped
from veupath_store.events.log.pages import BYTES, MOST
from veupath_store.events.project.commit import Committed, Part, commit, is_of_one
from veupath_store.events.project.losses import accept_loss, beginning_after, from_own, loss, own_beginning
from veupath_store.events.project.rows import Snapshot, read_rows
from veupath_store.events.project.selection import TOGETHER
from veupath_store.values import CaughtUp, LogProblem

_MOST_WAITING: Final = 16 * BYTES
"""Bytes of entries that wait for the end of a log before something that they claim is settled."""


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
    """What the log is asked for next, as `Step.mode`, unless something waits."""
    last: Position | None = None
    """The last id of the log that is to be replaced."""
    waiting: Part | None = None
    """What was read and not committed: it claims what a later entry may give up."""
    is_large: bool = False
    """Whether it needs rounds of its own."""
    position: str | None = None
    events: int = 0
    problems: list[LogProblem] = field(default_factory=list)
    appended: Position | None = None
    """Where the whole row is that was to be appended."""
    result: StoreError | CaughtUp | None = None
    row: Snapshot = field(init=False)
    step: Step = field(init=False)
    answer: Stepped = field(init=False)
    part: Part | None = None
    """What this round is to commit; ``None`` where another round comes first."""
    lost: Mapping[str, Any] | None = None
    """The mark of the loss that a whole row carries which is to be appended."""

    def end(self, error: StoreError | None = None, kind: type[CaughtUp] = CaughtUp) -> StoreError | CaughtUp:
        """Nothing more is to be done."""
        self.result = error or kind(position=self.position, events=self.events, problems=tuple(self.problems))
        return self.result

    @property
    def whole(self) -> str:
        """Why the whole row is to be appended; nothing where only its unlogged columns are."""
        if self.mode == "end":
            return self.reason or ("made" if self.row.needs_whole_row else "")
        return "lost" if self.row.has_seen_any else "made"


async def catch_up(log: EventLog, stream_id: UUID) -> CaughtUp:
    """Bring one row and its log to the same place."""
    done = (await catch_up_all(log, [stream_id]))[stream_id]
    if isinstance(done, StoreError):
        raise done
    return done


async def catch_up_all(
    log: EventLog, stream_ids: Iterable[UUID], rounds: int | None = None
) -> dict[UUID, CaughtUp | StoreError]:
    """Bring some rows and their logs to the same place, `TOGETHER` at a time.

    Args:
        rounds: Pages of a log after which one that is further behind is left where it stands, so that others need not
            wait for it; what is changed meanwhile is left as well. ``None`` for all of it.

    Returns:
        For each conversation where its row stands now, or what was wrong with it; `Unfinished` for one that was left.
    """
    ids, done = list(dict.fromkeys(stream_ids)), dict[UUID, CaughtUp | StoreError]()
    for start in range(0, len(ids), TOGETHER):
        group = ids[start : start + TOGETHER]
        done |= await _rounds(log, [_Turn(each, leaves_changes=rounds is not None) for each in group], rounds)
    return done


async def _rounds(log: EventLog, turns: list[_Turn], most: int | None) -> dict[UUID, CaughtUp | StoreError]:
    """Rounds for some together, then for each of those that are too large for that."""
    taken, done = 0, dict[UUID, CaughtUp | StoreError]()
    # What waits for a claim to be settled would have to be read again.
    while going := [
        turn
        for turn in turns
        if turn.result is None and not turn.is_large and (most is None or taken < most or turn.waiting is not None)
    ]:
        await _round(log, going)
        taken += 1
    while turns:
        turn = turns.pop()  # what a large one holds goes with it
        if turn.is_large:
            turn.is_large = False
            try:
                done |= await _rounds(log, [turn], most)
            except UnavailableError as exc:  # it may be too large for the time that a server has
                done[turn.stream_id] = exc
        else:
            done[turn.stream_id] = turn.result or turn.end(kind=Unfinished)
    return done


async def append_whole(log: EventLog, stream_id: UUID) -> Position:
    """Have the log hold the whole row once more, behind which it can be trimmed."""
    turn = _Turn(stream_id, reason="trim")
    while turn.appended is None:
        await _round(log, [turn])
        if isinstance(turn.result, StoreError):
            raise turn.result
    return turn.appended


async def _round(log: EventLog, turns: Sequence[_Turn]) -> None:
    plans = [turn.stream_id for turn in turns if turn.mode != "end" or turn.reason]
    rows = await read_rows([turn.stream_id for turn in turns], plans)
    for turn in turns:
        turn.is_large = len(turns) > 1 and turn.stream_id not in rows  # or gone, which is seen alone
    asked = [
        turn for turn in turns if not turn.is_large and _asks(turn, rows.get(turn.stream_id, NotFoundError("stream")))
    ]
    for turn, answer in zip(asked, await log.step([turn.step for turn in asked]), strict=True):
        try:
            if isinstance(answer, StoreError):
                raise answer
            turn.answer = answer
            turn.part = await _part(log, turn)
        except StoreError as exc:
            if exc is not answer and not is_of_one(exc):
                raise
            turn.end(exc)
    done = await commit([turn.part for turn in asked if turn.part is not None])
    for turn in asked:
        if turn.part is not None:
            _advance(turn, done[turn.stream_id])


def _asks(turn: _Turn, row: Snapshot | StoreError) -> bool:
    """Whether Redis is to be asked something, which is the turn's step then (rules 3 and 4)."""
    turn.part = None
    try:
        if isinstance(row, StoreError):
            raise row
        turn.row, key, position = row, LogKey.stream(row.stream_id), row.position
        if position is None and turn.mode == "end":
            turn.mode = "new"
        if turn.waiting is not None:
            turn.step = Step(key, turn.waiting.entries[-1].position, MOST)
        else:
            if turn.mode == "new" and position == LAST:
                raise InvalidInputError("position", "no entry can follow it")
            bound = {"replace": turn.last, "new": position and position.after}.get(turn.mode)
            own = [_patch(turn)] if turn.whole or row.state.unlogged else []
            turn.step = Step(key, position, MOST, turn.mode, [*own, *row.waiting], bound)
    except StoreError as exc:
        turn.end(exc)
        return False
    return True


def _patch(turn: _Turn) -> Fields:
    row, state = turn.row, turn.row.state
    turn.lost = loss(row, FIRST, state.message_count) if turn.whole == "lost" else None
    if turn.lost is not None:
        state = replace(state, message_count=0, lost=turn.lost)
    named = {*state.unlogged, *(DISMISSAL if DISMISSAL & state.unlogged.keys() else ())}
    columns = [
        column for column in KEYS if (turn.whole or column in named) and (column != "lost" or state.lost is not None)
    ]
    raw = patch_raw(
        {column: getattr(state, column) for column in columns if column not in DOCUMENTS},
        tags=state.unlogged,
        updated_at=state.updated_at or row.created_at,
        documents={column: row.documents[column] for column in columns if column in DOCUMENTS},
        whole={"whole": turn.whole, **row.identity} if turn.whole else None,
    )
    return "", PATCHED, raw, ""


async def _part(log: EventLog, turn: _Turn) -> Part | None:
    """What is to be committed of an answer; ``None`` where another round comes first."""
    answer = turn.answer
    unsettled = [entry.position for entry in answer.entries if is_unsettled(entry)]
    if unsettled:
        await log.discard(turn.step.key, unsettled)
        return None
    if answer.positions:
        return _with_appended(turn)
    if turn.step.mode == "replace" or not answer.is_there:
        # There is no log where the row has seen one (rule 13), or none any more (rule 10).
        turn.waiting = None
        turn.mode = "new"
        return None
    if turn.row.position is None and turn.waiting is None:
        return await _first(log, turn)
    turn.mode = "end"
    if not answer.holds_position:
        return await _not_held(log, turn)
    return _read(turn, answer.entries, at_end=answer.at_end)


async def _not_held(log: EventLog, turn: _Turn) -> Part | None:
    """A row whose position is not in its log (rules 11 and 12)."""
    turn.waiting = None
    entries = await beginning_after(log, turn.row)
    if entries is not None:
        return _read(turn, entries, at_end=False)
    await accept_loss(log, turn.row)
    return None


def _with_appended(turn: _Turn) -> Part:
    row, answer = turn.row, turn.answer
    appended = [
        Entry(position, kind, data if isinstance(data, bytes) else data.encode(), operation, key)
        for position, (operation, kind, data, key) in zip(answer.positions, turn.step.appended, strict=True)
    ]
    if not (turn.whole or row.state.unlogged):
        return Part(row, answer.entries, after=appended)
    patch, after = appended[0].position, appended[1:]
    if turn.reason:
        turn.appended = patch
    turn.mode = "end"
    return Part(row, answer.entries, patch, turn.lost, after)


async def _first(log: EventLog, turn: _Turn) -> Part | None:
    """A row that has seen nothing, and a log that is there (rule 10)."""
    row, answer = turn.row, turn.answer
    entries = from_own(row, answer.entries)
    if entries is None and not answer.at_end:
        entries = await own_beginning(log, row)
    if entries is not None:
        turn.mode = "end"
        return _read(turn, entries, at_end=answer.at_end)
    [ends] = await log.ends([turn.step.key])
    if isinstance(ends, StoreError):
        turn.end(ends)
    elif ends is None:
        turn.mode = "new"
    else:
        turn.mode, turn.last = "replace", ends.last
    return None


def _read(turn: _Turn, read: Sequence[Entry], *, at_end: bool) -> Part | None:
    """What follows the position; a page that ends in a claim is not committed before the next is read (rule 19)."""
    part, turn.waiting = turn.waiting or Part(turn.row), None
    if read:
        part.add(read)
    if not at_end and part.claims and part.size < _MOST_WAITING:
        # Those with a key, too: an event of a unit of work that is not deleted with its commit is appended again.
        kept = [entry for entry in part.entries[:-1] if entry.type in PROJECTING or entry.key]
        part.entries, turn.waiting = [*kept, part.entries[-1]], part
        return None
    if part.is_large:
        part.expected = None
    if part.entries:
        return part
    turn.position = turn.row.state.last_event_id
    turn.end()
    return None


def _advance(turn: _Turn, done: Committed | StoreError | None) -> None:
    """Take over what a commit has done; another round follows unless row and log are at the same place."""
    if done is None:
        turn.appended = None
    elif isinstance(done, StoreError):
        turn.end(done)
    else:
        turn.position = done.state.last_event_id
        turn.events += done.folded
        turn.problems += done.problems
        row, answer = turn.row, turn.answer
        all_appended = answer.positions or not (row.state.unlogged or row.waiting or turn.reason)
        is_left = row.has_more or (bool(done.state.unlogged) and not (turn.leaves_changes and answer.positions))
        if answer.holds_position and answer.at_end and all_appended and not is_left:
            turn.end()
