"""The plan tree out of the flat list of steps that a snapshot holds: `plans.flatten_plan` the other way round.

Node by node it is the inverse, but for two things that a flat step does not carry: a combination without a
``searchName`` comes back with ``__combine__``, and a node without an id cannot be found again. Ids come back as text,
fields that are ``None`` or of a wrong type are left out, and keys that we do not know stay on its node.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from veupath_store.documents.json import decode, encode_decoded
from veupath_store.documents.plans import COPIED, INPUTS
from veupath_store.errors import InvalidInputError
from veupath_store.inputs import limits

Node: TypeAlias = dict[str, Any]
_Trail: TypeAlias = "tuple[str, _Trail] | None"

COMBINE: Final = "__combine__"
UNKNOWN: Final = "__unknown__"
_OBJECTS: Final = frozenset({"parameters", "colocationParams"})
_DERIVED: Final = frozenset({"id", "kind", *INPUTS, *(f"{name}StepId" for name in INPUTS)})
"""What a flat step has for its place in the tree, which a node has by its place."""


def has_root(steps: Sequence[Any], root_id: object) -> bool:
    """Whether the root of a snapshot is among its steps. A graph under construction has several outputs and no root."""
    identity = _identity(root_id)
    return identity is not None and any(
        isinstance(step, Mapping) and _identity(step.get("id")) == identity for step in steps
    )


def build_plan(steps: Sequence[Any], root_id: object, *, record_type: str | None, name: str | None) -> Node:
    """The plan of a snapshot that has a root.

    Args:
        steps: The flat steps. What is no object, or has no id, is ignored; of two with one id the last counts.
        root_id: The id of the root step.
        record_type: Left out where it is ``None``.
        name: Left out where it is ``None``.

    Returns:
        A plan that `json.encode` takes. A step that is used twice is there twice.

    Raises:
        InvalidInputError: The steps form a cycle, are nested more than `limits.PLAN_DEPTH` levels deep, or make more
            than `limits.PLAN_STEPS` nodes or `limits.DOCUMENT_BYTES` bytes; or a parameter is nested too deep.
    """
    by_id = {identity: step for step in steps if isinstance(step, Mapping) and (identity := _identity(step.get("id")))}
    root, uses = _tree(by_id, str(root_id))
    plan: Node = {"root": root}
    if record_type is not None:
        plan["recordType"] = record_type
    if name is not None:
        plan["metadata"] = {"name": name}
    if max(uses.values()) == 1:
        encode_decoded(plan, "plan")
        return plan
    _refuse_growth(by_id, uses)
    return Node(decode(encode_decoded(plan, "plan")))  # so that no two nodes share their parameters


def given_steps(steps: Sequence[Any]) -> list[Any]:
    """The steps of a graph that has no root: those that are objects, and make a document that the table takes."""
    objects = [step for step in steps if isinstance(step, dict)]
    if len(objects) > limits.PLAN_STEPS:
        raise InvalidInputError("steps", f"there are more than {limits.PLAN_STEPS} of them")
    encode_decoded(objects, "steps")
    return objects


def _tree(by_id: Mapping[str, Mapping[str, Any]], root_id: str) -> tuple[Node, Counter[str]]:
    """The root node, and how often each step is used.

    Without recursion, and depth first: a cycle ends after `limits.PLAN_DEPTH` nodes, and steps that share their inputs
    (2**n nodes from n steps) after `limits.PLAN_STEPS`.
    """
    root = _node(root_id, by_id[root_id])
    uses = Counter({root_id: 1})
    nodes = 1
    pending: list[tuple[Node, int, tuple[str, _Trail]]] = [(root, 1, (root_id, None))]
    while pending:
        node, depth, trail = pending.pop()
        for field in INPUTS:
            identity = _identity(by_id[trail[0]].get(f"{field}StepId"))
            if identity is None or identity not in by_id:
                continue
            if depth == limits.PLAN_DEPTH:
                raise _too_deep((identity, trail))
            uses[identity] += 1
            nodes += 1
            node[field] = _node(identity, by_id[identity])
            pending.append((node[field], depth + 1, (identity, trail)))
        if nodes > limits.PLAN_STEPS:
            raise InvalidInputError("plan", f"it has more than {limits.PLAN_STEPS} steps")
    return root, uses


def _too_deep(trail: _Trail) -> InvalidInputError:
    seen: set[str] = set()
    while trail is not None:
        if trail[0] in seen:
            return InvalidInputError("plan", "its steps form a cycle")
        seen.add(trail[0])
        trail = trail[1]
    return InvalidInputError("plan", f"its steps are nested more than {limits.PLAN_DEPTH} levels deep")


def _refuse_growth(by_id: Mapping[str, Mapping[str, Any]], uses: Counter[str]) -> None:
    """Steps of 16 MB, used 10,000 times, are not written out to find that they are too large."""
    size = sum(
        times * len(encode_decoded(_node(identity, by_id[identity]), "plan")) for identity, times in uses.items()
    )
    if size > limits.DOCUMENT_BYTES:
        raise InvalidInputError("plan", f"it is larger than {limits.DOCUMENT_BYTES} bytes as JSON")


def _node(identity: str, step: Mapping[str, Any]) -> Node:
    """A step's own fields, without its inputs; those of a wrong type, or that are ``None``, are left out."""
    node: Node = {"id": identity}
    for field, value in step.items():
        if field in COPIED:
            if isinstance(value, dict if field in _OBJECTS else str):
                node[field] = value
        elif field not in _DERIVED and value is not None:
            node[field] = value
    if not node.get("searchName"):
        node["searchName"] = COMBINE if step.get("kind") == "combine" or node.get("operator") else UNKNOWN
    return node


def _identity(value: object) -> str | None:
    """An id as text; a number is one too, as `plans.flatten_plan` has it."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) and value else None
