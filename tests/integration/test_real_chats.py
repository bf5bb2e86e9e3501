"""The real strategies, played as chats on their event logs, and read back from the table that follows them."""

import asyncio

import pytest

from tests.support import chat as chats
from tests.support.conversations import assert_sound, conversation
from tests.support.jobs import running
from tests.support.waiting import becomes
from veupath_store import StreamRepository
from veupath_store.events.project.projector import Projector
from veupath_store.events.project.worker import ProjectionWorker

PRODUCERS = 6

pytestmark = pytest.mark.with_log


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
    assert found.model_id == chats.MODEL


def walked(node):
    if node is None:
        return []
    return [*walked(node.get("primaryInput")), *walked(node.get("secondaryInput")), node]


def searches_only(node):
    """A tree without what flat steps add: the search name of combinations."""
    inputs = {key: searches_only(node[key]) for key in ("primaryInput", "secondaryInput") if key in node}
    return {key: value for key, value in {**node, **inputs}.items() if value != chats.COMBINE}


async def played_by(users, strategies):
    """Each user plays each strategy; the first one plays some of them twice, so that names and WDK ids collide."""
    played = {}
    for user in users:
        for number, strategy in enumerate(strategies):
            chat = chats.chat_of(strategy, wdk_strategy_id=1_000 + number)
            played[await started(user, chat)] = chat
    twice = {}
    for number, strategy in enumerate(strategies[::6]):
        chat = chats.chat_of(strategy, wdk_strategy_id=1_000 + 6 * number)
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
        chat = chats.chat_of(strategy, wdk_strategy_id=number, name=name)
        played[await started(user, chat)] = chat
    await worked(play(played))
    rows = await rows_of(watcher)
    got = sorted(row["name"] for row in rows.values())
    assert len(set(got)) == len(names) * 2
    assert max(map(len, got)) == 255
    assert {"\ufffdnul", "\ufffdnul (1)", "\u00e9 combining (1)", "spaces (1)", "🧬" * 255} <= set(got)
    await assert_sound(watcher, logs)
