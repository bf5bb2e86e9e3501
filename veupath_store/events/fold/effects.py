"""What each type of event does to the projection. Types that are not listed only move its position."""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from veupath_store.documents.plans import count_searches
from veupath_store.errors import InvalidInputError
from veupath_store.events.fold.fields import Changes, Data, Effect, given_plan, given_steps, read, refused
from veupath_store.events.fold.patch import PATCHED, patch_effect
from veupath_store.events.fold.steps import build_plan, has_root
from veupath_store.events.log.entries import Entry
from veupath_store.inputs import limits
from veupath_store.values.streams import DEFAULT_NAME

_META: Final = {"name": "name", "record_type": "recordType"}
_LINK: Final = {"wdk_strategy_id": "wdkStrategyId", "is_saved": "isSaved"}


def _message(_entry: Entry, _data: Data, columns: Mapping[str, Any]) -> Effect:
    return Effect({"message_count": min(columns["message_count"] + 1, limits.INT32_MAX)})


def _strategy_meta(_entry: Entry, data: Data, _columns: Mapping[str, Any]) -> Effect:
    return Effect(read(data, _META))


def _strategy_link(_entry: Entry, data: Data, _columns: Mapping[str, Any]) -> Effect:
    return Effect(read(data, _LINK))


def _graph_snapshot(_entry: Entry, data: Data, _columns: Mapping[str, Any]) -> Effect:
    snapshot = data.get("graphSnapshot")
    if not isinstance(snapshot, dict):
        return Effect({})
    changes = {**read(snapshot, {"name": "graphName"}), **read(snapshot, _META)}
    steps = snapshot.get("steps")
    if not isinstance(steps, list):
        return Effect(changes)
    changes["step_count"] = sum(isinstance(step, dict) for step in steps)
    root_id = snapshot.get("rootStepId")
    try:
        if not has_root(steps, root_id):
            return Effect({**changes, "unrooted_steps": given_steps(steps) or None})
        plan = build_plan(steps, root_id, record_type=changes.get("record_type"), name=changes.get("name"))
    except InvalidInputError as exc:
        return Effect(changes, refused(exc))
    return Effect({**changes, "plan": plan, "unrooted_steps": None})


def _graph_plan(_entry: Entry, data: Data, _columns: Mapping[str, Any]) -> Effect:
    changes: Changes = read(data, _META)
    try:
        plan = given_plan(data.get("plan"))
    except InvalidInputError as exc:
        return Effect(changes, refused(exc))
    if plan is not None:
        changes.update(plan=plan, unrooted_steps=None, step_count=count_searches(plan))
    return Effect(changes)


def _model_selected(_entry: Entry, data: Data, _columns: Mapping[str, Any]) -> Effect:
    return Effect(read(data, {"model_id": "modelId"}))


def _graph_cleared(_entry: Entry, _data: Data, _columns: Mapping[str, Any]) -> Effect:
    return Effect(
        {
            "name": DEFAULT_NAME,
            "plan": {},
            "unrooted_steps": None,
            "step_count": 0,
            "wdk_strategy_id": None,
            "is_saved": False,
        }
    )


def _projection_patched(entry: Entry, data: Data, _columns: Mapping[str, Any]) -> Effect:
    return patch_effect(entry, data)


_Effect: TypeAlias = Callable[[Entry, Data, Mapping[str, Any]], Effect]

EFFECTS: Final[Mapping[str, _Effect]] = {
    "user_message": _message,
    "assistant_message": _message,
    "strategy_meta": _strategy_meta,
    "strategy_link": _strategy_link,
    "graph_snapshot": _graph_snapshot,
    "graph_plan": _graph_plan,
    "model_selected": _model_selected,
    "graph_cleared": _graph_cleared,
    PATCHED: _projection_patched,
}
"""What each projecting type does, from the entry, its data, and the columns as they are so far."""

DATALESS: Final = frozenset({"graph_cleared"})
"""The types that need no data."""
