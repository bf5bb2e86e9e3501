"""The fold once more, as plainly as it can be written: what the real one is compared with.

It shares nothing with `veupath_store.events` but the entries; it is slow, and recursive where plans are.
"""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from veupath_store.documents.json import encode
from veupath_store.errors import InvalidInputError
from veupath_store.inputs import limits

NEW: dict[str, Any] = {
    "name": "New Conversation",
    "record_type": None,
    "wdk_strategy_id": None,
    "is_saved": False,
    "model_id": None,
    "message_count": 0,
    "step_count": 0,
    "plan": {},
    "result_count": None,
    "last_event_id": None,
    "updated_at": None,
    "dismissed_at": None,
    "dismissed_reason": None,
    "gene_set_id": None,
    "gene_set_auto_imported": False,
    "unrooted_steps": None,
    "messages_after": None,
    "lost": None,
    "begun": False,
}


def naive_fold(entries: Any, start: Any = None, problems: list[Any] | None = None) -> dict[str, Any]:
    """The columns that the entries add up to; the positions of bad ones are added to `problems`."""
    row = dict(NEW if start is None else start)
    for entry in entries:
        if is_seen(row["last_event_id"], entry.position):
            continue
        row["last_event_id"] = f"{entry.position.ms}-{entry.position.seq}"
        try:
            touched = EFFECTS[entry.type](row, data_of(entry), entry) if entry.type in EFFECTS else False
        except ProblemError as exc:
            touched = exc.touched
            if problems is not None:
                problems.append(entry.position)
        updated_at = row.pop("given_updated_at", None) or time_of(entry)
        if row.pop("is_whole", False):
            row["updated_at"] = updated_at
        elif touched:
            row["updated_at"] = max(row["updated_at"] or updated_at, updated_at)
    return row


class ProblemError(Exception):
    """The event, or its plan, is left out; whether other fields were set all the same."""

    touched = False


def is_seen(last: str | None, position: Any) -> bool:
    if last is None:
        return False
    ms, seq = last.split("-")
    return (position.ms, position.seq) <= (int(ms), int(seq))


def time_of(entry: Any) -> datetime:
    last = datetime(9999, 12, 31, 23, 59, 59, 999000, tzinfo=UTC)
    try:
        return min(last, datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=entry.position.ms))
    except OverflowError:
        return last


def data_of(entry: Any) -> dict[str, Any]:
    if entry.type == "graph_cleared" and entry.raw == b"":
        return {}
    try:
        data = cleaned(json.loads(entry.raw.decode("utf-8"), parse_constant=lambda _: None))
    except (ValueError, RecursionError):
        raise ProblemError from None
    if not isinstance(data, dict):
        raise ProblemError
    return data


def cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return "".join("\ufffd" if c == "\0" or "\ud800" <= c <= "\udfff" else c for c in value)
    if isinstance(value, list):
        return [cleaned(item) for item in value]
    if isinstance(value, dict):
        return {cleaned(key): cleaned(item) for key, item in value.items()}
    return value


def message(row: dict[str, Any], data: dict[str, Any], entry: Any) -> bool:
    row["message_count"] = min(row["message_count"] + 1, 2**31 - 1)
    return True


def model_selected(row: dict[str, Any], data: dict[str, Any], entry: Any) -> bool:
    return put_text(row, "model_id", data.get("modelId"), 100)


def graph_cleared(row: dict[str, Any], data: dict[str, Any], entry: Any) -> bool:
    row.update(name="New Conversation", plan={}, unrooted_steps=None, step_count=0)
    row.update(wdk_strategy_id=None, is_saved=False)
    return True


def is_whole(value: Any, highest: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= highest


def put_text(row: dict[str, Any], column: str, value: Any, width: int) -> bool:
    if not isinstance(value, str) or value == "":
        return False
    row[column] = value[:width]
    return True


def meta(row: dict[str, Any], data: dict[str, Any], entry: Any = None) -> bool:
    named = put_text(row, "name", data.get("name"), 255)
    return put_text(row, "record_type", data.get("recordType"), 100) or named


def link(row: dict[str, Any], data: dict[str, Any], entry: Any = None) -> bool:
    touched = False
    if is_whole(data.get("wdkStrategyId"), 2**63 - 1):
        row["wdk_strategy_id"] = data["wdkStrategyId"]
        touched = True
    if isinstance(data.get("isSaved"), bool):
        row["is_saved"] = data["isSaved"]
        touched = True
    return touched


def graph_plan(row: dict[str, Any], data: dict[str, Any], entry: Any) -> bool:
    touched = meta(row, data)
    if not isinstance(data.get("plan"), dict):
        return touched
    put_plan(row, data["plan"], touched=touched)
    row["step_count"] = sum(1 for node in nodes(data["plan"].get("root"), 1) if node.get("searchName"))
    return True


def put_plan(row: dict[str, Any], plan: dict[str, Any], *, touched: bool) -> None:
    try:
        if sum(1 for _ in nodes(plan.get("root"), 1)) > limits.PLAN_STEPS:
            raise ProblemError
        encode(plan, "plan")
    except (ProblemError, InvalidInputError):
        bad = ProblemError()
        bad.touched = touched
        raise bad from None
    row.update(plan=plan, unrooted_steps=None)


def put_steps(row: dict[str, Any], steps: Any) -> bool:
    if not isinstance(steps, list):
        return False
    kept = [step for step in steps if isinstance(step, dict)]
    try:
        if len(kept) > limits.PLAN_STEPS:
            raise ProblemError
        encode(kept, "steps")
    except (ProblemError, InvalidInputError):
        bad = ProblemError()
        bad.touched = True
        raise bad from None
    row["unrooted_steps"] = kept or None
    return True


def nodes(node: Any, depth: int) -> Any:
    if node is None:
        return
    if not isinstance(node, dict) or depth > limits.PLAN_DEPTH:
        raise ProblemError
    yield node
    yield from nodes(node.get("primaryInput"), depth + 1)
    yield from nodes(node.get("secondaryInput"), depth + 1)


def graph_snapshot(row: dict[str, Any], data: dict[str, Any], entry: Any) -> bool:
    snapshot = data.get("graphSnapshot")
    if not isinstance(snapshot, dict):
        return False
    name = next((v for k in ("name", "graphName") if isinstance(v := snapshot.get(k), str) and v), None)
    touched = meta(row, {"name": name, "recordType": snapshot.get("recordType")})
    if not isinstance(snapshot.get("steps"), list):
        return touched
    steps = [step for step in snapshot["steps"] if isinstance(step, dict)]
    row["step_count"] = len(steps)
    root = as_id(snapshot.get("rootStepId"))
    plan: dict[str, Any] = {}
    put_text(plan, "recordType", snapshot.get("recordType"), 100)
    if name:
        plan["metadata"] = {"name": name[:255]}
    try:
        plan["root"] = tree(steps, root, 1, [limits.PLAN_STEPS])
    except ProblemError as exc:
        exc.touched = True
        raise
    if plan["root"] is None:
        return put_steps(row, steps)
    put_plan(row, plan, touched=True)
    return True


def as_id(value: Any) -> str | None:
    if isinstance(value, str) and value:
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def tree(steps: list[Any], identity: str | None, depth: int, room: list[int]) -> Any:
    found = [step for step in steps if identity is not None and as_id(step.get("id")) == identity]
    if not found:
        return None
    room[0] -= 1
    if depth > limits.PLAN_DEPTH or room[0] < 0:
        raise ProblemError
    node = {"id": identity, **own_fields(found[-1])}
    for field in ("primaryInput", "secondaryInput"):
        below = tree(steps, as_id(found[-1].get(field + "StepId")), depth + 1, room)
        if below is not None:
            node[field] = below
    return node


def own_fields(step: dict[str, Any]) -> dict[str, Any]:
    texts = {k: step[k] for k in ("searchName", "operator", "displayName") if isinstance(step.get(k), str)}
    objects = {k: step[k] for k in ("parameters", "colocationParams") if isinstance(step.get(k), dict)}
    if not texts.get("searchName"):
        combines = step.get("kind") == "combine" or texts.get("operator")
        texts["searchName"] = "__combine__" if combines else "__unknown__"
    known = {"id", "kind", "searchName", "operator", "displayName", "parameters", "colocationParams"}
    known |= {"primaryInput", "secondaryInput", "primaryInputStepId", "secondaryInputStepId"}
    return {**texts, **objects, **{k: v for k, v in step.items() if k not in known and v is not None}}


def patched(row: dict[str, Any], data: dict[str, Any], entry: Any) -> bool:
    touched = data.get("created") is True or isinstance(data.get("whole"), str)
    if touched:
        row["is_whole"] = True
        kept = {name: row[name] for name in ("last_event_id", "updated_at", "lost")}
        row.update({**NEW, "plan": {}, "begun": True, **kept})
    touched |= patched_texts(row, data) | patched_counts(row, data) | patched_link(row, data)
    touched |= patched_marks(row, data)
    touched |= patched_dismissal(row, data, entry) | patched_gene_set(row, data)
    stamp = as_time(data.get("updatedAt"))
    moment = stamp or time_of(entry)
    if is_whole(data.get("order"), 10**6):
        moment -= timedelta(microseconds=data["order"])
    row["given_updated_at"] = moment
    touched |= stamp is not None
    if "unrootedSteps" in data and data["unrootedSteps"] is None:
        row["unrooted_steps"] = None
        touched = True
    if isinstance(data.get("plan"), dict):
        if isinstance(data.get("whole"), str) or data.get("created") is True:
            row["plan"] = None  # as it was, unless it is taken
        put_document(row, "plan", data["plan"], touched=touched)
        row["unrooted_steps"] = None
        touched = True
    if isinstance(data.get("unrootedSteps"), list):
        put_document(row, "unrooted_steps", data["unrootedSteps"], touched=True)
        touched = True
    return touched


def put_document(row: dict[str, Any], name: str, value: Any, *, touched: bool) -> None:
    try:
        encode(value, name)
    except InvalidInputError:
        bad = ProblemError()
        bad.touched = touched
        raise bad from None
    row[name] = value or (None if name == "unrooted_steps" else value)


def patched_marks(row: dict[str, Any], data: dict[str, Any]) -> bool:
    touched = False
    if "messagesAfter" in data and data["messagesAfter"] is None:
        row["messages_after"] = None
        touched = True
    elif (after := as_position(data.get("messagesAfter"))) is not None:
        row["messages_after"] = after
        touched = True
    if isinstance(data.get("lost"), dict):
        row["lost"] = data["lost"]
        touched = True
    return touched


def as_position(value: Any) -> str | None:
    if not isinstance(value, str) or not re.fullmatch("[0-9]{1,20}-[0-9]{1,20}", value, re.ASCII):
        return None
    ms, seq = map(int, value.split("-"))
    return f"{ms}-{seq}" if max(ms, seq) < 2**64 else None


def patched_texts(row: dict[str, Any], data: dict[str, Any]) -> bool:
    touched = put_text(row, "name", data.get("name"), 255)
    for column, key in (("record_type", "recordType"), ("model_id", "modelId")):
        if key in data and (data[key] is None or isinstance(data[key], str)):
            row[column] = None if data[key] is None else data[key][:100]
            touched = True
    return touched


def patched_counts(row: dict[str, Any], data: dict[str, Any]) -> bool:
    touched = False
    for column, key in (
        ("message_count", "messageCount"),
        ("step_count", "stepCount"),
        ("result_count", "resultCount"),
    ):
        if is_whole(data.get(key), 2**31 - 1) or (key == "resultCount" and data.get(key, 0) is None):
            row[column] = data[key]
            touched = True
    return touched


def patched_link(row: dict[str, Any], data: dict[str, Any]) -> bool:
    touched = False
    if "wdkStrategyId" in data and data["wdkStrategyId"] is None:
        row.update(wdk_strategy_id=None)
        touched = True
    return link(row, data) or touched


def patched_dismissal(row: dict[str, Any], data: dict[str, Any], entry: Any) -> bool:
    reason = data.get("dismissedReason", "absent")
    if reason is None:
        row.update(dismissed_reason=None, dismissed_at=None)
    elif reason in ("user", "wdk_orphan", "purge"):
        row.update(dismissed_reason=reason, dismissed_at=as_time(data.get("dismissedAt")) or time_of(entry))
    else:
        return False
    return True


def patched_gene_set(row: dict[str, Any], data: dict[str, Any]) -> bool:
    touched = False
    if "geneSetId" in data:
        try:
            row["gene_set_id"] = None if data["geneSetId"] is None else UUID(data["geneSetId"])
            touched = True
        except (ValueError, AttributeError, TypeError):
            pass
    if data.get("geneSetAutoImported") is True:
        row["gene_set_auto_imported"] = touched = True
    return touched


def as_time(value: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value)
        moment = moment.astimezone(UTC) if moment.tzinfo else None
        return moment if moment and 1970 <= moment.year <= 9998 else None
    except (TypeError, ValueError, OverflowError):
        return None


EFFECTS = {
    "user_message": message,
    "assistant_message": message,
    "strategy_meta": meta,
    "strategy_link": link,
    "graph_snapshot": graph_snapshot,
    "graph_plan": graph_plan,
    "model_selected": model_selected,
    "graph_cleared": graph_cleared,
    "projection_patched": patched,
}
