"""The old column ``steps``, which the store derives from the plan: put on the plan's nodes, or kept beside the plan.

Of a conversation without a plan the steps make one. What a step has and its node has not, as ``filters`` or
``resultCount``, is put on the node. Steps that the plan still does not give back, as those of a graph without a root,
become ``unrooted_steps``.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from veupath_store.adoption.documents import FEW, PLAN, Document, put_documents
from veupath_store.adoption.text import storable
from veupath_store.adoption.values import ProblemKind
from veupath_store.adoption.work import Work
from veupath_store.documents.json import decode, encode
from veupath_store.documents.plans import COPIED, INPUTS
from veupath_store.errors import InvalidInputError
from veupath_store.events.fold.steps import build_plan, given_steps, has_root
from veupath_store.values.streams import DEFAULT_NAME

STEPS: Final = Document(table=PLAN.table, field="steps", type="array", empty="NULL::jsonb")

_ROWS: Final = f"""
SELECT o.id, o.steps::text AS steps, {PLAN.text()} AS plan, o.root_step_id, o.record_type, o.name
FROM old_{PLAN.table} o {PLAN.join()}
WHERE CASE WHEN json_typeof(o.steps) = 'array' THEN json_array_length(o.steps) > 0 ELSE false END"""

_NO_LIST: Final = f"SELECT id FROM old_{PLAN.table} WHERE json_typeof(steps) NOT IN ('array', 'null')"

_UNBUILDABLE: Final = ProblemKind.PLAN_UNBUILDABLE
_BY_PLACE: Final = {f"{name}StepId": name for name in INPUTS}
_KNOWN: Final = frozenset({"id", "kind", *COPIED, *INPUTS, *_BY_PLACE})
_NOTHING: Final[tuple[Any, ...]] = (None, "", {}, [])
# An integer beyond 64 bits would not be written as it was read. Ten times as fast as a pattern.
_DIGITS: Final = bytes(ord("0") if chr(byte).isdecimal() else ord(" ") for byte in range(256))
_LONG_NUMBER: Final = b"0" * 20


@dataclass
class _Placed:
    """What becomes of one conversation's steps: a new plan and steps beside it, as JSON texts, and what is listed."""

    documents: dict[str, str] = field(default_factory=dict)
    problems: list[tuple[ProblemKind, str, str]] = field(default_factory=list)

    def tell(self, kind: ProblemKind, column: str, fixed: str) -> None:
        self.problems.append((kind, column, fixed))


async def place_steps(work: Work) -> None:
    """Place all; ``adopting_documents`` has the new plans then, and the steps that are kept beside a plan."""
    await work.note(ProblemKind.MALFORMED_DOCUMENT, PLAN.table, "steps", "no list: left out", _NO_LIST)
    async for rows in work.batches(_ROWS, FEW * FEW):
        placed = {row["id"]: _placed(row) for row in rows}
        texts = [(name, key, text) for key, one in placed.items() for name, text in one.documents.items()]
        await put_documents(work, PLAN.table, texts)
        await work.note_each(PLAN.table, [(key, *problem) for key, one in placed.items() for problem in one.problems])


def _placed(row: Any) -> _Placed:  # noqa: ANN401 - a record
    placed, text = _Placed(), storable(row["steps"])
    try:
        # A text that the decoder refuses, as for its depth, is a ValueError.
        given = decode(text)
    except ValueError:
        placed.tell(_UNBUILDABLE, "steps", "they cannot be stored, and were left out")
        return placed
    if text != row["steps"]:
        placed.tell(ProblemKind.UNSTORABLE_TEXT, "steps", "characters that cannot be stored became U+FFFD")
    steps = [step for step in given if isinstance(step, dict)]
    if len(steps) < len(given):
        placed.tell(ProblemKind.MALFORMED_DOCUMENT, "steps", f"{len(given) - len(steps)} are no objects: left out")
    old = readable(row["plan"])
    plan = _rooted(row, old, steps, placed) if old is not None else {}
    is_exact = _LONG_NUMBER not in (row["plan"] + text).encode().translate(_DIGITS)
    if steps and not (is_exact and _fit(plan, steps, placed)):
        _keep_beside(text if len(steps) == len(given) else "", steps, placed)
        if plan.get("root") is not None:
            placed.tell(ProblemKind.STEPS_DIFFER, "steps", "they are not those of the plan: kept beside it")
    return placed


def _keep_beside(text: str, steps: list[Any], placed: _Placed) -> None:
    """Keep steps beside the plan, as their text has them where that has nothing else."""
    try:
        encoded = encode(given_steps(steps), "steps")
    except InvalidInputError:
        placed.tell(_UNBUILDABLE, "steps", "they cannot be stored, and were left out")
        return
    placed.documents["steps"] = text or encoded


def readable(text: str) -> dict[str, Any] | None:
    """A plan; ``None`` where the store cannot read it, which is listed as a document."""
    try:
        plan: dict[str, Any] = decode(text)
    except ValueError:
        return None
    return plan


def _rooted(row: Any, plan: dict[str, Any], steps: list[Any], placed: _Placed) -> dict[str, Any]:  # noqa: ANN401
    """The plan, or if it has no root the one that the steps make, with what else the old one had."""
    root_id = row["root_step_id"]
    if plan.get("root") is not None:
        if root_id not in (None, _id(plan["root"])):
            placed.tell(ProblemKind.STEPS_DIFFER, "root_step_id", "that of the plan was taken")
        return plan
    if not has_root(steps, root_id):
        if root_id is not None:
            placed.tell(_UNBUILDABLE, "root_step_id", "no step has it: the steps are kept without a root")
        return plan
    try:
        built = build_plan(steps, root_id, record_type=row["record_type"], name=row["name"] or DEFAULT_NAME)
        if isinstance(plan.get("metadata"), dict):
            built["metadata"] = {**plan["metadata"], **built["metadata"]}
        built = {**plan, **built}
        placed.documents["plan"] = encode(built, "plan")
    except InvalidInputError:
        placed.tell(_UNBUILDABLE, "plan", "the steps make none: they are kept without a root")
        return plan
    replaced = [name for name in ("recordType", "metadata") if name in plan and plan[name] != built[name]]
    fixed = " and ".join(replaced)
    placed.tell(ProblemKind.PLAN_BUILT, "plan", f"built from the steps{', in place of its ' if fixed else ''}{fixed}")
    return built


def _fit(plan: dict[str, Any], steps: Sequence[Any], placed: _Placed) -> bool:
    """Put on each node of a plan what its step has and it has not; whether all steps can be read from the plan then."""
    by_id = {_id(step): step for step in steps}
    unseen, more, is_all = set(by_id), False, len(by_id) == len(steps)
    for node in _nodes(plan.get("root")):
        step = by_id.get(_id(node))
        if step is not None:
            unseen.discard(_id(node))
            new = {name: step[name] for name in step.keys() - node.keys() - _KNOWN if step[name] is not None}
            node.update(new)
            more = more or bool(new)
            is_all = is_all and all(_is_there(node, name, value) for name, value in step.items())
    try:
        if more:
            placed.documents["plan"] = encode(plan, "plan")
    except InvalidInputError:  # too large with that
        return False
    return is_all and not unseen


def _is_there(node: Mapping[str, Any], name: str, value: Any) -> bool:  # noqa: ANN401 - stored JSON
    if value in _NOTHING or name in ("id", "kind"):
        return True
    if name in _BY_PLACE:
        return _id(node.get(_BY_PLACE[name])) == str(value)
    return name not in INPUTS and node.get(name) == value


def _nodes(root: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - stored JSON
    pending = [root]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            yield node
            pending += [node.get(name) for name in INPUTS]


def _id(step: Any) -> str | None:  # noqa: ANN401 - stored JSON
    identity = step.get("id") if isinstance(step, dict) else None
    return None if identity is None else str(identity)
