"""Messages with what was logged of their turn, as slowly as the rule reads: for each event, look for its message."""

import json
from collections.abc import Sequence
from typing import Any

from veupath_store.events.fold.text import decoded
from veupath_store.events.log.entries import Entry
from veupath_store.values import Message

BOUNDS = ("message_start", "message_end")
USAGE = ("token_usage", "token_usage_partial", "message_end")


def shown(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Messages as `naive_messages` has them, which knows no times and no operations."""
    return [message.model_dump(mode="json", exclude={"created_at", "operation_id"}) for message in messages]


def naive_messages(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """The messages, as JSON."""
    return json.loads(json.dumps(_messages(entries)))


def _messages(entries):
    found = []
    for number, entry in enumerate(entries):
        data = decoded(entry.raw)
        if data is None or entry.type not in ("user_message", "assistant_message"):
            continue
        message = {
            "id": str(entry.position),
            "role": entry.type.partition("_")[0],
            "content": _text(data.get("content")),
            "message_id": data["messageId"] if isinstance(data.get("messageId"), str) else None,
            "data": data,
            "tool_calls": [],
            "citations": [],
            "planning_artifacts": [],
            "sub_agents": [],
            "reasoning": None,
            "token_usage": None,
        }
        if entry.type == "assistant_message":
            message.update(_merged(entries, number, data))
        found.append(message)
    return found


def _merged(entries, message, given):
    mine = [number for number in range(len(entries)) if _message_of(entries, number) == message]
    told = [(number, entries[number].type, decoded(entries[number].raw) or {}) for number in mine]
    section = [number for number in range(len(entries)) if _same_section(entries, number, message)]

    calls = [_call(entries, section, number, "", data) for number, kind, data in told if kind == "tool_call_start"]
    citations = [one for _, kind, data in told if kind == "citations" for one in _objects(data.get("citations"))]
    plans = [
        data["planningArtifact"]
        for _, kind, data in told
        if kind == "planning_artifact" and isinstance(data.get("planningArtifact"), dict)
    ]
    usage = {}
    for _, kind, data in told:
        usage |= _counts(data) if kind in USAGE else {}
    given_calls = [
        {**_begun(call), "result": call.get("result"), "is_done": "result" in call}
        for call in _objects(given.get("toolCalls"))
    ]
    return {
        "tool_calls": [call for call in calls if call] or given_calls,
        "citations": citations or _objects(given.get("citations")),
        "planning_artifacts": plans or _objects(given.get("planningArtifacts")),
        "reasoning": _reasoning(told, message) or _text(given.get("reasoning")) or None,
        "sub_agents": _agents(entries, section, mine),
        "token_usage": _usage(usage),
    }


def _reasoning(told, message):
    halves = ["", ""]
    for number, kind, data in told:
        if kind == "reasoning":
            half, whole = number > message, _text(data.get("reasoning"))
            halves[half] += "\n\n" * bool(halves[half] and whole) + whole + _text(data.get("text"))
    return "\n\n".join(half for half in halves if half)


def _agents(entries, section, mine):
    found = []
    for number in section:
        task = _task(entries[number])
        if not task or number not in mine or any(_task(entries[n]) == task for n in section if n < number):
            continue
        its = [n for n in section if _task(entries[n]) == task]
        ends = [decoded(entries[n].raw) for n in its if entries[n].type == "subkani_task_end"]
        usage = {}
        for end in ends:
            usage |= _counts(end)
        starts = [n for n in its if entries[n].type == "subkani_tool_call_start"]
        calls = [_call(entries, section, n, task, decoded(entries[n].raw)) for n in starts]
        found.append(
            {
                "task": task,
                "status": _text(ends[-1].get("status")) or "done" if ends else "running",
                "tool_calls": [call for call in calls if call],
                "token_usage": _usage(usage),
            }
        )
    return found


def _task(entry):
    """The task of which an event makes a sub-agent, if none has been made before."""
    kinds = ("subkani_task_start", "subkani_task_end", "subkani_tool_call_start")
    return _text((decoded(entry.raw) or {}).get("task")) if entry.type in kinds else ""


def _call(entries, section, number, task, data):
    prefix = "subkani_" if task else ""

    def of_it(other, kind):
        found = decoded(entries[other].raw) or {}
        same = _text(found.get("id")) == _text(data.get("id")) and (not task or _text(found.get("task")) == task)
        return entries[other].type == prefix + kind and same

    call = _begun(data)
    if not (call["id"] or call["name"]):
        return None
    if call["id"] and any(of_it(other, "tool_call_start") for other in section if other < number):
        return None
    ends = [other for other in section if other > number and of_it(other, "tool_call_end") and call["id"]]
    result = decoded(entries[ends[-1]].raw).get("result") if ends else None
    return {**call, "result": result, "is_done": bool(ends)}


def _begun(data):
    arguments = data.get("arguments")
    if isinstance(arguments, str):
        arguments = decoded(arguments.encode())
    return {
        "id": _text(data.get("id")),
        "name": _text(data.get("name")),
        "arguments": arguments if isinstance(arguments, dict) else {},
    }


def _turn(entries, number):
    """The number of its user's message."""
    return max((n for n in range(number + 1) if entries[n].type == "user_message"), default=-1)


def _operation(entries, number):
    """Its own, or that of the assistant's message that it goes with."""
    entry, turn = entries[number], _turn(entries, number)
    if entry.operation_id or entry.type == "assistant_message":
        return entry.operation_id
    answers = [n for n, one in enumerate(entries) if one.type == "assistant_message" and _turn(entries, n) == turn]
    before, after = [n for n in answers if n < number], [n for n in answers if n > number]
    choice = before[-1:] if entry.type in BOUNDS else after[:1] or before[-1:]
    return entries[choice[0]].operation_id if choice else ""


def _same_section(entries, one, other):
    """Whether no ``message_start`` and no ``message_end`` of their operation is between them."""
    if (_turn(entries, one), _operation(entries, one)) != (_turn(entries, other), _operation(entries, other)):
        return False
    first, last = min(one, other), max(one, other)
    between = [
        n
        for n in range(first, last)
        if _operation(entries, n) == _operation(entries, one) and _turn(entries, n) == _turn(entries, one)
    ]
    return not any(
        entries[n].type == "message_end" or (entries[n].type == "message_start" and n != first) for n in between
    ) and not (entries[last].type == "message_start" and first != last)


def _message_of(entries, number):
    """Which assistant's message an event belongs to."""
    if entries[number].type in ("user_message", "assistant_message"):
        return None
    answers = [
        n
        for n, one in enumerate(entries)
        if one.type == "assistant_message" and decoded(one.raw) is not None and _same_section(entries, n, number)
    ]
    after = [n for n in answers if n > number]
    return next(iter(after or answers[-1:]), None)


def _counts(data):
    numbers = {key: value for key, value in data.items() if type(value) in (int, float) and key != "modelId"}
    return {**numbers, **({"modelId": data["modelId"]} if _text(data.get("modelId")) else {})}


def _usage(counted):
    if not counted.keys() - {"modelId"}:
        return None

    def tokens(key):
        value = counted.get(key)
        return value if type(value) is int and 0 <= value < 2**63 else None

    return {
        "prompt_tokens": tokens("promptTokens"),
        "completion_tokens": tokens("completionTokens"),
        "total_tokens": tokens("totalTokens"),
        "model_id": counted.get("modelId"),
        "data": counted,
    }


def _objects(value):
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _text(value):
    return value if isinstance(value, str) else ""
