"""`projection_patched`: exactly the fields that it names; and what the row holds and the log does not yet."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest

from tests.support.folding import AT, FULL, MOVED, TIME, after, changed
from tests.support.logs import entry
from veupath_store.events.fold.fold import INITIAL, State, fold, fold_all
from veupath_store.events.fold.patch import (
    DOCUMENTS,
    KEYS,
    PATCHED,
    is_unsettled,
    patch_raw,
    whole_data,
)
from veupath_store.inputs import limits
from veupath_store.models.unlogged import LOGGED

GENE_SET = UUID("11111111-2222-4333-8444-555555555555")
OWNER = UUID(int=7)
VALUES = {
    "name": "New",
    "record_type": "transcript",
    "wdk_strategy_id": 8,
    "is_saved": False,
    "model_id": "other",
    "message_count": 11,
    "step_count": 12,
    "plan": {"root": {"id": "z"}},
    "unrooted_steps": [{"id": "y"}],
    "result_count": 13,
    "dismissed_at": datetime(2024, 5, 6, tzinfo=UTC),
    "dismissed_reason": "purge",
    "gene_set_id": GENE_SET,
    "gene_set_auto_imported": True,
    "messages_after": "8-1",
    "lost": {"messages": 2},
}
TOGETHER = {
    "dismissed_at": ("dismissed_at", "dismissed_reason"),
    "dismissed_reason": ("dismissed_at", "dismissed_reason"),
}
LATER = datetime(2030, 1, 1, tzinfo=UTC)


def nested_plan(levels):
    """A plan of so many steps, each the input of the next."""
    node = {}
    for _ in range(levels):
        node = {"primaryInput": node}
    return {"root": node}


def raw(columns, tags=None, whole=None, updated_at=TIME):
    """The patch that catch-up appends for these columns."""
    plain = {column: value for column, value in columns.items() if column not in DOCUMENTS}
    documents = {column: json.dumps(columns[column]) for column in DOCUMENTS if column in columns}
    return patch_raw(plain, tags=tags or {}, updated_at=updated_at, documents=documents, whole=whole)


def patched(columns, state=FULL, **more):
    return after(PATCHED, raw(columns, **more), state)


def whole(reason="made"):
    return {"whole": reason, "userId": OWNER, "siteId": "plasmodb", "experimentId": None, "createdAt": TIME}


def test_every_column_has_a_key_and_a_value_here():
    assert KEYS.keys() == VALUES.keys() == {*LOGGED, "lost"}
    assert {*VALUES, "last_event_id", "updated_at", "begun", "unlogged"} == set(State.__slots__)


def test_the_keys_in_the_log_stay_what_they_are():
    assert list(KEYS.values()) == [
        *("name", "recordType", "wdkStrategyId", "isSaved", "modelId", "messageCount", "stepCount", "plan"),
        *("unrootedSteps", "resultCount", "dismissedAt", "dismissedReason", "geneSetId", "geneSetAutoImported"),
        *("messagesAfter", "lost"),
    ]
    assert json.loads(raw({"name": "New", "plan": {}}, tags={"name": "w1"}, whole=whole("trim"))) == {
        "whole": "trim",
        "userId": str(OWNER),
        "siteId": "plasmodb",
        "experimentId": None,
        "createdAt": TIME.isoformat(),
        "name": "New",
        "plan": {},
        "tags": {"name": "w1"},
        "updatedAt": TIME.isoformat(),
    }


def test_a_plan_that_the_table_would_not_take_is_left_out_and_reported():
    deep = nested_plan(limits.DOCUMENT_DEPTH)
    folded = fold_all(FULL, [entry(PATCHED, {"plan": deep, "name": "New"}, AT.ms, AT.seq)])
    assert folded.state == changed(name="New")
    reason = f"it is nested more than {limits.DOCUMENT_DEPTH} levels deep"
    assert [(problem.position, problem.type) for problem in folded.problems] == [(str(AT), PATCHED)]
    assert folded.problems[0].reason.endswith(reason)
    whole_row = {"plan": deep, "whole": "made", "name": "New"}
    assert fold_all(FULL, [entry(PATCHED, whole_row, AT.ms, AT.seq)]).state.plan is None, "as it was"


@pytest.mark.parametrize("reason", ["made", "lost", "trim"])
def test_a_whole_row_replaces_all_before_it(reason):
    state = patched(VALUES, whole=whole(reason))
    assert state == replace(MOVED, **VALUES, updated_at=TIME, begun=True)
    bare = patched({"name": "New"}, whole=whole(reason))
    assert bare == replace(INITIAL, name="New", updated_at=TIME, begun=True, last_event_id=str(AT))
    marked = replace(FULL, lost=VALUES["lost"])
    assert patched({"name": "New"}, marked, whole=whole(reason)).lost == VALUES["lost"], "what is lost stays lost"


@pytest.mark.parametrize("data", [{"created": "true"}, {"whole": 7}, {"name": "whole"}, [], 7])
def test_what_is_no_whole_row_is_none(data):
    assert whole_data(entry(PATCHED, data)) is None
    assert whole_data(entry("user_message", {"whole": "made"})) is None


def test_an_entry_of_the_first_version_that_may_have_been_rolled_back_is_known():
    assert is_unsettled(entry(PATCHED, {"name": "New", "xact": "77"}))
    assert not is_unsettled(entry(PATCHED, {"name": "xact"}))
    assert not is_unsettled(entry(PATCHED, {"name": "New", "xact": 77}))
    assert not is_unsettled(entry("user_message", {"xact": "77"}))


# What is not logged yet: rules 6 to 8.


WISHED = replace(FULL, name="Wished", message_count=0, unlogged={"name": "w1", "message_count": "w1"})
DECIDED = replace(FULL, name="Old (1)", unlogged={"name": "d1"})


def test_a_wish_outlives_an_applications_event_and_a_decision_does_not():
    event = entry("strategy_meta", {"name": "Event", "recordType": "x"}, AT.ms, AT.seq)
    kept = fold(WISHED, event)
    assert (kept.name, kept.record_type, kept.unlogged) == ("Wished", "x", WISHED.unlogged)
    ended = fold(DECIDED, event)
    assert (ended.name, ended.record_type, ended.unlogged) == ("Event", "x", {})


def test_messages_always_count():
    state = fold(WISHED, entry("user_message", {}, AT.ms, AT.seq))
    assert (state.message_count, state.unlogged) == (1, WISHED.unlogged)


@pytest.mark.parametrize("state", [WISHED, DECIDED])
def test_a_patch_logs_what_it_has_the_tag_or_the_value_of(state):
    tag = state.unlogged["name"]
    others = {column: it for column, it in state.unlogged.items() if column != "name"}
    by_tag = patched({"name": "older"}, state, tags={"name": tag})
    assert (by_tag.name, by_tag.unlogged) == (state.name, others)
    by_value = patched({"name": state.name}, state, tags={"name": "w9"})
    assert (by_value.name, by_value.unlogged) == (state.name, others)
    other = patched({"name": "older"}, state, tags={"name": "w9"})
    assert (other.name, other.unlogged) == (state.name, state.unlogged)


def test_a_patch_says_nothing_by_its_value_of_what_was_written_past_the_store():
    state = replace(WISHED, unlogged={**WISHED.unlogged, "name": "w:1"})
    assert patched({"name": state.name}, state, tags={"name": "w9"}).unlogged["name"] == "w:1"
    assert "name" not in patched({"name": state.name}, state, tags={"name": "w:1"}).unlogged


def test_of_a_row_with_nothing_logged_only_messages_are_folded():
    state = replace(FULL, unlogged=dict.fromkeys(LOGGED, "w:1"))
    assert patched({"name": "Older"}, state, updated_at=LATER, whole=whole()) == replace(
        state, last_event_id=str(AT), begun=True
    )
    assert fold(state, entry("strategy_meta", {"name": "Event"}, AT.ms, AT.seq)) == replace(
        state, last_event_id=str(AT)
    )
    message = fold(state, entry("user_message", {}, AT.ms, AT.seq))
    assert (message.message_count, message.updated_at) == (state.message_count + 1, AT.time)


def test_a_whole_row_leaves_what_is_not_logged():
    state = patched({"name": "older", "model_id": "m"}, WISHED, tags={"name": "w9"}, whole=whole())
    assert (state.name, state.message_count, state.model_id, state.record_type) == ("Wished", 0, "m", None)
    # The count of a whole row is that of a new conversation, which is the row's own.
    assert state.unlogged == {"name": "w1"}


def test_a_value_that_is_logged_without_its_time_leaves_the_time_to_be_logged():
    """Set again to what the log says already: else the row would be later than its log for good."""
    state = replace(FULL, updated_at=LATER, unlogged={"name": "w2"})
    ended = patched({"name": state.name}, state, tags={"name": "w1"})
    assert (ended.updated_at, ended.unlogged) == (LATER, {"updated_at": "w2"})
    ended = replace(ended, last_event_id=FULL.last_event_id)
    assert patched({}, ended, tags={"updated_at": "w1"}).unlogged == {"updated_at": "w2"}
    by_tag = patched({}, ended, tags={"updated_at": "w2"}, updated_at=LATER)
    assert (by_tag.updated_at, by_tag.unlogged) == (LATER, {})
    assert patched({"model_id": "m"}, ended, tags={"model_id": "w3"}, updated_at=LATER).unlogged == {}
    decided = replace(FULL, updated_at=LATER, unlogged={"name": "d2"})
    assert fold(decided, entry("strategy_meta", {"name": "Event"}, AT.ms, AT.seq)).unlogged == {"updated_at": "d2"}


def test_a_dismissal_is_logged_with_its_time_or_not_at_all():
    """Dismissed, restored and dismissed once more: the first of them has the reason of the last, and not its time."""
    dismissal = {"dismissed_at": TIME, "dismissed_reason": "user"}
    unlogged = dict.fromkeys(dismissal, "w3")
    state = replace(FULL, dismissed_at=LATER, dismissed_reason="user", unlogged=unlogged)
    first = patched(dismissal, state, tags=dict.fromkeys(dismissal, "w1"))
    assert first.unlogged == unlogged
    restored = patched(dict.fromkeys(dismissal), state, tags=dict.fromkeys(dismissal, "w2"))
    assert (restored.dismissed_at, restored.dismissed_reason, restored.unlogged) == (LATER, "user", unlogged)
    last = patched({**dismissal, "dismissed_at": LATER}, state, tags=unlogged)
    assert (last.dismissed_at, last.unlogged) == (LATER, {})
