"""A real strategy as the chat in which it came to be: the events that a producer writes, batch by batch.

A chat begins with a question, builds the strategy step by step (a turn of the model for each few steps, with a snapshot
of the graph after each step), links it to the WDK server's strategy, and ends with an answer. Nineteen of twenty events
are the model's words, as in real ones.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import NAMESPACE_OID, uuid5

from veupath_store.documents.plans import flatten_plan
from veupath_store.events.log.entries import Event

COMBINE = "__combine__"
WORKING_NAME = "Draft strategy"
"""What every chat's strategy is called until its last step: names of one user and site collide all the time."""
MODEL = "a-model-of-today"
OPERATION = uuid5(NAMESPACE_OID, "a turn")
WORDS = (
    "Genes ",
    "with a signal\u2011peptide ",
    "(é, 中, 🧬) ",
    "in ",
    "*P. falciparum* ",
    "3D7, ",
    "“kinase” ",
    "\n\n",
)
STEPS_A_TURN = 4


@dataclass(frozen=True, slots=True)
class Chat:
    """What is played, and what must come of it."""

    name: str
    site_id: str
    record_type: str
    wdk_strategy_id: int
    batches: tuple[tuple[Event, ...], ...]
    plan: dict[str, Any]
    """The original plan, with the one thing added that flat steps cannot leave out: see `as_it_comes_back`."""
    steps: int
    messages: int

    @property
    def events(self) -> list[Event]:
        return [event for batch in self.batches for event in batch]


def chat_of(strategy: Mapping[str, Any], *, wdk_strategy_id: int, name: str | None = None) -> Chat:
    """The chat of one strategy of strategies.json."""
    called = name or strategy["name"]
    steps = flatten_plan(strategy["plan"])
    batches: list[tuple[Event, ...]] = []
    turns = range(0, len(steps), STEPS_A_TURN)
    for number, begun in enumerate(turns):
        ended = min(begun + STEPS_A_TURN, len(steps))
        batches += _question(strategy, number)
        for done in range(begun, ended):
            batches += _built(steps[: done + 1], strategy["record_type"])
        if ended == len(steps):
            batches.append(_finished(steps, called, strategy["record_type"], wdk_strategy_id))
        batches += _answer(number)
    return Chat(
        name=called,
        site_id=strategy["site_id"],
        record_type=strategy["record_type"],
        wdk_strategy_id=wdk_strategy_id,
        batches=tuple(batches),
        plan={**as_it_comes_back(strategy["plan"]), "metadata": {"name": called}},
        steps=len(steps),
        messages=2 * len(turns),
    )


def as_it_comes_back(plan: Mapping[str, Any]) -> dict[str, Any]:
    """A plan after it was a flat list of steps.

    Of the real strategies' fields flat steps lack one thing: that a combination has no ``searchName``. The tree that is
    built from them names it ``__combine__``. Nothing else is lost or added.
    """
    return {**plan, "root": _named(plan["root"])}


def _named(node: Mapping[str, Any]) -> dict[str, Any]:
    """Written for the test, recursively."""
    inputs = {key: _named(node[key]) for key in ("primaryInput", "secondaryInput") if key in node}
    searched = {} if node.get("searchName") else {"searchName": COMBINE}
    return {**node, **searched, **inputs}


def event(kind: str, **data: Any) -> Event:
    return Event(type=kind, data=data, operation_id=OPERATION)


def _question(strategy: Mapping[str, Any], turn: int) -> Iterator[tuple[Event, ...]]:
    yield (event("user_message", content=f"{strategy['name']}, please ({turn}) 🙏", messageId=f"u{turn}"),)
    yield (event("model_selected", modelId=MODEL), event("message_start", messageId=f"a{turn}"))
    yield tuple(event("reasoning", text=word) for word in WORDS)
    if turn == 0:
        yield (event("strategy_meta", name=WORKING_NAME, recordType=strategy["record_type"]),)


def _built(steps: Sequence[Mapping[str, Any]], record_type: str) -> Iterator[tuple[Event, ...]]:
    call = f"call-{len(steps)}"
    yield tuple(event("assistant_delta", text=word, messageId="a") for word in WORDS * 4)
    yield (event("tool_call_start", id=call, name="add_step", arguments=steps[-1]),)
    yield (
        event("tool_call_end", id=call, result={"stepId": steps[-1]["id"]}),
        _snapshot(steps, WORKING_NAME, record_type),
        event("token_usage_partial", promptTokens=1_000 + len(steps), completionTokens=len(steps)),
    )


def _finished(steps: Sequence[Mapping[str, Any]], name: str, record_type: str, wdk: int) -> tuple[Event, ...]:
    return (
        event("strategy_meta", name=name),
        _snapshot(steps, name, record_type),
        event("strategy_link", wdkStrategyId=wdk, isSaved=False, url="https://example.org/\ud83e\uddec"),
        event("strategy_link", wdkStrategyId=wdk, isSaved=True),
    )


def _answer(turn: int) -> Iterator[tuple[Event, ...]]:
    yield tuple(event("assistant_delta", text=word, messageId=f"a{turn}") for word in WORDS * 3)
    yield (
        event("citations", citations=[{"title": "An article", "doi": "10.1000/1"}]),
        event("assistant_message", content="".join(WORDS), messageId=f"a{turn}"),
        event("message_end", messageId=f"a{turn}", totalTokens=4_321),
    )


def _snapshot(steps: Sequence[Mapping[str, Any]], name: str, record_type: str) -> Event:
    graph = {"steps": [*steps], "rootStepId": steps[-1]["id"], "graphName": name, "recordType": record_type}
    return event("graph_snapshot", graphSnapshot=graph)
