"""`projection_patched`: exactly the fields that it names, as a repository writes them."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest

from tests.support.folding import AT, FULL, MOVED, TIME, after, changed
from tests.support.hostile import OldSite
from tests.support.logs import entry
from veupath_store import limits
from veupath_store.errors import InvalidInputError
from veupath_store.events.fold import INITIAL, State, fold, fold_all
from veupath_store.events.patched import (
    PATCH_KEYS,
    PATCHED,
    Origin,
    begins,
    origin_of,
    patch_data,
    patch_raw,
)
from veupath_store.values import DismissReason

GENE_SET = UUID("11111111-2222-4333-8444-555555555555")
VALUES = {
    "name": "New",
    "record_type": "transcript",
    "wdk_strategy_id": 8,
    "is_saved": False,
    "model_id": "other",
    "message_count": 11,
    "step_count": 12,
    "plan": {"root": {"id": "z"}},
    "result_count": 13,
    "dismissed_reason": "purge",
    "gene_set_id": GENE_SET,
    "gene_set_auto_imported": True,
}
FOLLOW = {"wdk_strategy_id": {"wdk_event_id": str(AT)}, "dismissed_reason": {"dismissed_at": TIME}}
ORIGIN = Origin("77", "1.1")
NULLABLE = {"record_type", "wdk_strategy_id", "model_id", "result_count", "dismissed_reason", "gene_set_id"}


def patched(data, state=FULL):
    return after(PATCHED, data, state)


def written(changes, state=FULL, **more):
    """After the event that a repository would append for these changes."""
    return after(PATCHED, patch_raw(patch_data(changes, **more)), state)


def test_every_column_has_a_key_and_a_value_here():
    assert PATCH_KEYS.keys() == VALUES.keys()
    own = {"wdk_event_id", "last_event_id", "updated_at", "dismissed_at", "begun"}
    assert {*VALUES, *own} == set(State.__slots__)


def test_the_keys_in_the_log_stay_what_they_are():
    assert list(PATCH_KEYS.values()) == [
        *("name", "recordType", "wdkStrategyId", "isSaved", "modelId", "messageCount", "stepCount", "plan"),
        *("resultCount", "dismissedReason", "geneSetId", "geneSetAutoImported"),
    ]
    moment = datetime(2024, 5, 6, tzinfo=UTC)
    assert patch_data({}, created=True, origin=ORIGIN, order=1, updated_at=moment, dismissed_at=moment) == {
        "created": True,
        "xact": "77",
        "cluster": "1.1",
        "order": 1,
        "updatedAt": "2024-05-06T00:00:00+00:00",
        "dismissedAt": "2024-05-06T00:00:00+00:00",
    }


@pytest.mark.parametrize("column", VALUES)
def test_exactly_the_named_field_is_set(column):
    assert written({column: VALUES[column]}) == changed(**{column: VALUES[column], **FOLLOW.get(column, {})})


def test_all_fields_are_set_at_once():
    state = replace(INITIAL, last_event_id="1-0")
    expected = {**VALUES, **FOLLOW["wdk_strategy_id"], **FOLLOW["dismissed_reason"], "updated_at": TIME}
    assert written(VALUES, state) == replace(state, **expected, last_event_id=str(AT))


def test_no_field_only_moves_the_position():
    assert (
        written({}) == MOVED == written({}, origin=ORIGIN, order=5) == patched({"dismissedAt": "2024-01-01T00:00:00Z"})
    )


@pytest.mark.parametrize("column", VALUES)
def test_null_is_a_value_where_the_column_is_nullable(column):
    state = patched({PATCH_KEYS[column]: None})
    follow = {"wdk_strategy_id": {"wdk_event_id": None}, "dismissed_reason": {"dismissed_at": None}}
    assert state == (changed(**{column: None, **follow.get(column, {})}) if column in NULLABLE else MOVED)
    assert column not in NULLABLE or written({column: None}) == state


WRONG_TYPES = {
    "name": [7, True, [], {}, ""],
    "record_type": [7, True, [], {}],
    "wdk_strategy_id": ["8", 8.0, True, [], {}, -1, limits.INT64_MAX + 1],
    "is_saved": [0, 1, "true", [], {}],
    "model_id": [7, True, [], {}],
    "message_count": ["8", 8.0, True, [], {}, -1, limits.INT32_MAX + 1],
    "step_count": ["8", 8.0, True, [], {}, -1, limits.INT32_MAX + 1],
    "plan": ["{}", 7, True, []],
    "result_count": ["8", 8.0, True, [], {}, -1, limits.INT32_MAX + 1],
    "dismissed_reason": ["boredom", "", "USER", 7, True, [], {}, ["user"]],
    "gene_set_id": ["", "1111", 7, True, [], {}, "x" * 36],
    "gene_set_auto_imported": [False, 0, 1, "true", [], {}],
}


@pytest.mark.parametrize(("column", "wrong"), [(column, it) for column in WRONG_TYPES for it in WRONG_TYPES[column]])
def test_a_value_that_the_column_does_not_take_is_ignored_by_itself(column, wrong):
    assert patched({PATCH_KEYS[column]: wrong}) == MOVED
    other = "model_id" if column != "model_id" else "name"
    assert patched({PATCH_KEYS[column]: wrong, PATCH_KEYS[other]: "x"}) == changed(**{other: "x"})


def test_a_patch_may_set_empty_text_where_a_row_may_hold_it():
    assert written({"record_type": "", "model_id": ""}) == changed(record_type="", model_id="")


def test_over_long_text_is_cut():
    state = patched({"name": "n" * 999, "recordType": "r" * 999, "modelId": "m" * 999})
    assert [len(it) for it in (state.name, state.record_type, state.model_id)] == [255, 100, 100]


def test_unlinking_a_strategy_leaves_the_saved_flag_as_every_field_that_is_not_given():
    unlinked = written({"wdk_strategy_id": None})
    assert (unlinked.wdk_strategy_id, unlinked.wdk_event_id, unlinked.is_saved) == (None, None, FULL.is_saved)
    assert FULL.is_saved is True
    assert written({"wdk_strategy_id": None, "is_saved": False}).is_saved is False


def test_a_claim_leaves_the_saved_flag():
    assert written({"wdk_strategy_id": 8}).is_saved is True


@pytest.mark.parametrize("reason", list(DismissReason))
def test_a_dismissal_is_dated_by_its_entry_or_as_it_says(reason):
    expected = changed(dismissed_reason=reason.value, dismissed_at=TIME)
    assert written({"dismissed_reason": reason}) == expected
    assert type(written({"dismissed_reason": reason}).dismissed_reason) is str
    moment = datetime(2024, 5, 6, 7, 8, 9, 123_456, tzinfo=timezone(timedelta(hours=2)))
    state = written({"dismissed_reason": reason}, dismissed_at=moment)
    assert state == replace(expected, dismissed_at=moment)
    assert state.dismissed_at.tzinfo is UTC


@pytest.mark.parametrize("wrong", ["2024-05-06T07:08:09", "yesterday", "", 7, None, [], "0001-01-01T00:00:00+14:00"])
def test_a_time_that_is_none_is_the_entrys_own(wrong):
    assert patched({"dismissedReason": "user", "dismissedAt": wrong}).dismissed_at == TIME
    assert patched({"name": "New", "updatedAt": wrong}) == changed(name="New")
    assert patched({"updatedAt": wrong}) == MOVED


def test_a_checkpoint_says_when_the_row_was_changed():
    moment = datetime(2024, 5, 6, 7, 8, 9, 123_456, tzinfo=UTC)
    assert written({"name": "New"}, updated_at=moment) == changed(name="New", updated_at=moment)
    assert written({}, updated_at=moment) == changed(updated_at=moment)


def test_the_order_of_a_bulk_insert_is_kept_in_the_time():
    assert written({"name": "New"}, order=3) == changed(name="New", updated_at=TIME - timedelta(microseconds=3))
    moment = datetime(2024, 5, 6, tzinfo=UTC)
    assert written({"name": "New"}, order=10**6, updated_at=moment).updated_at == moment - timedelta(seconds=1)


@pytest.mark.parametrize("wrong", [-1, 10**6 + 1, 1.0, "1", True, None, []])
def test_an_order_that_is_none_is_ignored(wrong):
    assert patched({"name": "New", "order": wrong}) == changed(name="New")


@pytest.mark.parametrize("year", ["0001-01-01T00:00:00", "1969-12-31T23:59:59", "9999-12-31T23:59:59.999999"])
def test_times_that_no_log_can_have_are_none(year):
    """The driver takes the first and the last of them for infinities."""
    assert patched({"name": "New", "updatedAt": f"{year}+00:00"}) == changed(name="New")


def test_a_beginning_forgets_what_was_before():
    expected = replace(INITIAL, name="New", begun=True, updated_at=TIME, last_event_id=str(AT))
    assert written({"name": "New"}, created=True) == expected
    assert written({}, created=True) == replace(expected, name=INITIAL.name)
    assert written({"name": "New"}, replace(FULL, plan=None), created=True) == expected
    assert written({"wdk_strategy_id": None}, created=True) == replace(expected, name=INITIAL.name)


@pytest.mark.parametrize("wrong", [False, None, 1, "true", [], {}])
def test_nothing_else_is_a_beginning(wrong):
    assert patched({"created": wrong, "name": "New"}) == changed(name="New")
    assert not begins(entry(PATCHED, {"created": wrong}))


def test_a_beginnings_plan_is_its_own():
    state = written({}, created=True)
    state.plan["x"] = 1
    assert INITIAL.plan == {} == written({}, created=True).plan


def test_a_refused_plan_stays_and_the_rest_is_set():
    bad = {"root": {"primaryInput": "no step"}}
    folded = fold_all(FULL, [entry(PATCHED, {"plan": bad, "name": "New"}, AT.ms, AT.seq)])
    assert folded.state == changed(name="New")
    assert [(it.position, it.type, it.reason) for it in folded.problems] == [
        (AT, PATCHED, "the plan was left as it was: a step must be an object")
    ]
    alone = fold_all(FULL, [entry(PATCHED, {"plan": bad}, AT.ms, AT.seq)])
    assert (alone.state, len(alone.problems)) == (MOVED, 1)


def test_beginnings_and_transactions_are_read_back():
    made = entry(PATCHED, patch_raw(patch_data({"name": "New"}, created=True, origin=Origin("77", "1.1", "5-0"))))
    assert (begins(made), origin_of(made)) == (True, Origin("77", "1.1", "5-0"))
    other = entry(PATCHED, patch_raw(patch_data({"name": "New"})))
    assert (begins(other), origin_of(other)) == (False, None)


@pytest.mark.parametrize(
    "raw",
    [
        *(b"", b"{", b"[]", b'["xact","created"]', b'{"xact":77,"cluster":"1.1","created":"true"}'),
        *(b'{"xact":"77"}', b'{"xact":"77","cluster":5}', b'{"xact":"77","cluster":"1.1","base":[]}'),
    ],
)
def test_what_says_neither_is_neither(raw):
    assert (begins(entry(PATCHED, raw)), origin_of(entry(PATCHED, raw))) == (False, None)


def test_other_types_neither_begin_nor_belong_to_a_transaction():
    other = entry("user_message", {"created": True, "xact": "77", "cluster": "1.1"})
    assert (begins(other), origin_of(other)) == (False, None)


def test_the_data_of_a_patch_is_json_and_shares_nothing():
    plan = {"root": {"id": "a", "parameters": {"x": [1]}}}
    data = patch_data({**VALUES, "plan": plan}, created=True, origin=ORIGIN, order=1)
    assert json.loads(json.dumps(data)) == data == json.loads(patch_raw(data))
    plan["root"]["parameters"]["x"].append(2)
    assert data["plan"] == {"root": {"id": "a", "parameters": {"x": [1]}}}


def test_the_text_of_an_enum_is_its_value():
    data = patch_data({"name": OldSite.TOXODB, "dismissed_reason": DismissReason.PURGE})
    assert data == {"name": "toxodb, an Enum", "dismissedReason": "purge"}
    assert {type(value) for value in data.values()} == {str}


def test_what_cannot_be_a_patch_is_refused():
    with pytest.raises(KeyError):
        patch_data({"user_id": 1})
    for moments in ({"updated_at": datetime(2024, 1, 1)}, {"dismissed_at": datetime(2024, 1, 1)}):  # noqa: DTZ001
        with pytest.raises(InvalidInputError, match="time zone"):
            patch_data({}, **moments)
    with pytest.raises(InvalidInputError):
        patch_data({"plan": {"x": float("nan")}})


@pytest.mark.parametrize("shape", ["deep", "large"])
def test_a_plan_at_the_limit_of_documents_gets_into_the_log_and_out_again(shape):
    plan = {"x": "y" * (limits.DOCUMENT_BYTES - 8)}
    if shape == "deep":
        plan = {}
        for _ in range(limits.DOCUMENT_DEPTH - 1):
            plan = {"a": plan}
    assert fold(FULL, entry(PATCHED, patch_raw(patch_data({"plan": plan})), AT.ms)).plan == plan


@pytest.mark.parametrize(
    ("given", "kept"),
    [(None, None), ("5-3", "5-3"), ("x", "POSITION"), (7, "POSITION"), (f"{2**64}-0", "POSITION")],
)
def test_a_checkpoint_repeats_a_claim_with_the_entry_that_made_it(given, kept):
    state = patched({"wdkStrategyId": 3, "wdkEventId": given})
    assert state.wdk_event_id == (state.last_event_id if kept == "POSITION" else kept)
    assert patched({"wdkStrategyId": None, "wdkEventId": "5-3"}).wdk_event_id is None
