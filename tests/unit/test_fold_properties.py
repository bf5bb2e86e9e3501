"""What holds of every log: one fold or many, once or twice, and as the naive fold has it."""

import copy
from dataclasses import asdict, replace
from functools import reduce

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.folding import FULL
from tests.support.logs import ENTRIES, LOGS, ORDERED_LOGS, STEPS, log, rooted
from tests.support.naive_fold import NEW, naive_fold
from veupath_store.documents.json import encode
from veupath_store.events.fold.fold import INITIAL, State, fold, fold_all


def columns(state):
    """A state's columns; folded from the beginning, none of them is unlogged."""
    columns = asdict(state)
    assert columns.pop("unlogged") == {}
    return columns


FULLER = replace(FULL, unrooted_steps=[{"id": "y"}], messages_after="1-1", lost={"messages": 1})


def snapshot(steps):
    """The entry of a graph whose root is the first of its steps, where that has an id."""
    return log(("graph_snapshot", {"graphSnapshot": rooted({"steps": steps})}), start=10)[0]


def test_the_naive_fold_starts_where_the_fold_does():
    assert columns(INITIAL) == NEW == naive_fold([])


@settings(max_examples=300, deadline=None)
@given(LOGS | ORDERED_LOGS)
def test_the_fold_is_what_the_naive_fold_says(entries):
    bad = []
    folded = fold_all(INITIAL, entries)
    assert columns(folded.state) == naive_fold(entries, problems=bad)
    assert [problem.position for problem in folded.problems] == [str(position) for position in bad]


@settings(max_examples=600, deadline=None)
@given(ENTRIES | st.lists(STEPS, min_size=1, max_size=4).map(snapshot))
def test_one_event_changes_a_row_as_the_naive_fold_says(entry):
    bad = []
    folded = fold_all(FULLER, [entry])
    assert columns(folded.state) == naive_fold([entry], columns(FULLER), bad)
    assert [problem.position for problem in folded.problems] == [str(position) for position in bad]


@settings(deadline=None)
@given(LOGS)
def test_folding_all_is_folding_one_by_one(entries):
    assert fold_all(INITIAL, entries).state == reduce(fold, entries, INITIAL)


@settings(deadline=None)
@given(ORDERED_LOGS, st.integers(0, 12), st.integers(0, 12))
def test_pages_and_redelivery_change_nothing(entries, cut, again):
    whole = fold_all(INITIAL, entries)
    first = fold_all(INITIAL, entries[:cut])
    second = fold_all(first.state, entries[min(again, cut) :])
    assert second.state == whole.state
    assert first.problems + second.problems == whole.problems
    assert first.folded + second.folded == whole.folded == len(entries)
    assert fold_all(whole.state, entries) == (whole.state, (), 0)


@settings(deadline=None)
@given(LOGS, LOGS)
def test_nothing_that_is_handed_over_is_changed(before, entries):
    state = fold_all(INITIAL, before).state
    kept, given_entries = copy.deepcopy(state), copy.deepcopy(entries)
    fold_all(state, entries)
    assert state == kept
    assert entries == given_entries
    assert State() == INITIAL


@settings(deadline=None)
@given(LOGS)
def test_every_state_can_be_written(entries):
    state = fold_all(INITIAL, entries).state
    encode(state.plan, "plan")
    texts = [value for value in asdict(state).values() if isinstance(value, str)]
    assert not [text for text in texts if "\0" in text or len(text) > 255]
    "".join(texts).encode()
    assert (state.dismissed_at is None) == (state.dismissed_reason is None)


@settings(deadline=None)
@given(LOGS)
def test_an_unread_plan_stays_unread_until_an_event_sets_it(entries):
    known = fold_all(State(plan={"root": None}), entries).state
    unread = fold_all(State(plan=None), entries).state
    assert unread.plan in (None, known.plan)
    assert asdict(unread) | {"plan": known.plan} == asdict(known)
