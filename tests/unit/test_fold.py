"""The fold, event by event: what each changes, and that it changes nothing else."""

from dataclasses import replace

import pytest

from tests.support.folding import FULL, after, changed
from tests.support.logs import entry, log
from veupath_store.errors import InvalidInputError
from veupath_store.events.fold.fold import INITIAL, PROJECTING, Folded, State, fold, fold_all
from veupath_store.inputs import limits
from veupath_store.values.streams import DEFAULT_NAME


def test_the_projecting_types_are_those_of_the_table():
    assert {
        *("user_message", "assistant_message", "strategy_meta", "strategy_link", "graph_snapshot", "graph_plan"),
        *("model_selected", "graph_cleared", "projection_patched"),
    } == PROJECTING


def test_before_the_first_event_there_is_a_new_conversation():
    assert State(name=DEFAULT_NAME, plan={}) == INITIAL
    assert (INITIAL.message_count, INITIAL.last_event_id, INITIAL.begun) == (0, None, False)
    assert fold_all(INITIAL, []) == Folded(INITIAL, (), 0)


def test_messages_are_counted_as_far_as_the_column_goes():
    state = replace(FULL, message_count=limits.INT32_MAX - 1)
    states = [
        fold(state, entry("user_message", ms=10)),
        fold_all(state, log(*[("user_message", {})] * 3, start=10)).state,
    ]
    assert [it.message_count for it in states] == [limits.INT32_MAX] * 2


@pytest.mark.parametrize("number", [0, limits.INT64_MAX])
def test_the_least_and_the_greatest_wdk_id_are_taken(number):
    assert after("strategy_link", {"wdkStrategyId": number}).wdk_strategy_id == number


@pytest.mark.parametrize("wrong", [None, "8", 8.0, True, [8], {}, -1, limits.INT64_MAX + 1, 2**64, 10**30])
def test_a_wdk_id_that_is_none_is_ignored_by_itself(wrong):
    assert after("strategy_link", {"wdkStrategyId": wrong, "isSaved": False}) == changed(is_saved=False)


def test_a_snapshot_gives_plan_step_count_name_and_record_type():
    snapshot = {
        "steps": [
            {"id": "a", "kind": "search", "searchName": "s", "operator": None, "parameters": {"p": "1"}},
            {"id": "b", "kind": "search", "searchName": "t", "displayName": "T"},
            {"id": "c", "kind": "combine", "operator": "MINUS", "primaryInputStepId": "a", "secondaryInputStepId": "b"},
            {"id": "unused"},
        ],
        "rootStepId": "c",
        "name": "New",
        "recordType": "transcript",
    }
    root = {
        "id": "c",
        "searchName": "__combine__",
        "operator": "MINUS",
        "primaryInput": {"id": "a", "searchName": "s", "parameters": {"p": "1"}},
        "secondaryInput": {"id": "b", "searchName": "t", "displayName": "T"},
    }
    plan = {"recordType": "transcript", "root": root, "metadata": {"name": "New"}}
    assert after("graph_snapshot", {"graphSnapshot": snapshot}) == changed(
        name="New", record_type="transcript", step_count=4, plan=plan
    )


def test_a_state_with_a_broken_position_is_refused():
    with pytest.raises(InvalidInputError, match="position"):
        fold(replace(INITIAL, last_event_id="broken"), entry("user_message"))


def test_a_cleared_plan_is_nobody_elses():
    first, second = (fold(INITIAL, entry("graph_cleared")).plan for _ in range(2))
    assert first == second == {}
    assert first is not second is not INITIAL.plan
