"""Messages with what was logged of their turns: from either end, at every limit, and as many as the row counts."""

import json
from functools import partial
from random import Random
from uuid import uuid4

import pytest

from tests.support.conversations import conversation, dismiss_and_restore
from tests.support.naive_turns import naive_messages, shown
from tests.support.projections import at_rest, columns_of
from veupath_store import AccountRepository, Event, LogReader, Projector, StreamRepository, async_session_factory
from veupath_store.errors import NotFoundError, UnitOfWorkError
from veupath_store.events.log import pages
from veupath_store.repositories import OperationRepository
from veupath_store.values import PurgeMode

pytestmark = pytest.mark.with_log

OPERATIONS = ("", str(uuid4()), str(uuid4()))


@pytest.fixture
async def stream(user):
    stream = await conversation(user)
    await Projector().catch_up(stream)
    return stream


def random_event(random):
    call, task = {"id": f"c{random.randrange(4)}"}, {"task": random.choice(["build", "read"])}
    kinds = {
        "user_message": {"content": "?"},
        "assistant_message": {"content": "!", "messageId": "a"},
        "message_end": {"totalTokens": random.randrange(9)},
        "message_start": {},
        "tool_call_start": {**call, "name": "search"},
        "tool_call_end": {**call, "result": random.randrange(9)},
        "citations": {"citations": [{"title": str(random.randrange(9))}]},
        "reasoning": {"reasoning": str(random.randrange(9))},
        "subkani_tool_call_start": {**task, **call, "name": "add"},
        "subkani_task_end": {**task, "status": "done"},
        "projection_patched": {"columns": {}},
    }
    kind = random.choice(["assistant_delta"] * 8 + [*kinds] * 2 + ["user_message", "assistant_message"] * 2)
    bad = random.random() < 0.05
    return kind, b"no json" if bad else json.dumps(kinds.get(kind, {"delta": "x"})).encode(), random.choice(OPERATIONS)


def written(logs, stream, seed, count=60):
    random = Random(seed)
    for _ in range(count):
        kind, raw, operation = random_event(random)
        logs.add(stream, kind, raw, operation=operation)


async def all_pages(call, limit, **options):
    """All items of all pages, in the order of the pages."""
    found, position, at_end = [], None, False
    while not at_end:
        page = await call(position=position, limit=limit, **options)
        assert len(page.items) <= limit
        found += page.items
        position, at_end = page.position, page.at_end
    return found


async def paged(stream, limit, newest_first):
    found = await all_pages(partial(LogReader().page_messages, stream), limit, newest_first=newest_first)
    return found[::-1] if newest_first else found


@pytest.mark.parametrize("seed", range(6))
async def test_a_message_is_the_same_on_every_page_from_either_end(stream, logs, seed):
    written(logs, stream, seed)
    expected = naive_messages(logs.entries(stream))
    assert len(expected) > 5
    assert shown([message async for message in LogReader().iterate_messages(stream)]) == expected
    for limit in range(1, len(expected) + 2):
        for newest_first in (False, True):
            assert shown(await paged(stream, limit, newest_first)) == expected, (limit, newest_first)


@pytest.mark.parametrize("newest_first", [False, True])
async def test_pages_that_end_in_the_middle_of_a_turn_show_it_whole(stream, logs, newest_first, monkeypatch):
    """Of each page a bounded part of the log is read, wherever that ends."""
    written(logs, stream, seed=99)
    expected = naive_messages(logs.entries(stream))
    for read in (1, 2, 3, 5, 8):
        monkeypatch.setattr(pages, "READ", read)
        monkeypatch.setattr("veupath_store.events.log.pages.FIRST", read)
        assert shown(await paged(stream, 1_000, newest_first)) == expected, read


def turn(number, deltas=0):
    def event(kind, **data):
        return Event(type=kind, data=data)

    return [
        event("user_message", content=f"question {number}"),
        event("tool_call_start", id=f"c{number}", name="search", arguments={"n": number}),
        *(event("assistant_delta", delta="x") for _ in range(deltas)),
        event("tool_call_end", id=f"c{number}", result=number),
        event("assistant_message", content=f"answer {number}"),
        event("message_end", totalTokens=number),
    ]


async def test_an_answer_that_is_waited_for_is_whole_when_it_comes(stream):
    events = turn(1)
    await Projector().append(stream, events[:3])
    first = await LogReader().page_messages(stream)
    assert ([message.content for message in first.items], first.at_end) == (["question 1"], True)
    await Projector().append(stream, events[3:])
    [answer] = (await LogReader().page_messages(stream, position=first.position)).items
    assert (answer.tool_calls[0].result, answer.token_usage.total_tokens) == (1, 1)


async def test_of_a_turn_that_is_longer_than_a_call_reads_the_messages_are_all_listed(stream, monkeypatch):
    """What is further away than `TURN` is left out; nothing else is harmed."""
    await Projector().append(stream, turn(1, deltas=400))
    await Projector().append(stream, turn(2))
    for newest_first in (False, True):
        messages = await paged(stream, 1, newest_first)
        assert [len(message.tool_calls) for message in messages] == [0, 1, 0, 1]
    monkeypatch.setattr("veupath_store.events.reader.TURN", 100)
    messages = await paged(stream, 1, newest_first=True)
    assert [message.content for message in messages] == ["question 1", "answer 1", "question 2", "answer 2"]
    assert [len(message.tool_calls) for message in messages] == [0, 0, 0, 1]
    assert [message.token_usage.total_tokens for message in messages if message.token_usage] == [1, 2]


async def test_a_page_reads_no_more_of_the_log_than_it_says(stream, monkeypatch):
    for number in range(3):
        await Projector().append(stream, turn(number, deltas=2_000))
    monkeypatch.setattr(pages, "READ", 1_000)
    monkeypatch.setattr("veupath_store.events.reader.TURN", 500)
    reader, read = LogReader(), 0
    original = reader._log.read

    async def counted(*arguments, **options):
        nonlocal read
        entries = await original(*arguments, **options)
        read += len(entries)
        return entries

    monkeypatch.setattr(reader._log, "read", counted)
    position, at_end = None, False
    while not at_end:
        read = 0
        page = await reader.page_messages(stream, position=position)
        position, at_end = page.position, page.at_end
        assert read <= 1_000 + 2 * 500 + 3 * 2_000, "and a piece of each, which may be as large as 2,000"


async def said_in(stream, watcher):
    """The messages, which are the same from either end, and as many as the row counts."""
    forwards, backwards = await paged(stream, 2, newest_first=False), await paged(stream, 3, newest_first=True)
    assert forwards == backwards
    assert len(forwards) == (await columns_of(watcher, stream))["message_count"]
    return forwards


async def test_as_many_are_listed_as_the_row_counts(stream, logs, watcher):
    written(logs, stream, seed=3)
    await at_rest()
    assert len(await said_in(stream, watcher)) > 5


async def test_after_a_restore_what_was_said_before_is_neither_counted_nor_merged(stream, watcher):
    await Projector().append(stream, turn(1))
    begun = turn(2)
    await Projector().append(stream, begun[:3])
    await Projector().catch_up(stream)
    await dismiss_and_restore(stream)
    await Projector().append(stream, [*begun[3:], *turn(3)])
    await at_rest()
    messages = await said_in(stream, watcher)
    assert [message.content for message in messages] == ["answer 2", "question 3", "answer 3"]
    assert [len(message.tool_calls) for message in messages] == [0, 0, 1]


@pytest.fixture
async def purged(stream, user, logs):
    """A conversation that a purge has kept, and what its log was before."""
    await Projector().append(stream, turn(1))
    await StreamRepository().update_projection(stream, wdk_strategy_id=7)
    await at_rest()
    assert len(await exported(user)) == 5
    backup = logs.redis.dump(logs.key(stream))
    report = await AccountRepository().purge(user.id, mode=PurgeMode.DISMISS)
    assert report.kept_ids == (stream,)
    return backup


@pytest.mark.parametrize("redis", ["goes on", "is set back"])
async def test_after_a_purge_that_keeps_a_conversation_nothing_said_before_is_left(
    purged, redis, stream, user, logs, watcher
):
    """Also where its log comes back from a backup with all that was said before."""
    await at_rest()
    if redis == "is set back":
        logs.redis.restore(logs.key(stream), 0, purged, replace=True)
        await at_rest()
    assert await said_in(stream, watcher) == await exported(user) == []
    assert not any(b"question 1" in entry.raw for entry in logs.entries(stream))
    await Projector().append(stream, turn(2))
    await at_rest()
    assert len(await said_in(stream, watcher)) == 2


async def test_what_an_operation_appends_after_the_purge_is_refused(stream, user, logs, watcher):
    """In the mode that keeps the conversation: its job goes on until it notices that its lease is gone."""
    operation = await OperationRepository().register(user.id, "chat", stream_id=stream)
    late = [Event(type="assistant_message", data={"content": "late"}, operation_id=operation.id)]
    await Projector().append(stream, late)
    await StreamRepository().update_projection(stream, wdk_strategy_id=7)
    await AccountRepository().purge(user.id, mode=PurgeMode.DISMISS)
    await Projector().append(stream, late)
    await at_rest()
    with pytest.raises(NotFoundError):
        await Projector().append(stream, late)
    async with async_session_factory() as session:
        with pytest.raises(NotFoundError):
            await Projector().append(stream, late, session=session)
    await at_rest()
    assert not any(b"late" in entry.raw for entry in logs.entries(stream))
    assert await said_in(stream, watcher) == []
    assert await OperationRepository().get_by_id(operation.id) is None
    await Projector().append(stream, turn(1))
    await at_rest()
    assert len(await said_in(stream, watcher)) == 2


async def exported(user, **options):
    lines = [json.loads(line) async for line in AccountRepository().for_user(user.id).export(user.id, **options)]
    return [line["row"] for line in lines if line["table"] == "events"]


async def test_an_export_holds_what_was_said_and_what_operations_logged(stream, user, stranger, logs):
    ids = await Projector().append(stream, turn(1, deltas=100))
    operation = await OperationRepository().register(user.id, "experiment")
    await Projector().append_to_operation(operation.id, [Event(type="progress", data={"done": 1})])
    other = await conversation(user, site="toxodb")
    await Projector().append(other, turn(2))
    logs.add(other, "tool_call_end", b"no json")
    await Projector().append(await conversation(stranger), turn(3))
    rows = await exported(user)
    assert [row["id"] for row in rows if row["stream_id"] == str(stream)] == ids
    asked = {row["data"]["content"] for row in rows if row["type"] == "user_message"}
    assert asked == {"question 1", "question 2"}
    assert [row["data"] for row in rows if row["operation_id"] == str(operation.id)] == [{"done": 1}]
    assert {row["user_id"] for row in rows} == {str(user.id)}
    assert {row["stream_id"] for row in rows} == {str(stream), str(other), None}
    assert {row["stream_id"] for row in await exported(user, site_id="toxodb")} == {str(other)}


async def test_an_export_holds_no_transaction_while_it_reads_the_log(stream, user):
    async with async_session_factory() as session:
        with pytest.raises(UnitOfWorkError, match="without a session"):
            [line async for line in AccountRepository(session).export(user.id)]


@pytest.mark.parametrize("limit", [1, 3, 100])
async def test_events_can_be_paged_from_the_newest(stream, limit):
    ids = await Projector().append(stream, turn(1))
    operation = uuid4()
    ids += await Projector().append(stream, [Event(type="tool_call_start", data={}, operation_id=operation)])
    for only, expected in ((None, ids[::-1]), (operation, ids[-1:])):
        call = partial(LogReader().page_events, stream, operation_id=only, newest_first=True)
        assert [event.id for event in await all_pages(call, limit)] == expected
    before = await LogReader().page_events(stream, position=ids[3], newest_first=True)
    assert [event.id for event in before.items] == ids[2::-1]
