"""A plan out of flat steps, written recursively for the tests."""

from typing import Any

from tests.support.legacy.real import COPIED, INPUTS

DEEPEST = 200


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
    for field in INPUTS:
        below = _identity(step.get(f"{field}StepId"))
        if below in by_id:
            node[field] = _node(by_id, below, (*above, identity))
    return node


def _identity(value: Any) -> str | None:
    if isinstance(value, int):
        return str(value)
    return value if isinstance(value, str) and value else None
