"""The flat list of steps that is read from a plan."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.hostile import nested, shared_steps, steps
from veupath_store import InvalidInputError
from veupath_store.documents.plans import check_plan, count_searches, flatten_plan, root_step_id
from veupath_store.inputs import limits

SEARCH = {"id": "a", "searchName": "GenesByTaxon", "parameters": {"organism": "Pf"}, "displayName": "Falciparum"}
TRANSFORM = {"id": "b", "searchName": "GenesByOrthologs", "parameters": {}, "primaryInput": SEARCH}
OTHER = {"id": "c", "searchName": "GenesByText", "parameters": {"text": "kinase"}}
COMBINE = {"id": "d", "operator": "INTERSECT", "primaryInput": TRANSFORM, "secondaryInput": OTHER}
PLAN = {"recordType": "transcript", "root": COMBINE, "metadata": {"name": "Kinases"}}


def without_inputs(node):
    return {key: value for key, value in node.items() if key not in ("id", "primaryInput", "secondaryInput")}


def step(identity, kind, primary=None, secondary=None, **more):
    """A step as it is listed."""
    return {"id": identity, "kind": kind, **more, "primaryInputStepId": primary, "secondaryInputStepId": secondary}


def test_inputs_come_before_the_step_that_uses_them_and_the_root_is_the_last():
    assert flatten_plan(PLAN) == [
        step("a", "search", **without_inputs(SEARCH)),
        step("b", "transform", "a", **without_inputs(TRANSFORM)),
        step("c", "search", **without_inputs(OTHER)),
        step("d", "combine", "b", "c", operator="INTERSECT"),
    ]
    assert root_step_id(PLAN) == "d"
    assert count_searches(PLAN) == 3


def test_what_a_combination_needs_beside_its_inputs_is_kept():
    node = {**COMBINE, "operator": "COLOCATE", "colocationParams": {"upstream": 100}, "unknown": 1}
    kept = {"operator": "COLOCATE", "colocationParams": {"upstream": 100}, "unknown": 1}
    assert flatten_plan({"root": node})[-1] == step("d", "combine", "b", "c", **kept)


@pytest.mark.parametrize("plan", [{}, {"root": None}, {"root": []}, {"root": "x"}, {"root": 7}, {"recordType": "gene"}])
def test_a_plan_without_a_usable_root_has_no_steps(plan):
    assert flatten_plan(plan) == []
    assert root_step_id(plan) is None
    assert count_searches(plan) == 0


def test_reading_a_malformed_stored_plan_never_fails():
    plan = {"root": {"id": 7, "primaryInput": "x", "secondaryInput": [1], "operator": "", "searchName": None}}
    assert flatten_plan(plan) == [step("7", "search", searchName=None, operator="")]
    assert flatten_plan({"root": {}})[0]["id"] is None
    assert root_step_id({"root": {}}) is None


json_values = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["id", "operator", "searchName", "primaryInput", "secondaryInput"]), inner)
    ),
    max_leaves=10,
)


@given(json_values)
def test_any_root_can_be_read(root):
    listed = flatten_plan({"root": root})
    assert (listed[-1]["id"] if listed else None) == root_step_id({"root": root})
    assert count_searches({"root": root}) <= len(listed)


def test_a_stored_plan_of_any_depth_is_read_without_recursion():
    listed = flatten_plan(steps(50_000))
    assert len(listed) == 50_000 == count_searches(steps(50_000))
    assert [listed[0]["id"], listed[-1]["id"]] == ["0", "49999"]


def test_as_many_steps_as_allowed_are_kept_and_one_more_is_not(monkeypatch):
    with pytest.raises(InvalidInputError, match=f"it has more than {limits.PLAN_STEPS} steps"):
        check_plan(shared_steps(100), "plan")  # few, which are used again and again
    monkeypatch.setattr(limits, "PLAN_STEPS", 4)
    check_plan(PLAN, "plan")
    with pytest.raises(InvalidInputError, match="plan: it has more than 4 steps"):
        check_plan({"root": {"primaryInput": COMBINE}}, "plan")


@pytest.mark.parametrize(
    ("root", "path"),
    [
        ([], "plan.root"),
        (0, "plan.root"),
        ("", "plan.root"),
        ({"primaryInput": []}, "plan.root.primaryInput"),
        ({"primaryInput": SEARCH, "secondaryInput": {"primaryInput": "a"}}, "plan.root.secondaryInput.primaryInput"),
    ],
)
def test_a_step_that_is_no_object_is_refused_by_its_path(root, path):
    with pytest.raises(InvalidInputError) as refusal:
        check_plan({"root": root}, "plan")
    assert (refusal.value.path, refusal.value.reason) == (path, "a step must be an object")


def test_depth_counts_steps_not_their_parameters():
    check_plan({"root": {"parameters": nested(1000)}}, "plan")
