"""A plan is built from the flat steps of a snapshot."""

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.folding import doubling
from veupath_store.documents.json import encode
from veupath_store.documents.plans import flatten_plan, root_step_id
from veupath_store.errors import InvalidInputError
from veupath_store.events.fold import steps as steps_module
from veupath_store.events.fold.steps import build_plan
from veupath_store.inputs import limits

SEARCH = {"id": "a", "kind": "search", "searchName": "GenesByTaxon", "parameters": {"organism": "Pf"}}


def build(steps, root="a"):
    return build_plan(steps, root, record_type=None, name=None)


def root_of(*steps, root="a"):
    return build(steps, root)["root"]


def test_a_plan_has_its_root_record_type_and_name():
    assert build_plan([SEARCH], "a", record_type="transcript", name="Kinases") == {
        "recordType": "transcript",
        "root": {"id": "a", "searchName": "GenesByTaxon", "parameters": {"organism": "Pf"}},
        "metadata": {"name": "Kinases"},
    }


def test_a_step_that_is_used_twice_is_there_twice_and_shares_nothing():
    shared = {**SEARCH, "parameters": {"organism": ["Pf"]}}
    root = root_of({"id": "c", "primaryInputStepId": "a", "secondaryInputStepId": "a"}, shared, root="c")
    assert root["primaryInput"] == root["secondaryInput"]
    assert root["primaryInput"] is not root["secondaryInput"]
    assert root["primaryInput"]["parameters"] is not root["secondaryInput"]["parameters"]


def test_as_many_nodes_as_allowed_are_built_and_more_are_refused(monkeypatch):
    monkeypatch.setattr(limits, "PLAN_STEPS", 127)
    assert len(flatten_plan(build(doubling(7), "6"))) == 127
    for length in (8, 9, 100):
        with pytest.raises(InvalidInputError, match="it has more than 127 steps"):
            build(doubling(length), str(length - 1))


def test_a_large_step_that_is_used_a_thousand_times_is_not_written_out(monkeypatch):
    encoded = []
    monkeypatch.setattr(
        steps_module, "encode_decoded", lambda value, path: encoded.append(value) or encode(value, path)
    )
    steps = doubling(12)
    steps[0]["parameters"] = {"ids": "x" * 1_000_000}
    with pytest.raises(InvalidInputError, match=f"it is larger than {limits.DOCUMENT_BYTES} bytes"):
        build(steps, "11")
    assert len(encoded) == 12
    assert not [value for value in encoded if "root" in value]


def test_parameters_of_a_step_that_is_used_twice_are_refused_where_they_are_nested_too_deep():
    deep = {}
    for _ in range(1_000):
        deep = {"a": deep}
    with pytest.raises(InvalidInputError, match="nested more than"):
        build([*doubling(2), {"id": "0", "parameters": deep}], "1")


def test_the_given_steps_are_not_changed():
    steps = [*doubling(4), SEARCH, 7]
    before = copy.deepcopy(steps)
    build(steps, "3")
    assert steps == before


def rebuilt(plan):
    """The plan as an application would send it in a snapshot, and as it comes back."""
    steps = json.loads(json.dumps(flatten_plan(plan)))
    name = plan.get("metadata", {}).get("name")
    return build_plan(steps, root_step_id(plan), record_type=plan.get("recordType"), name=name)


def named(node):
    """The same node, where its combinations have a search's name."""
    inputs = {field: named(node[field]) for field in ("primaryInput", "secondaryInput") if field in node}
    return {"searchName": "__combine__" if node.get("operator") else "__unknown__", **node, **inputs}


def test_the_real_strategies_come_back_from_their_flat_steps(strategies):
    combinations = 0
    for strategy in strategies:
        plan = strategy["plan"]
        back = rebuilt(plan)
        # All that differs: a combination has no searchName in these plans, and gets one.
        assert back == {**plan, "root": named(plan["root"])}
        assert flatten_plan(back) == [{"searchName": "__combine__", **step} for step in flatten_plan(plan)]
        assert rebuilt(back) == back
        combinations += json.dumps(back).count('"__combine__"')
    assert (len(strategies), combinations) == (53, 219)


NODES = st.recursive(
    st.fixed_dictionaries(
        {"searchName": st.just("s"), "parameters": st.dictionaries(st.text(max_size=2), st.integers())}
    ),
    lambda inner: st.fixed_dictionaries(
        {"searchName": st.just("t"), "displayName": st.text(max_size=3)},
        optional={"operator": st.just("UNION"), "primaryInput": inner, "secondaryInput": inner},
    ),
    max_leaves=20,
)


def numbered(node, prefix="r"):
    inputs = {key: numbered(node[key], prefix + key[0]) for key in ("primaryInput", "secondaryInput") if key in node}
    return {**node, "id": prefix, **inputs}


@given(NODES)
def test_any_plan_whose_nodes_have_names_and_ids_comes_back(node):
    plan = {"root": numbered(node), "recordType": "gene", "metadata": {"name": "n"}}
    try:
        encode(plan)
    except InvalidInputError:
        return
    assert rebuilt(plan) == plan
