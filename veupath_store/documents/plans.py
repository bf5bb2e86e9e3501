"""Strategy plans: trees of search steps, and the flat list of steps that is read from them.

A plan is ``{"recordType": …, "root": node, "metadata": {"name": …}}``; a node has ``id``, ``searchName``,
``parameters``, ``displayName``, ``operator`` and the inputs ``primaryInput`` and ``secondaryInput``, nodes themselves.
Only the plan is stored; steps are derived whenever they are read, so that they can never be stale.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias

from veupath_store.documents.json import JsonObject
from veupath_store.errors import InvalidInputError
from veupath_store.inputs import limits

Step: TypeAlias = JsonObject
"""A step of a plan, as it is read."""

INPUTS: Final = ("primaryInput", "secondaryInput")
"""The fields of a node that hold nodes; a flat step has ``primaryInputStepId`` and ``secondaryInputStepId``."""

COPIED: Final = ("searchName", "operator", "parameters", "displayName", "colocationParams")
"""The fields of a node whose types are known. A node and its flat step have these, ``id``, and all others in common."""


def root_step_id(plan: Mapping[str, object]) -> str | None:
    """The id of the root step as text, or ``None`` where the plan has no root or its root has no id."""
    return _identity(plan.get("root"))


def flatten_plan(plan: Mapping[str, object]) -> list[Step]:
    """The plan's steps as a flat list.

    Args:
        plan: A plan tree; ``{}`` for none.

    Returns:
        One dictionary for each node, inputs before the step that uses them (the root comes last), with ``id``,
        ``kind`` (``search``, ``transform`` or ``combine``), the node's own fields, and ``primaryInputStepId`` and
        ``secondaryInputStepId`` (``None`` without that input).
    """
    return [_step(node) for node in _nodes(plan.get("root"))]


def count_searches(plan: Mapping[str, object]) -> int:
    """How many nodes have a ``searchName``: what `StreamProjection.step_count` holds for a stored plan."""
    return sum(1 for node in _nodes(plan.get("root")) if node.get("searchName"))


def check_plan(plan: Mapping[str, object], path: str) -> int:
    """Refuse a plan whose steps are nested too deep, too many, or no objects.

    Returns:
        As `count_searches`.

    Raises:
        InvalidInputError: An input is no object, there are more than `limits.PLAN_DEPTH` levels of steps, or more
            than `limits.PLAN_STEPS` steps. A node that is used twice counts twice, as it does in JSON.
    """
    steps = searches = 0
    root = plan.get("root")
    pending: list[tuple[Any, str, int]] = [] if root is None else [(root, f"{path}.root", 1)]
    while pending:
        node, where, depth = pending.pop()
        steps += 1
        if steps > limits.PLAN_STEPS:
            raise InvalidInputError(path, f"it has more than {limits.PLAN_STEPS} steps")
        if not isinstance(node, dict):
            raise InvalidInputError(where, "a step must be an object")
        if depth > limits.PLAN_DEPTH:
            raise InvalidInputError(where, f"steps are nested more than {limits.PLAN_DEPTH} levels deep")
        searches += bool(node.get("searchName"))
        for name in INPUTS:
            below = node.get(name)
            if below is not None:
                pending.append((below, f"{where}.{name}", depth + 1))
    return searches


def _nodes(root: Any) -> Iterator[Mapping[str, object]]:  # noqa: ANN401 - stored JSON
    """The nodes in post-order, without recursion."""
    pending: list[tuple[Any, bool]] = [(root, False)]
    while pending:
        node, seen = pending.pop()
        if not isinstance(node, Mapping):
            continue
        if seen:
            yield node
            continue
        pending.append((node, True))
        pending.extend((node.get(name), False) for name in reversed(INPUTS))


def _step(node: Mapping[str, object]) -> Step:
    inputs = {name: node.get(name) for name in INPUTS}
    step: dict[str, Any] = {
        "id": _identity(node),
        **{name: value for name, value in node.items() if name not in INPUTS and name != "id"},
        "kind": _kind(node, inputs),
        **{f"{name}StepId": _identity(value) for name, value in inputs.items()},
    }
    return step


def _kind(node: Mapping[str, object], inputs: Mapping[str, object]) -> str:
    if node.get("operator"):
        return "combine"
    return "transform" if isinstance(inputs["primaryInput"], Mapping) else "search"


def _identity(node: Any) -> str | None:  # noqa: ANN401 - stored JSON
    identity = node.get("id") if isinstance(node, Mapping) else None
    return None if identity is None else str(identity)
