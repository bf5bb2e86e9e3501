"""Logs that somebody made to hurt: the plan stays, the problem is reported, and it takes no time."""

import json
import time

import pytest

from tests.support.folding import AT, FULL, MOVED, chain, changed, doubling, looped, nested
from tests.support.logs import entry, log
from veupath_store.events.fold.fold import INITIAL, fold_all
from veupath_store.inputs import limits


def folded(kind, data):
    result = fold_all(FULL, [entry(kind, data, AT.ms, AT.seq)])
    assert [(problem.position, problem.type) for problem in result.problems] == [(str(AT), kind)]
    return result.state, result.problems[0].reason


def snapshot(steps, **more):
    return {"graphSnapshot": {"steps": steps, "rootStepId": steps[-1]["id"], "name": "New", **more}}


DEEP = {}
for _ in range(500):
    DEEP = {"a": DEEP}
LARGE = "x" * limits.DOCUMENT_BYTES
REFUSED = {
    **{f"a cycle of {length}": (looped(length), "its steps form a cycle") for length in (1, 3, limits.PLAN_DEPTH)},
    "one level too deep": (chain(limits.PLAN_DEPTH + 1), "its steps are nested more than 200 levels deep"),
    "deep": (chain(5_000), "its steps are nested more than 200 levels deep"),
    "shared": (doubling(limits.PLAN_DEPTH), "it has more than 10000 steps"),
    "deep parameters": ([{"id": "a", "parameters": DEEP}], "it is nested more than 254 levels deep"),
    "large": ([{"id": "a", "displayName": LARGE}], "it is larger than 16777216 bytes"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_snapshot_whose_plan_is_refused_sets_the_rest(case):
    steps, reason = REFUSED[case]
    started = time.process_time()
    state, told = folded("graph_snapshot", snapshot(steps))
    assert time.process_time() - started < 20
    assert state == changed(name="New", step_count=len(steps))
    assert told.startswith(f"the plan was left as it was: {reason}")


def test_a_plan_as_deep_as_allowed_is_taken_and_one_level_more_is_a_problem():
    assert fold_all(FULL, [entry("graph_plan", nested(limits.PLAN_DEPTH), AT.ms)]).problems == ()
    state, reason = folded("graph_plan", nested(limits.PLAN_DEPTH + 1))
    assert state == MOVED
    assert reason == f"the plan was left as it was: steps are nested more than {limits.PLAN_DEPTH} levels deep"


def test_a_plan_beyond_the_decoders_depth_is_a_bad_event():
    assert folded("graph_plan", nested(5_000)) == (MOVED, "its data is no JSON object")


@pytest.mark.parametrize("plan", [{"x": DEEP}, {"x": LARGE}, {"root": []}])
def test_a_plan_that_the_table_does_not_take_is_a_problem_and_the_rest_is_set(plan):
    state, reason = folded("graph_plan", {"plan": plan, "name": "New"})
    assert state == changed(name="New")
    assert reason.startswith("the plan was left as it was: ")


def test_a_problem_tells_nothing_of_the_content():
    secret = "PF3D7_1343700"
    plan = {"root": {"primaryInput": secret}, secret: DEEP}
    for data in (json.dumps({"plan": plan}).encode(), f'{{"{secret}'.encode()):
        assert secret not in folded("graph_plan", data)[1]


def test_a_snapshot_of_sixteen_megabytes_is_folded_in_seconds():
    steps = [{**step, "parameters": {"ids": "x" * 80_000}} for step in chain(limits.PLAN_DEPTH)]
    raw = json.dumps(snapshot(steps)).encode()
    assert 15_000_000 < len(raw) < limits.DOCUMENT_BYTES
    started = time.process_time()
    result = fold_all(FULL, [entry("graph_snapshot", raw, AT.ms)])
    assert time.process_time() - started < 20
    assert (result.problems, result.state.step_count) == ((), limits.PLAN_DEPTH)


def test_a_hundred_thousand_steps_that_are_not_used_cost_little():
    steps = [{"id": str(n)} for n in range(100_000)]
    started = time.process_time()
    state = fold_all(FULL, [entry("graph_snapshot", snapshot(steps), AT.ms)]).state
    assert time.process_time() - started < 20
    assert (state.step_count, state.plan["root"]["id"]) == (100_000, "99999")


def test_deltas_are_not_decoded():
    many = [entry("assistant_delta", b"{" * 1_000, ms) for ms in range(1, 200_001)]
    result = fold_all(INITIAL, many)
    assert (result.folded, result.problems, result.state.last_event_id) == (200_000, (), "200000-0")


def test_a_long_log_needs_no_more_than_its_plan():
    entries = log(*[("graph_plan", {"plan": {"root": {"searchName": "s", "n": n}}}) for n in range(1_000)])
    assert fold_all(INITIAL, iter(entries)).state.plan == {"root": {"searchName": "s", "n": 999}}
