"""What each type of an application's events does to the projection. Other types only move its position."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from veupath_store.documents.json import encode_decoded
from veupath_store.documents.plans import check_plan
from veupath_store.events.fold.fields import Changes, Data, read
from veupath_store.events.fold.steps import build_plan, given_steps, has_root
from veupath_store.values.streams import DEFAULT_NAME

_META: Final = {"name": "name", "record_type": "recordType"}


def _graph_snapshot(data: Data, changes: Changes) -> None:
    snapshot = data.get("graphSnapshot")
    if not isinstance(snapshot, dict):
        return
    read(snapshot, changes, {"name": "graphName"})
    read(snapshot, changes, _META)
    steps = snapshot.get("steps")
    if not isinstance(steps, list):
        return
    changes["step_count"] = sum(isinstance(step, dict) for step in steps)
    root_id = snapshot.get("rootStepId")
    if has_root(steps, root_id):
        plan = build_plan(steps, root_id, record_type=changes.get("record_type"), name=changes.get("name"))
        changes.update(plan=plan, unrooted_steps=None)
    else:
        changes["unrooted_steps"] = given_steps(steps) or None


def _graph_plan(data: Data, changes: Changes) -> None:
    read(data, changes, _META)
    plan = data.get("plan")
    if isinstance(plan, dict):
        searches = check_plan(plan, "plan")
        encode_decoded(plan, "plan")
        changes.update(plan=plan, unrooted_steps=None, step_count=searches)


def _graph_cleared(_data: Data, changes: Changes) -> None:
    changes.update(name=DEFAULT_NAME, plan={}, unrooted_steps=None, step_count=0, wdk_strategy_id=None, is_saved=False)


CLEARED: Final = "graph_cleared"
"""The one type that needs no data."""

MESSAGES: Final = frozenset({"user_message", "assistant_message"})
"""The types that are counted, and change nothing else."""

EFFECTS: Final[Mapping[str, Callable[[Data, Changes], None]]] = {
    "strategy_meta": partial(read, keys=_META),
    "strategy_link": partial(read, keys={"wdk_strategy_id": "wdkStrategyId", "is_saved": "isSaved"}),
    "graph_snapshot": _graph_snapshot,
    "graph_plan": _graph_plan,
    "model_selected": partial(read, keys={"model_id": "modelId"}),
    CLEARED: _graph_cleared,
}
"""What each other type changes: adds the new values to the changes, by column. A plan that the table does not take is
an `InvalidInputError`; what was added before it holds."""
