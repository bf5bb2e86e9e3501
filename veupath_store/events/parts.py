"""What is merged into an assistant's message: tool calls, citations, plans, reasoning, sub-agents, token usage."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from veupath_store.events.fold.fields import Data, whole
from veupath_store.events.fold.text import decoded
from veupath_store.inputs import limits
from veupath_store.values import SubAgent, TokenUsage, ToolCall

RUNNING: Final = "running"
DONE: Final = "done"

END: Final = "message_end"
"""The end of an operation's work on a message, and what it has cost."""

_USAGE: Final = frozenset({"token_usage", "token_usage_partial", END})
_CALLS: Final = frozenset({"tool_call_start", "tool_call_end"})
_AGENTS: Final = frozenset({"subkani_task_start", "subkani_task_end", *(f"subkani_{call}" for call in _CALLS)})
TAKEN: Final = frozenset({"citations", "planning_artifact", "reasoning", *_USAGE, *_CALLS, *_AGENTS})
"""The types of events that add to a message."""


@dataclass(slots=True)
class _Agent:
    task: str
    status: str = RUNNING
    calls: list[ToolCall] = field(default_factory=list)
    usage: dict[str, Any] = field(default_factory=dict)

    def value(self) -> SubAgent:
        usage = _usage(self.usage)
        return SubAgent(task=self.task, status=self.status, tool_calls=tuple(self.calls), token_usage=usage)


@dataclass(slots=True)
class Parts:
    """What belongs to one message, while it is gathered."""

    calls: list[ToolCall] = field(default_factory=list)
    citations: list[Mapping[str, Any]] = field(default_factory=list)
    plans: list[Mapping[str, Any]] = field(default_factory=list)
    reasoning: str = ""
    agents: list[_Agent] = field(default_factory=list)
    usage: dict[str, Any] = field(default_factory=dict)

    def add(self, later: "Parts") -> None:
        """Take what was gathered after the message, too."""
        self.calls += later.calls
        self.citations += later.citations
        self.plans += later.plans
        self.agents += later.agents
        self.think(later.reasoning)
        self.usage |= later.usage

    def think(self, more: str) -> None:
        """Take a whole thought, as a new paragraph."""
        self.reasoning = "\n\n".join(thought for thought in (self.reasoning, more) if thought)

    def fields(self, data: Data) -> dict[str, Any]:
        """The fields of the message; what its own event brings along counts where nothing else was logged of it."""
        return {
            "tool_calls": tuple(self.calls or _given_calls(data.get("toolCalls"))),
            "citations": tuple(self.citations or _objects(data.get("citations"))),
            "planning_artifacts": tuple(self.plans or _objects(data.get("planningArtifacts"))),
            "reasoning": self.reasoning or _text(data.get("reasoning")) or None,
            "sub_agents": tuple(agent.value() for agent in self.agents),
            "token_usage": _usage(self.usage),
        }


class Gathering:
    """One operation's events of a turn while they are gathered."""

    def __init__(self) -> None:
        self.parts: Parts = Parts()
        """What belongs to the message that comes next, or if none comes, to the one before."""
        self._calls: dict[tuple[str, str], tuple[list[ToolCall], int]] = {}  # where each is, by its task and id
        self._agents: dict[str, _Agent] = {}

    def take(self, kind: str, data: Data) -> None:
        """Take one event's part; types that are not merged, and data of a wrong type, are left out."""
        if kind == "citations":
            self.parts.citations += _objects(data.get("citations"))
        elif kind == "planning_artifact":
            self.parts.plans += _objects([data.get("planningArtifact")])
        elif kind == "reasoning":
            self.parts.think(_text(data.get("reasoning")))
            self.parts.reasoning += _text(data.get("text"))  # a piece of one
        elif kind in _USAGE:
            self.parts.usage |= _counts(data)
        elif kind in _CALLS:
            self._take_of_call(kind, "", self.parts.calls, data)
        elif kind in _AGENTS and _text(data.get("task")):
            self._take_of_agent(kind, _text(data.get("task")), data)

    def next(self) -> Parts:
        """Give away what was gathered, to begin with the next message. What goes on until then can still end."""
        parts, self.parts = self.parts, Parts()
        return parts

    def _take_of_agent(self, kind: str, task: str, data: Data) -> None:
        agent = self._agents.get(task) or _Agent(task)
        if task not in self._agents and kind != "subkani_tool_call_end":
            self._agents[task] = agent
            self.parts.agents.append(agent)
        if kind == "subkani_task_end":
            agent.status = _text(data.get("status")) or DONE
            agent.usage |= _counts(data)
        elif kind != "subkani_task_start":
            self._take_of_call(kind.removeprefix("subkani_"), task, agent.calls, data)

    def _take_of_call(self, kind: str, task: str, calls: list[ToolCall], data: Data) -> None:
        """A call begins, or one that has begun ends; one that begins once more is ignored."""
        call = _call(data)
        found = self._calls.get((task, call.id))
        if kind == "tool_call_end":
            if found is not None:
                begun, number = found
                begun[number] = begun[number].model_copy(update={"result": data.get("result"), "is_done": True})
        elif (call.id or call.name) and found is None:
            if call.id:
                self._calls[task, call.id] = calls, len(calls)
            calls.append(call)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _objects(value: object) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _arguments(value: object) -> Mapping[str, Any]:
    """An object, or the text of one, as models write it."""
    given = decoded(value.encode()) if isinstance(value, str) else value
    return given if isinstance(given, dict) else {}


def _call(data: Data, result: Any = None, *, is_done: bool = False) -> ToolCall:  # noqa: ANN401 - any JSON value
    return ToolCall(
        id=_text(data.get("id")),
        name=_text(data.get("name")),
        arguments=_arguments(data.get("arguments")),
        result=result,
        is_done=is_done,
    )


def _given_calls(value: object) -> list[ToolCall]:
    """Calls that a message's own event brings along."""
    return [_call(call, call.get("result"), is_done="result" in call) for call in _objects(value)]


def _counts(data: Data) -> dict[str, Any]:
    """The numbers of an event, and the model."""
    numbers = {key: value for key, value in data.items() if type(value) in (int, float) and key != "modelId"}
    model = _text(data.get("modelId"))
    return {**numbers, "modelId": model} if model else numbers


def _usage(data: Data) -> TokenUsage | None:
    """What some events count together; ``None`` where they count nothing."""
    if not data.keys() - {"modelId"}:
        return None
    prompt, completion, total = (
        whole(data.get(key), limits.INT64_MAX) for key in ("promptTokens", "completionTokens", "totalTokens")
    )
    return TokenUsage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=total,
        model_id=data.get("modelId"),
        data=data,
    )
