"""What is merged into an assistant's message: tool calls, citations, plans, reasoning, sub-agents, token usage."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from veupath_store.events.fold.fields import Data, whole
from veupath_store.events.fold.text import decoded
from veupath_store.inputs import limits
from veupath_store.values import SubAgent, TokenUsage, ToolCall

RUNNING: Final = "running"
DONE: Final = "done"


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
    """One operation's events of a turn while they are gathered.

    Attributes:
        parts: What belongs to the message that comes next, or if none comes, to the one before.
    """

    def __init__(self) -> None:
        self.parts = Parts()
        self._calls: dict[tuple[str, str], tuple[list[ToolCall], int]] = {}  # where each is, by its task and id
        self._agents: dict[str, _Agent] = {}

    def take(self, kind: str, data: Data) -> None:
        """Take one event's part; types that are not merged, and data of a wrong type, are left out."""
        if kind in TAKEN:
            TAKEN[kind](self, data)

    def next(self) -> Parts:
        """Give away what was gathered, to begin with the next message. What goes on until then can still end."""
        parts, self.parts = self.parts, Parts()
        return parts

    def _call_start(self, data: Data) -> None:
        self._begin("", self.parts.calls, data)

    def _call_end(self, data: Data) -> None:
        self._end("", data)

    def _citations(self, data: Data) -> None:
        self.parts.citations += _objects(data.get("citations"))

    def _plan(self, data: Data) -> None:
        self.parts.plans += _objects([data.get("planningArtifact")])

    def _reasoning(self, data: Data) -> None:
        self.parts.think(_text(data.get("reasoning")))
        self.parts.reasoning += _text(data.get("text"))  # a piece of one

    def _task_start(self, data: Data) -> None:
        self._agent(data)

    def _task_call_start(self, data: Data) -> None:
        agent = self._agent(data)
        if agent is not None:
            self._begin(agent.task, agent.calls, data)

    def _task_call_end(self, data: Data) -> None:
        self._end(_text(data.get("task")), data)

    def _task_end(self, data: Data) -> None:
        agent = self._agent(data)
        if agent is not None:
            agent.status = _text(data.get("status")) or DONE
            agent.usage |= _counts(data)

    def _usage(self, data: Data) -> None:
        self.parts.usage |= _counts(data)

    def _begin(self, task: str, calls: list[ToolCall], data: Data) -> None:
        """A call begins; one that is begun already is ignored."""
        call = _call(data)
        if not (call.id or call.name) or (task, call.id) in self._calls:
            return
        if call.id:
            self._calls[task, call.id] = calls, len(calls)
        calls.append(call)

    def _end(self, task: str, data: Data) -> None:
        place = self._calls.get((task, _text(data.get("id"))))
        if place is not None:
            calls, number = place
            calls[number] = calls[number].model_copy(update={"result": data.get("result"), "is_done": True})

    def _agent(self, data: Data) -> _Agent | None:
        """The sub-agent that an event names; ``None`` where it names none."""
        task = _text(data.get("task"))
        if not task:
            return None
        if task not in self._agents:
            self._agents[task] = _Agent(task)
            self.parts.agents.append(self._agents[task])
        return self._agents[task]


END: Final = "message_end"
"""The end of an operation's work on a message, and what it has cost."""

TAKEN: Final[Mapping[str, Callable[[Gathering, Data], None]]] = {
    "tool_call_start": Gathering._call_start,
    "tool_call_end": Gathering._call_end,
    "citations": Gathering._citations,
    "planning_artifact": Gathering._plan,
    "reasoning": Gathering._reasoning,
    "subkani_task_start": Gathering._task_start,
    "subkani_tool_call_start": Gathering._task_call_start,
    "subkani_tool_call_end": Gathering._task_call_end,
    "subkani_task_end": Gathering._task_end,
    "token_usage": Gathering._usage,
    "token_usage_partial": Gathering._usage,
    END: Gathering._usage,
}
"""What each type of event adds to a message."""


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
