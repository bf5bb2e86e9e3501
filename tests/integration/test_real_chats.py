"""The real strategies, played as chats on their event logs, and read back from the table that follows them.

A chat begins with a question, builds the strategy step by step (a turn of the model for each few steps, with a snapshot
of the graph after each step), links it to the WDK server's strategy, and ends with an answer. Nineteen of twenty events
are the model's words, as in real ones.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import pytest

from tests.support.conversations import assert_sound, conversation
from tests.support.jobs import running
from tests.support.waiting import becomes
from veupath_store import StreamRepository
from veupath_store.documents.plans import flatten_plan
from veupath_store.events.log.entries import Event
from veupath_store.events.project.projector import Projector
from veupath_store.events.project.worker import ProjectionWorker

pytestmark = pytest.mark.with_log

PRODUCERS = 6
COMBINE = "__combine__"
WORKING_NAME = "Draft strategy"
"""What every chat's strategy is called until its last step: names of one user and site collide all the time."""
MODEL = "a-model-of-today"
OPERATION = uuid5(NAMESPACE_OID, "a turn")
WORDS = ["Genes ", "with a signal\u2011peptide ", "(é, 中, 🧬) ", "in *P. falciparum* ", "3D7, ", "“kinase”\n\n"]
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
    """The original one, with the one thing added that flat steps cannot leave out: that a combination has a name."""
    steps: int
    messages: int


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
        plan={**strategy["plan"], "root": _named(strategy["plan"]["root"]), "metadata": {"name": called}},
        steps=len(steps),
        messages=2 * len(turns),
    )


def _named(node: Mapping[str, Any]) -> dict[str, Any]:
    """All that differs after a plan was a flat list of steps. Written for the test, recursively."""
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


async def rows_of(watcher):
    return {row["stream_id"]: row for row in await watcher.fetch("SELECT * FROM stream_projections")}


async def started(user, chat):
    return await conversation(user, site=chat.site_id)


async def play(played):
    """Several producers, each with some of the chats, all of them batch by batch and at once."""
    projector = Projector()

    async def produce(mine):
        turns = [(stream_id, list(chat.batches)) for stream_id, chat in mine]
        while any(batches for _, batches in turns):
            for stream_id, batches in turns:
                if batches:
                    await projector.append(stream_id, batches.pop(0))

    pairs = list(played.items())
    await asyncio.gather(*(produce(pairs[number::PRODUCERS]) for number in range(PRODUCERS)))


async def worked(work):
    """Do it beside one worker, and wait until that has caught up with all."""

    async def left():
        counts, backlog = (await Projector().lag()).counts, await Projector().log.backlog()
        return {*counts} - {"current"} or backlog.count

    async with running(ProjectionWorker(poll_seconds=0.01)):
        await work
        await becomes(left, 0, "what the worker has not caught up with", within=60)


async def holds(found, chat):
    assert found.plan == chat.plan
    nodes = walked(chat.plan["root"])
    assert [step["id"] for step in found.steps] == [node["id"] for node in nodes]
    assert [step.get("parameters") for step in found.steps] == [node.get("parameters") for node in nodes]
    assert found.root_step_id == chat.plan["root"]["id"]
    assert found.step_count == chat.steps == len(nodes)
    assert found.message_count == chat.messages
    assert found.record_type == chat.record_type
    assert found.model_id == MODEL


def walked(node):
    if node is None:
        return []
    return [*walked(node.get("primaryInput")), *walked(node.get("secondaryInput")), node]


def searches_only(node):
    """A tree without what flat steps add: the search name of combinations."""
    inputs = {key: searches_only(node[key]) for key in ("primaryInput", "secondaryInput") if key in node}
    return {key: value for key, value in {**node, **inputs}.items() if value != COMBINE}


async def played_by(users, strategies):
    """Each user plays each strategy; the first one plays some of them twice, so that names and WDK ids collide."""
    played = {}
    for user in users:
        for number, strategy in enumerate(strategies):
            chat = chat_of(strategy, wdk_strategy_id=1_000 + number)
            played[await started(user, chat)] = chat
    twice = {}
    for number, strategy in enumerate(strategies[::6]):
        chat = chat_of(strategy, wdk_strategy_id=1_000 + 6 * number)
        twice[await started(users[0], chat)] = chat
    return played, twice


@pytest.mark.large
async def test_chats_of_two_users_come_back_as_the_strategies_that_they_made(user, stranger, strategies, watcher, logs):
    played, twice = await played_by([user, stranger], strategies)
    await worked(play({**played, **twice}))
    rows = await rows_of(watcher)

    for stream_id, chat in {**played, **twice}.items():
        found = await StreamRepository().get_projection(stream_id)
        await holds(found, chat)
        assert found.name == chat.name or found.name.startswith(f"{chat.name} (")
    originals = [strategy["plan"] for strategy in strategies] * 2
    for stream_id, original in zip(played, originals, strict=True):
        plan = (await StreamRepository().get_projection(stream_id)).plan
        assert {**plan, "root": searches_only(plan["root"])} == original

    places = [(row["user_id"], row["site_id"], row["name"]) for row in rows.values()]
    assert len(set(places)) == len(places)
    for owner in (user, stranger):
        linked = [row for row in rows.values() if row["user_id"] == owner.id and row["wdk_strategy_id"] is not None]
        assert sorted(row["wdk_strategy_id"] for row in linked) == [1_000 + number for number in range(len(strategies))]
        assert all(row["is_saved"] for row in linked)
    assert sum(row["wdk_strategy_id"] is None for row in rows.values()) == len(twice)

    await assert_sound(watcher, logs)


async def test_long_and_foreign_names_are_cut_and_numbered_as_the_table_needs_it(user, strategies, watcher, logs):
    names = ["Gène 🧬 中文 العربية " * 30, "\u0000nul", "e\u0301 combining", "  spaces "]
    names += ["🧬" * length for length in (255, 300, 256)]
    strategy = strategies[0]
    played = {}
    for number, name in enumerate(names * 2):
        chat = chat_of(strategy, wdk_strategy_id=number, name=name)
        played[await started(user, chat)] = chat
    await worked(play(played))
    rows = await rows_of(watcher)
    got = sorted(row["name"] for row in rows.values())
    assert len(set(got)) == len(names) * 2
    assert max(map(len, got)) == 255
    assert {"\ufffdnul", "\ufffdnul (1)", "\u00e9 combining (1)", "spaces (1)", "🧬" * 255} <= set(got)
    await assert_sound(watcher, logs)
