"""A plan out of flat steps, written recursively for the tests."""

from typing import Any

from tests.support.legacy.real import COPIED, INPUTS

DEEPEST = 200
KNOWN = {"id", "kind", *COPIED, *INPUTS, *(f"{field}StepId" for field in INPUTS)}


class UnbuildableError(Exception):
    """The steps make no plan."""


def plan_of(steps: Any, root: str | None, record_type: str | None, name: str) -> dict[str, Any]:
    """The plan that flat steps describe."""
    by_id = {_identity(step.get("id")): step for step in steps if isinstance(step, dict)}
    by_id.pop(None, None)
    if root not in by_id:
        raise UnbuildableError
    plan = {"root": _node(by_id, root, ())}
    if record_type is not None:
        plan["recordType"] = record_type
    return {**plan, "metadata": {"name": name}}


def _node(by_id: dict[Any, dict], identity: str, above: tuple[str, ...]) -> dict[str, Any]:
    if identity in above or len(above) == DEEPEST:
        raise UnbuildableError
    step = by_id[identity]
    node = {"id": identity}
    for field in COPIED:
        kind = dict if field in ("parameters", "colocationParams") else str
        if isinstance(step.get(field), kind):
            node[field] = step[field]
    if not node.get("searchName"):
        node["searchName"] = "__combine__" if step.get("kind") == "combine" or node.get("operator") else "__unknown__"
    node |= {name: value for name, value in step.items() if name not in KNOWN and value is not None}
    for field in INPUTS:
        below = _identity(step.get(f"{field}StepId"))
        if below in by_id:
            node[field] = _node(by_id, below, (*above, identity))
    return node


def identity_of(node: Any) -> str | None:
    """A node's id, as it is read from a plan."""
    found = node.get("id") if isinstance(node, dict) else None
    return None if found is None else str(found)


def nodes(node: Any) -> list[Any]:
    """A node and all below it."""
    return [node, *(one for field in INPUTS for one in nodes(node.get(field)))] if isinstance(node, dict) else []


def put_on_nodes(plan: dict[str, Any], steps: list[Any]) -> None:
    """What steps have and their nodes have not, but for what is known of both."""
    for node in nodes(plan.get("root")):
        for step in [step for step in steps if identity_of(step) == identity_of(node)][-1:]:
            more = {name: value for name, value in step.items() if name not in KNOWN and value is not None}
            node.update({name: value for name, value in more.items() if name not in node})


def gives_back(plan: dict[str, Any], step: dict[str, Any]) -> bool:
    """Whether a plan has all that a step has."""
    asked = {name: value for name, value in step.items() if value not in (None, "", {}, []) and name != "kind"}
    ids = ("id", *(f"{field}StepId" for field in INPUTS))
    asked |= {name: str(value) for name, value in asked.items() if name in ids}
    for node in nodes(plan.get("root")):
        there = {
            **node,
            "id": identity_of(node),
            **{f"{field}StepId": identity_of(node.get(field)) for field in INPUTS},
        }
        if there["id"] == identity_of(step) and all(there.get(name) == value for name, value in asked.items()):
            return True
    return False


def _identity(value: Any) -> str | None:
    if isinstance(value, int):
        return str(value)
    return value if isinstance(value, str) and value else None
