"""The fold: what the entries of a log add up to. Pure: no I/O and no clock; times come from the entries' ids."""

from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from veupath_store.events.effects import DATALESS, EFFECTS
from veupath_store.events.entries import Entry, Position
from veupath_store.events.text import decoded
from veupath_store.values.streams import DEFAULT_NAME

PROJECTING: Final = frozenset(EFFECTS)
"""The types of events that change more of the projection than its position."""


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """The columns of a projection, as far as the log decides them. A new conversation's by default."""

    name: str = DEFAULT_NAME
    record_type: str | None = None
    wdk_strategy_id: int | None = None
    wdk_event_id: str | None = None
    """The entry whose claim of the WDK id holds; ``None`` without one, or where the claim is older than the log."""
    is_saved: bool = False
    model_id: str | None = None
    message_count: int = 0
    step_count: int = 0
    plan: dict[str, Any] | None = field(default_factory=dict)
    """``None`` stands for "as it was": whoever folds need not read the stored plan."""
    result_count: int | None = None
    last_event_id: str | None = None
    """The last entry that is folded in."""
    updated_at: datetime | None = None
    """When the last entry that set a field was appended (UTC)."""
    dismissed_at: datetime | None = None
    dismissed_reason: str | None = None
    gene_set_id: UUID | None = None
    gene_set_auto_imported: bool = False
    begun: bool = False
    """Whether the conversation's creation is among the entries."""


INITIAL: Final = State()
"""Before the first entry."""


class Problem(NamedTuple):
    """An entry that was skipped, or whose plan was left out."""

    position: Position
    type: str
    reason: str
    """What is wrong with it; nothing of its content."""


class Folded(NamedTuple):
    """What some entries add up to."""

    state: State
    problems: tuple[Problem, ...]
    folded: int
    """How many entries were new: all but those that the state has seen."""


_COLUMNS: Final = tuple(column.name for column in fields(State) if column.name != "last_event_id")
_BEFORE_ALL: Final = Position(-1, -1)


def fold(state: State, entry: Entry) -> State:
    """The state after one more entry.

    Args:
        state: The state before; it is not changed.
        entry: The entry. One that the state has seen already changes nothing; a bad one only moves the position.

    Returns:
        The new state.

    Raises:
        InvalidInputError: The state's own position is none.
    """
    return fold_all(state, (entry,)).state


def fold_all(state: State, entries: Iterable[Entry]) -> Folded:
    """The state after more entries: as if they were folded one by one.

    Entries that only move the position are not decoded. With 95 of 100 of that kind 1.2 million entries a second are
    folded, and 70 thousand where all change the projection, a quarter of them plans of 2 kB (Python 3.11).

    Args:
        state: The state before; it is not changed.
        entries: The entries in the order of the log. Those at or before the last one are skipped.

    Returns:
        The new state, which may share its plan with the given one; and what was wrong.

    Raises:
        InvalidInputError: The state's own position is none.
    """
    last = _BEFORE_ALL if state.last_event_id is None else Position.parse(state.last_event_id)
    columns = {column: getattr(state, column) for column in _COLUMNS}
    problems: list[Problem] = []
    folded = 0
    for entry in entries:
        if entry.position <= last:
            continue
        last = entry.position
        folded += 1
        if entry.type in EFFECTS:
            reason = _apply(columns, entry)
            if reason is not None:
                problems.append(Problem(entry.position, entry.type, reason))
    if folded:
        state = replace(state, **columns, last_event_id=str(last))
    return Folded(state, tuple(problems), folded)


def _apply(columns: dict[str, Any], entry: Entry) -> str | None:
    """Change the columns as a projecting entry does; why it could not, where it is bad."""
    data = {} if not entry.raw and entry.type in DATALESS else decoded(entry.raw)
    if data is None:
        return "its data is no JSON object"
    changes, problem, begins = EFFECTS[entry.type](entry, data, columns)
    if begins:
        columns.update({column: getattr(INITIAL, column) for column in _COLUMNS}, plan={}, begun=True)
    if changes:
        columns.update({"updated_at": entry.position.time, **changes})
    return problem
