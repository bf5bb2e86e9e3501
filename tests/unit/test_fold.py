"""The fold, event by event: what each changes, and that it changes nothing else."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tests.support.folding import AT, FULL, MOVED, after, changed
from tests.support.logs import entry, log
from veupath_store.errors import InvalidInputError
from veupath_store.events.fold.fold import INITIAL, PROJECTING, Folded, Problem, State, fold, fold_all
from veupath_store.inputs import limits
from veupath_store.values.streams import DEFAULT_NAME

ONLY_POSITION = ["assistant_delta", "tool_call_start", "tool_call_end", "reasoning", "message_start", "message_end"]
ONLY_POSITION += ["token_usage_partial", "subkani_task_start", "citations", "planning_artifact", "error"]
ONLY_POSITION += ["of_tomorrow", "", "USER_MESSAGE", "user_message "]


def test_the_projecting_types_are_those_of_the_table():
    assert {
        *("user_message", "assistant_message", "strategy_meta", "strategy_link", "graph_snapshot", "graph_plan"),
        *("model_selected", "graph_cleared", "projection_patched"),
    } == PROJECTING


def test_before_the_first_event_there_is_a_new_conversation():
    assert State(name=DEFAULT_NAME, plan={}) == INITIAL
    assert (INITIAL.message_count, INITIAL.last_event_id, INITIAL.begun) == (0, None, False)
    assert fold_all(INITIAL, []) == Folded(INITIAL, (), 0)


@pytest.mark.parametrize("kind", ["user_message", "assistant_message"])
@pytest.mark.parametrize("data", [{"content": "Hi", "messageId": "m"}, {}, {"content": None, "messageId": [1]}])
def test_a_message_counts_whatever_it_says(kind, data):
    assert after(kind, data) == changed(message_count=4)


def test_messages_are_counted_as_far_as_the_column_goes():
    state = replace(FULL, message_count=limits.INT32_MAX - 1)
    states = [
        fold(state, entry("user_message", ms=10)),
        fold_all(state, log(*[("user_message", {})] * 3, start=10)).state,
    ]
    assert [it.message_count for it in states] == [limits.INT32_MAX] * 2


@pytest.mark.parametrize(
    ("data", "columns"),
    [
        ({"name": "New"}, {"name": "New"}),
        ({"recordType": "transcript"}, {"record_type": "transcript"}),
        ({"name": "New", "recordType": "transcript"}, {"name": "New", "record_type": "transcript"}),
        ({"name": "", "recordType": "transcript"}, {"record_type": "transcript"}),
        ({"name": " "}, {"name": " "}),
        ({"name": "Old"}, {}),
    ],
)
def test_a_strategys_meta_replaces_name_and_record_type(data, columns):
    assert after("strategy_meta", data) == changed(**columns)


@pytest.mark.parametrize("data", [{}, {"name": ""}, {"name": "", "recordType": ""}, {"record_type": "x", "Name": "x"}])
def test_a_strategys_meta_without_text_only_moves_the_position(data):
    assert after("strategy_meta", data) == MOVED


@pytest.mark.parametrize("wrong", [None, 7, 1.5, True, False, [], ["x"], {}, {"name": "x"}])
def test_a_name_or_record_type_of_a_wrong_type_is_ignored_by_itself(wrong):
    assert after("strategy_meta", {"name": wrong, "recordType": wrong}) == MOVED
    assert after("strategy_meta", {"name": wrong, "recordType": "x"}) == changed(record_type="x")
    assert after("strategy_meta", {"name": "x", "recordType": wrong}) == changed(name="x")
    assert after("model_selected", {"modelId": wrong}) == MOVED
    assert after("graph_snapshot", {"graphSnapshot": {"name": wrong, "recordType": "x"}}) == changed(record_type="x")
    assert after("graph_plan", {"name": wrong, "recordType": "x"}) == changed(record_type="x")


@pytest.mark.parametrize("saved", [True, False])
def test_a_link_claims_the_wdk_id_and_sets_the_saved_flag(saved):
    expected = changed(wdk_strategy_id=8, is_saved=saved)
    assert after("strategy_link", {"wdkStrategyId": 8, "isSaved": saved}) == expected


def test_a_link_that_says_nothing_of_saving_leaves_the_flag():
    assert after("strategy_link", {"wdkStrategyId": 8}) == changed(wdk_strategy_id=8)


def test_a_link_to_the_same_id_is_a_new_claim():
    assert after("strategy_link", {"wdkStrategyId": 7}) == changed()


@pytest.mark.parametrize("number", [0, limits.INT64_MAX])
def test_the_least_and_the_greatest_wdk_id_are_taken(number):
    assert after("strategy_link", {"wdkStrategyId": number}).wdk_strategy_id == number


@pytest.mark.parametrize("wrong", [None, "8", 8.0, True, [8], {}, -1, limits.INT64_MAX + 1, 2**64, 10**30])
def test_a_wdk_id_that_is_none_is_ignored_by_itself(wrong):
    assert after("strategy_link", {"wdkStrategyId": wrong}) == MOVED
    assert after("strategy_link", {"wdkStrategyId": wrong, "isSaved": False}) == changed(is_saved=False)


@pytest.mark.parametrize("wrong", [None, 0, 1, "true", [], {}])
def test_a_saved_flag_that_is_none_is_ignored_by_itself(wrong):
    expected = changed(wdk_strategy_id=8)
    assert after("strategy_link", {"wdkStrategyId": 8, "isSaved": wrong}) == expected


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


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({"graphName": "G"}, "G"),
        ({"name": "N", "graphName": "G"}, "N"),
        ({"name": "", "graphName": "G"}, "G"),
        ({"name": 7, "graphName": "G"}, "G"),
        ({"name": "N", "graphName": None}, "N"),
    ],
)
def test_a_snapshot_is_named_by_name_or_graph_name(names, expected):
    state = after("graph_snapshot", {"graphSnapshot": {"steps": [{"id": "a"}], "rootStepId": "a", **names}})
    assert state.name == expected
    assert state.plan == {"root": {"id": "a", "searchName": "__unknown__"}, "metadata": {"name": expected}}


@pytest.mark.parametrize("root", [None, "gone", "", 7, ["a"]])
def test_a_snapshot_without_its_root_leaves_the_plan_and_keeps_the_steps_beside_it(root):
    snapshot = {"steps": [{"id": "a", "filters": [1]}, {"id": "b"}, "no step"], "rootStepId": root, "name": "New"}
    kept = [{"id": "a", "filters": [1]}, {"id": "b"}]
    assert fold_all(FULL, [entry("graph_snapshot", {"graphSnapshot": snapshot}, AT.ms, AT.seq)]) == Folded(
        changed(name="New", step_count=2, unrooted_steps=kept), (), 1
    )


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("graph_snapshot", {"graphSnapshot": {"steps": [{"id": "a"}], "rootStepId": "a"}}),
        ("graph_plan", {"plan": {"root": {"id": "a", "searchName": "__unknown__"}}}),
        ("projection_patched", {"plan": {"root": {"id": "a", "searchName": "__unknown__"}}}),
    ],
)
def test_a_root_or_a_plan_clears_the_steps_that_had_none(kind, data):
    state = after(kind, data, replace(FULL, unrooted_steps=[{"id": "b"}]))
    assert (state.plan["root"]["id"], state.unrooted_steps) == ("a", None)


def test_a_snapshot_without_steps_counts_none():
    assert after("graph_snapshot", {"graphSnapshot": {"steps": [], "rootStepId": None}}) == changed(step_count=0)


@pytest.mark.parametrize("wrong", [None, 7, "steps", {"id": "a"}, True])
def test_a_snapshot_whose_steps_are_no_list_sets_the_rest(wrong):
    data = {"graphSnapshot": {"steps": wrong, "rootStepId": "a", "recordType": "x"}}
    assert after("graph_snapshot", data) == changed(record_type="x")


@pytest.mark.parametrize("data", [{}, *({"graphSnapshot": wrong} for wrong in (None, 7, "x", [], [{"name": "x"}], {}))])
def test_an_event_without_a_snapshot_only_moves_the_position(data):
    assert after("graph_snapshot", data) == MOVED


def test_a_plan_is_taken_whole_and_its_searches_are_counted():
    combine = {"primaryInput": {"searchName": "a"}, "secondaryInput": {"searchName": ""}, "operator": "UNION"}
    plan = {"root": {"searchName": "t", "primaryInput": combine}, "unknown": [1, None]}
    assert after("graph_plan", {"plan": plan}) == changed(plan=plan, step_count=2)
    expected = changed(plan={}, step_count=0, name="N", record_type="r")
    assert after("graph_plan", {"plan": {}, "name": "N", "recordType": "r"}) == expected


@pytest.mark.parametrize("wrong", [None, 7, "{}", [], True])
def test_a_plan_that_is_no_object_is_ignored_by_itself(wrong):
    assert after("graph_plan", {"plan": wrong}) == MOVED
    assert after("graph_plan", {"plan": wrong, "name": "New"}) == changed(name="New")


def test_a_model_is_selected():
    assert after("model_selected", {"modelId": "other"}) == changed(model_id="other")
    assert after("model_selected", {"modelId": ""}) == MOVED == after("model_selected", {})


@pytest.mark.parametrize("data", [{}, {"name": "ignored"}, b""])
def test_clearing_the_graph_takes_name_plan_and_link(data):
    assert after("graph_cleared", data) == changed(
        name=DEFAULT_NAME, plan={}, step_count=0, wdk_strategy_id=None, unrooted_steps=None, is_saved=False
    )


@pytest.mark.parametrize("kind", ONLY_POSITION)
@pytest.mark.parametrize("data", [{"name": "x", "wdkStrategyId": 1, "plan": {}}, b"", b"no JSON", b"[]", b"\xff"])
def test_every_other_type_only_moves_the_position(kind, data):
    assert fold_all(FULL, [entry(kind, data, AT.ms, AT.seq)]) == Folded(MOVED, (), 1)


@pytest.mark.parametrize("kind", sorted(PROJECTING))
@pytest.mark.parametrize("raw", [b"{", b"[]", b"null", b"7", b'"x"', b'{"name":NaNa}', b"\xff", b'{"a":1}{}', b" "])
def test_an_event_whose_data_is_no_object_is_skipped_counted_and_reported(kind, raw):
    assert fold_all(FULL, [entry(kind, raw, AT.ms, AT.seq)]) == Folded(
        MOVED, (Problem(AT, kind, "its data is no JSON object"),), 1
    )


@pytest.mark.parametrize("kind", sorted(PROJECTING - {"graph_cleared"}))
def test_an_event_without_data_is_a_bad_one(kind):
    assert [problem.type for problem in fold_all(FULL, [entry(kind, b"", AT.ms)]).problems] == [kind]


def test_a_bad_event_does_not_stop_the_others():
    entries = log(("user_message", {}), ("user_message", b"{"), ("strategy_meta", {"name": "N"}), ("user_message", {}))
    folded = fold_all(INITIAL, entries)
    assert (folded.state.message_count, folded.state.name, folded.state.last_event_id) == (2, "N", "4-0")
    assert [str(problem.position) for problem in folded.problems] == ["2-0"]


def test_over_long_text_is_cut_at_the_columns_width():
    long = "\U0001f600" * 1_000
    state = after("strategy_meta", {"name": long, "recordType": long})
    assert (state.name, state.record_type) == (long[: limits.NAME], long[: limits.RECORD_TYPE])
    assert after("model_selected", {"modelId": long}).model_id == long[: limits.MODEL_ID]
    snapshot = {"steps": [{"id": "a"}], "rootStepId": "a", "graphName": long, "recordType": long}
    state = after("graph_snapshot", {"graphSnapshot": snapshot})
    assert (state.name, state.record_type) == (long[: limits.NAME], long[: limits.RECORD_TYPE])
    assert state.plan["metadata"] == {"name": long[: limits.NAME]}


def test_nul_and_lone_surrogates_become_the_replacement_character():
    state = after("strategy_meta", {"name": "a\0b\ud800c\\u0000", "recordType": "\ude00\ud83d\ude00"})
    assert (state.name, state.record_type) == ("a\ufffdb\ufffdc\\u0000", "\ufffd\U0001f600")
    assert after("graph_plan", {"plan": {"a\0": ["\ud800"]}}).plan == {"a\ufffd": ["\ufffd"]}


def test_positions_are_compared_as_integers():
    entries = [
        entry("user_message", ms=9, seq=1),
        entry("user_message", ms=10, seq=1),
        entry("user_message", ms=10, seq=10),
    ]
    assert fold_all(INITIAL, entries).state.message_count == 3
    assert fold(replace(INITIAL, last_event_id="9-1"), entries[1]).message_count == 1
    assert fold(replace(INITIAL, last_event_id="10-9"), entries[2]).message_count == 1
    assert fold(replace(INITIAL, last_event_id="10-1"), entries[0]).message_count == 0


@pytest.mark.parametrize("position", [(9, 9), (9, 8), (8, 10), (0, 0)])
def test_an_entry_that_was_seen_changes_nothing(position):
    for kind in ("user_message", "assistant_delta", "graph_cleared"):
        again = entry(kind, {}, *position)
        assert fold(FULL, again) is FULL
        assert fold_all(FULL, [again, again]) == Folded(FULL, (), 0)


def test_the_first_entry_may_be_the_least_that_there_is():
    assert fold(INITIAL, entry("user_message", ms=0, seq=0)).last_event_id == "0-0"


def test_only_events_that_set_a_field_change_the_time():
    entries = log(
        ("user_message", {}), ("assistant_delta", {}), ("strategy_meta", {}), ("user_message", b"{"), start=1_000
    )
    state = fold_all(INITIAL, entries).state
    assert (state.updated_at, state.last_event_id) == (datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), "1003-0")


def test_a_state_with_a_broken_position_is_refused():
    with pytest.raises(InvalidInputError, match="position"):
        fold(replace(INITIAL, last_event_id="broken"), entry("user_message"))


def test_a_cleared_plan_is_nobody_elses():
    first, second = (fold(INITIAL, entry("graph_cleared")).plan for _ in range(2))
    assert first == second == {}
    assert first is not second is not INITIAL.plan
