"""The fold: what the entries of a log add up to. Pure: no I/O and no clock; times come from the entries' ids.

Each column follows one of three rules (docs/event-log.md, rules 6 to 8):

* an application's entry sets a column, unless the row has a wish for it that is not in the log yet;
* a patch, which is the store's own entry, sets every column that is not unlogged; an unlogged one whose tag it carries,
  or whose value, becomes logged by it. What is ended by something else than its own tag leaves the row's time unlogged,
  where that is later than the entry's: no entry says it yet;
* messages always count, and `updated_at` is the latest of all that was said of it since the last whole row. Of a row
  with nothing logged it stays as it is, unless a message moves it: the whole row that is to follow has it.

Folded from the beginning nothing is unlogged, and each entry simply sets what it names.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from veupath_store.events.fold.effects import DATALESS, EFFECTS
from veupath_store.events.fold.fields import Effect
from veupath_store.events.fold.text import decoded
from veupath_store.events.log.entries import Entry, Position
from veupath_store.models.unlogged import LOGGED, is_past, is_wish
from veupath_store.values.streams import DEFAULT_NAME

PROJECTING: Final = frozenset(EFFECTS)
"""The types of events that change more of the projection than its position."""

COUNTED: Final = "message_count"
LATEST: Final = "updated_at"


@dataclass(frozen=True, kw_only=True, slots=True)
class State:
    """The columns of a projection, as far as the log decides them. A new conversation's by default."""

    name: str = DEFAULT_NAME
    record_type: str | None = None
    wdk_strategy_id: int | None = None
    is_saved: bool = False
    model_id: str | None = None
    message_count: int = 0
    step_count: int = 0
    plan: dict[str, Any] | None = field(default_factory=dict)
    """``None`` stands for "as it was": whoever folds need not read the stored plan."""
    unrooted_steps: list[Any] | None = None
    """The steps of a graph that has no root yet, as the last snapshot gave them; ``None`` where the plan has them."""
    result_count: int | None = None
    updated_at: datetime | None = None
    """The latest time of an entry that set a field (UTC)."""
    dismissed_at: datetime | None = None
    dismissed_reason: str | None = None
    gene_set_id: UUID | None = None
    gene_set_auto_imported: bool = False
    messages_after: str | None = None
    """Messages up to this entry are neither counted nor listed."""
    lost: Mapping[str, Any] | None = None
    """What the log has lost; ``None`` for nothing."""
    last_event_id: str | None = None
    """The last entry that is folded in."""
    begun: bool = False
    """Whether a whole row is among the entries."""
    unlogged: Mapping[str, str] = field(default_factory=dict)
    """The columns whose values are not in the log yet, with the tags of the statements that set them."""


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


COLUMNS: Final = tuple(
    column.name for column in fields(State) if column.name not in ("last_event_id", "begun", "unlogged")
)
"""What the log decides, the plan included."""

_RESET: Final = tuple(column for column in COLUMNS if column not in (LATEST, "lost"))
_DISMISSAL: Final = ("dismissed_at", "dismissed_reason")
_ALL: Final = frozenset(LOGGED)
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
    row = _Row(state)
    problems: list[Problem] = []
    folded = 0
    for entry in entries:
        if entry.position <= last:
            continue
        last = entry.position
        folded += 1
        if entry.type in EFFECTS:
            reason = row.apply(entry)
            if reason is not None:
                problems.append(Problem(entry.position, entry.type, reason))
    return Folded(row.state(last) if folded else state, tuple(problems), folded)


class _Row:
    """A state while entries are folded into it."""

    def __init__(self, before: State) -> None:
        self._before = before
        self._columns = {column: getattr(before, column) for column in COLUMNS}
        self._unlogged = dict(before.unlogged)
        self._begun = before.begun
        self._untimed = ""  # the tag of a statement whose columns an entry has ended without its time

    def state(self, last: Position) -> State:
        return replace(
            self._before, **self._columns, unlogged=self._unlogged, begun=self._begun, last_event_id=str(last)
        )

    def apply(self, entry: Entry) -> str | None:
        """Change the columns as a projecting entry does; why it could not, where it is bad."""
        data = {} if not entry.raw and entry.type in DATALESS else decoded(entry.raw)
        if data is None:
            return "its data is no JSON object"
        effect = EFFECTS[entry.type](entry, data, self._columns)
        if effect.tags is None:
            self._event(effect.changes)
        else:
            self._patch(effect, effect.tags)
        if not self._is_superseded(effect):
            self._touch(entry, effect)
        return effect.problem

    def _is_superseded(self, effect: Effect) -> bool:
        """Whether all that an entry says is replaced by the whole row that is to follow: nothing is logged yet."""
        is_message = effect.tags is None and COUNTED in effect.changes
        return not is_message and self._unlogged.keys() >= _ALL

    def _event(self, changes: Mapping[str, Any]) -> None:
        for column, value in changes.items():
            tag = self._unlogged.get(column)
            if tag is None or column == COUNTED:
                self._columns[column] = value
            elif not is_wish(tag):
                self._columns[column] = value
                self._untimed = self._unlogged.pop(column)

    def _patch(self, effect: Effect, tags: Mapping[str, str]) -> None:
        changes = effect.changes
        if effect.whole:
            self._begun = True
            # A plan that the table would not take stays as it was.
            plan: dict[str, Any] | None = None if effect.problem else {}
            changes = {**{column: getattr(INITIAL, column) for column in _RESET}, "plan": plan, **changes}
        logged = [column for column in self._unlogged if self._is_logged_by(column, changes, tags)]
        for column, value in changes.items():
            if column not in self._unlogged and column != LATEST:
                self._columns[column] = value
        for column in logged:
            tag = self._unlogged.pop(column)
            if tag != tags.get(column):
                self._untimed = tag

    def _is_logged_by(self, column: str, changes: Mapping[str, Any], tags: Mapping[str, str]) -> bool:
        """Whether a patch holds what the row does: of a dismissal both its time and its reason."""
        together = _DISMISSAL if column in _DISMISSAL else (column,)
        return all(one in changes and self._is_said(one, changes[one], tags.get(one)) for one in together)

    def _is_said(self, column: str, value: Any, tag: str | None) -> bool:  # noqa: ANN401 - a column's value
        own = self._unlogged.get(column)
        return own == tag or (self._columns[column] == value and not is_past(own))

    def _touch(self, entry: Entry, effect: Effect) -> None:
        """Of a whole row the time is what it was, unless the row was changed since; of all else, the latest."""
        if not (effect.changes or effect.whole):
            return
        time, before = effect.changes.get(LATEST, entry.position.time), self._columns[LATEST]
        replaces = before is None or (effect.whole and not self._unlogged)
        self._columns[LATEST] = time if replaces else max(before, time)
        if self._columns[LATEST] == time:
            self._unlogged.pop(LATEST, None)
        elif self._untimed:
            self._unlogged[LATEST] = self._untimed
        self._untimed = ""
