"""Conversations and operations followed as they grow: without a gap, without a repeat, and holding nothing."""

import asyncio
from contextlib import aclosing
from uuid import uuid4

import pytest

from tests.support.conversations import conversation
from tests.support.jobs import leased
from tests.support.waiting import becomes
from veupath_store.errors import StoreClosedError, UnavailableError
from veupath_store.events import reader as reading
from veupath_store.events.log.entries import Event, LogKey, Position
from veupath_store.events.log.following import BLOCK, GAP, follow
from veupath_store.events.log.log import required_log
from veupath_store.events.project.projector import Projector
from veupath_store.events.project.worker import ProjectionWorker
from veupath_store.events.reader import LogReader
from veupath_store.repositories import LeaseRepository, OperationRepository, StreamRepository
from veupath_store.session import close_db, get_engine, init_db
from veupath_store.values import OperationType

pytestmark = pytest.mark.with_log

SOON = 10.0
"""Seconds that a loaded machine may take for what needs milliseconds."""


def tokens(*numbers, **more):
    return [Event(type="assistant_delta", data={"n": number}, **more) for number in numbers]


async def numbers_of(events, until):
    """The numbers that arrive, or that a gap is told, up to the given one."""
    seen = []
    async with asyncio.timeout(SOON):
        async for event in events:
            seen.append(event.data.get("n", event.type))
            if seen[-1] == until:
                return seen
    return seen


def followed_logs():
    return dict(required_log().watch._followed)


async def until_waiting(how_many):
    """Until exactly so many followers have caught up and wait."""

    async def waiting():
        return sum(map(len, followed_logs().values()))

    await becomes(waiting, how_many, "how many followers wait", SOON)


async def waiting_for(events, until):
    """A task that has what is there already, and waits for the rest of the numbers up to the given one."""
    task = asyncio.create_task(numbers_of(events, until))
    await until_waiting(1)
    return task


async def test_many_interruptions_lose_and_repeat_nothing(stream):
    """A writer never pauses; a client is cut off after every few events and comes back with its last id."""
    total, seen, last = 400, [], None

    async def write():
        for number in range(total):
            await Projector().append(stream, tokens(number))

    writing, patience = asyncio.create_task(write()), 0
    async with asyncio.timeout(6 * SOON):
        while len(seen) < total:
            patience += 1
            async with aclosing(await LogReader().follow(stream, position=last)) as events:
                async for event in events:
                    seen.append(event.data.get("n", event.type))
                    last = event.id
                    if len(seen) % (patience % 7 + 1) == 0 or len(seen) == total:
                        break
    await writing
    assert seen == list(range(total))


async def test_two_hundred_followers_wait_in_one_request(stream, user):
    """On a conversation each of twenty; each sees its own conversation's events and no other's."""
    streams = [await conversation(user) for _ in range(20)]
    reader = LogReader().for_user(user.id)
    waiting = [
        asyncio.create_task(numbers_of(await reader.follow(streams[number % 20]), 1_000 + number % 20))
        for number in range(200)
    ]
    await until_waiting(200)
    assert len(followed_logs()) == 20
    assert (await get_engine().open()).usage().in_use == 0
    idle = len(required_log()._client._idle)
    await asyncio.gather(*(Projector().append(one, tokens(1_000 + number)) for number, one in enumerate(streams)))
    assert await asyncio.gather(*waiting) == [[1_000 + number % 20] for number in range(200)]
    assert idle < 32


async def test_a_slow_follower_is_let_go_and_still_sees_all(stream, monkeypatch):
    """It costs no memory beyond its room, and nobody else waits for it."""
    monkeypatch.setattr("veupath_store.events.log.following.ROOM", 10)
    reader = LogReader()
    await Projector().append(stream, tokens(-1))
    slow, quick = await reader.follow(stream), await reader.follow(stream)
    reading_quick = asyncio.create_task(numbers_of(quick, 99))
    assert (await anext(slow)).data == {"n": -1}
    first = asyncio.ensure_future(anext(slow))
    await until_waiting(2)
    for number in range(100):
        await Projector().append(stream, tokens(number))
    assert await reading_quick == list(range(-1, 100))
    await quick.aclose()
    await until_waiting(0)  # the slow one was let go
    assert (await first).data == {"n": 0}
    assert await numbers_of(slow, 99) == list(range(1, 100))
    await slow.aclose()


async def test_the_stores_own_events_are_not_shown(stream):
    reading_all = await waiting_for(await LogReader().follow(stream), 2)
    await Projector().append(stream, tokens(1))
    await StreamRepository().update_projection(stream, name="renamed")
    await Projector().catch_up(stream)
    await Projector().append(stream, tokens(2))
    assert await reading_all == [1, 2]


async def test_one_operations_events_can_be_followed_alone(stream):
    mine = uuid4()
    events = await LogReader().follow(stream, operation_id=mine)
    await Projector().append(stream, [*tokens(1), *tokens(2, operation_id=mine), *tokens(3, operation_id=uuid4())])
    await Projector().append(stream, tokens(4, operation_id=mine))
    assert await numbers_of(events, 4) == [2, 4]


@pytest.mark.parametrize("kind", [OperationType.CHAT, OperationType.EXPERIMENT])
async def test_following_an_operation_ends_when_it_has_ended_and_all_is_shown(stream, user, kind, monkeypatch):
    monkeypatch.setattr(reading, "OPERATION_SECONDS", 0.1)
    chat = kind is OperationType.CHAT
    lease = await leased(user, kind, stream_id=stream if chat else None)
    append = Projector().append if chat else Projector().append_to_operation
    log_of, mine = (stream, {"operation_id": lease.operation_id}) if chat else (lease.operation_id, {})
    events = await LogReader().for_user(user.id).follow_operation(lease.operation_id)
    await append(log_of, tokens(0, 1, **mine))
    whole = await waiting_for(events, "never")
    await append(log_of, tokens(2, **mine))
    await asyncio.sleep(0.3)  # several looks at the table, while the operation goes on
    assert not whole.done()
    await append(log_of, tokens(3, **mine))
    await LeaseRepository().complete(lease)
    assert await whole == [0, 1, 2, 3]
    again = await LogReader().follow_operation(lease.operation_id)
    assert await numbers_of(again, "never") == [0, 1, 2, 3]


@pytest.mark.parametrize("how", ["it completes", "it is deleted", "it had ended before"])
async def test_following_an_operation_ends_at_once_where_this_process_ends_it(stream, user, how, monkeypatch):
    monkeypatch.setattr(reading, "OPERATION_SECONDS", 600.0)
    lease = await leased(user, OperationType.CHAT, stream_id=stream)
    await Projector().append(stream, tokens(0, operation_id=lease.operation_id))
    if how == "it had ended before":
        await LeaseRepository().complete(lease)
    events = await LogReader().for_user(user.id).follow_operation(lease.operation_id)
    if how == "it had ended before":
        assert await numbers_of(events, "never") == [0]
        return
    whole = await waiting_for(events, "never")
    await asyncio.sleep(0.1)
    assert not whole.done()
    await Projector().append(stream, tokens(1, operation_id=lease.operation_id))
    if how == "it completes":
        await LeaseRepository().complete(lease)
    else:
        await OperationRepository().delete(lease.operation_id)
    assert await whole == [0, 1]


async def test_following_ends_when_the_conversation_is_deleted(stream, monkeypatch):
    monkeypatch.setattr(reading, "FOLLOW_SECONDS", 0.1)
    following = await waiting_for(await LogReader().follow(stream), "never")
    await StreamRepository().delete(stream)
    await ProjectionWorker().drain()
    assert await following == []


async def test_a_follower_that_is_closed_or_cancelled_leaves_nothing_behind(stream):
    reader = LogReader()
    await Projector().append(stream, tokens(0))
    closed = await reader.follow(stream)
    await anext(closed)
    await closed.aclose()
    cancelled = await waiting_for(await reader.follow(stream), "never")
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert not followed_logs()

    async def waits():
        return required_log().watch._waiting

    await becomes(waits, None, "nobody waits for Redis any more")


async def test_closing_the_store_ends_what_is_followed(settings, stream):
    waiting = await waiting_for(await LogReader().follow(stream), "never")
    log = required_log()
    await close_db()
    with pytest.raises(StoreClosedError):
        await waiting
    with pytest.raises(StoreClosedError), log.watch.subscribe(LogKey.stream(stream), None):
        pass
    await init_db(settings=settings)


async def test_a_database_that_is_away_for_a_while_does_not_end_what_is_followed(stream, monkeypatch, caplog):
    monkeypatch.setattr(reading, "FOLLOW_SECONDS", 0.05)
    reader = LogReader()
    asked = asyncio.Event()

    def away():
        asked.set()
        raise UnavailableError("No server accepted a connection.")

    events = await reader.follow(stream)
    monkeypatch.setattr(reading, "get_engine", away)
    waiting = asyncio.create_task(numbers_of(events, 1))
    async with asyncio.timeout(SOON):
        await asked.wait()
    await Projector().append(stream, tokens(1))
    assert await waiting == [1]
    assert "without the database" in caplog.text


async def test_entries_that_others_append_past_the_store_are_followed_too(stream, logs):
    waiting = await waiting_for(await LogReader().follow(stream), 7)
    logs.add(stream, "citations", {"n": 7})
    assert await waiting == [7]


@pytest.fixture
async def positions(stream):
    """Where five events of the conversation are."""
    return [Position.parse(text) for text in await Projector().append(stream, tokens(*range(5)))]


async def test_followers_at_different_places_of_one_log_each_get_what_they_lack(stream, positions):
    watching, key = required_log().watch, LogKey.stream(stream)
    with watching.subscribe(key, positions[0]) as early, watching.subscribe(key, positions[3]) as late:
        taken = [await subscription.take(SOON) for subscription in (early, late)]
    assert [[entry.position for entry in entries] for entries in taken] == [positions[1:], positions[4:]]


async def test_a_follower_that_comes_from_further_back_while_the_request_is_under_way_misses_nothing(stream, positions):
    """The answer begins where the others stand, and lacks what it has not read yet."""
    watching, key = required_log().watch, LogKey.stream(stream)
    with watching.subscribe(key, positions[4]) as early:
        await asyncio.sleep(BLOCK / 4)
        with watching.subscribe(key, positions[0]) as late:
            [new] = await Projector().append(stream, tokens(5))
            taken = []
            async with asyncio.timeout(SOON):
                while not taken or taken[-1] != Position.parse(new):
                    taken += [entry.position for entry in await late.take(SOON)]
        assert [entry.position for entry in await early.take(SOON)] == [Position.parse(new)]
    assert taken == [*positions[1:], Position.parse(new)]


async def test_what_is_appended_while_it_is_asked_whether_all_is_over_is_read(stream):
    async def is_over():
        await Projector().append(stream, tokens(1))
        return True

    await Projector().append(stream, tokens(0))
    entries = follow(required_log(), LogKey.stream(stream), None, is_over, every=0.05)
    assert [entry.raw async for entry in entries if entry.type == "assistant_delta"] == [b'{"n":0}', b'{"n":1}']


async def some(events, count):
    """The next events, each as its type and what it says."""
    async with asyncio.timeout(SOON), aclosing(events):
        found = [await anext(events) for _ in range(count)]
    return found, [(event.type, event.data.get("n", event.data.get("reason"))) for event in found]


@pytest.mark.parametrize(
    ("harm", "position", "gap", "numbers"),
    [
        ("trimmed", 2, "trimmed", range(5, 10)),
        ("trimmed", None, None, range(5, 10)),
        ("trimmed", "0-0", None, range(5, 10)),
        ("trimmed", 5, None, range(6, 10)),
        # As after a failover: the server never had what was acknowledged last, and has gone on since.
        ("one is lost", 2, "lost", range(3, 10)),
        ("none", f"{2**63}-0", "lost", ()),
        ("all is lost", 9, "lost", ()),
    ],
)
async def test_a_follower_learns_once_what_is_missing_before_it_goes_on(stream, logs, harm, position, gap, numbers):
    ids = await Projector().append(stream, tokens(*range(10)))
    if harm == "trimmed":
        assert await Projector().trim(stream, keep=5)
    elif harm == "one is lost":
        logs.delete(stream, ids[2])
    elif harm == "all is lost":
        logs.redis.delete(logs.key(stream))
    place = {"one is lost": ids[1], "none": ids[-1], "all is lost": "0-0"}.get(harm)
    at = ids[position] if isinstance(position, int) else position
    wanted = [("assistant_delta", number) for number in (*numbers, 10)]
    async with asyncio.timeout(SOON), aclosing(await LogReader().follow(stream, position=at)) as events:
        if gap:
            told = await anext(events)
            assert (told.type, told.data) == (GAP, {"position": at, "reason": gap})
            assert place is None or told.id == place
        seen = [await anext(events) for _ in numbers]
        await Projector().append(stream, tokens(10))
        seen.append(await anext(events))
    assert [(event.type, event.data["n"]) for event in seen] == wanted
    if gap:
        # One that comes back after the gap, before it has seen more, misses nothing and is not told again.
        _, again = await some(await LogReader().follow(stream, position=told.id), len(wanted))
        assert again == wanted


async def test_one_operations_follower_learns_of_a_gap_too(stream):
    mine = uuid4()
    await Projector().append(stream, [*tokens(0), *tokens(1, operation_id=mine)])
    _, seen = await some(await LogReader().follow(stream, position=f"{2**63}-0", operation_id=mine), 1)
    assert seen == [(GAP, "lost")]


async def test_a_slow_follower_learns_what_is_trimmed_before_it_comes_to_it(stream, monkeypatch):
    monkeypatch.setattr("veupath_store.events.log.pages.FIRST", 2)
    ids = await Projector().append(stream, tokens(*range(10)))
    events = await LogReader().follow(stream)
    assert (await anext(events)).id == ids[0]
    await Projector().trim(stream, keep=2)
    _, seen = await some(events, 3)
    assert seen == [(GAP, "trimmed"), ("assistant_delta", 8), ("assistant_delta", 9)]


async def test_where_an_operation_begins_need_not_be_an_entry(stream, user):
    [last] = await Projector().append(stream, tokens(0))
    begins = str(Position.parse(last).after)
    operation = await OperationRepository().register(user.id, "chat", stream_id=stream, start_position=begins)
    await Projector().append(stream, tokens(1, operation_id=operation.id))
    _, seen = await some(await LogReader().follow_operation(operation.id), 1)
    assert seen == [("assistant_delta", 1)]


async def test_a_follower_that_waits_learns_of_what_is_trimmed_while_much_is_appended(stream, monkeypatch):
    monkeypatch.setattr("veupath_store.events.log.following.COUNT", 1)
    monkeypatch.setattr("veupath_store.events.log.following.ROOM", 1_000)
    waiting = await waiting_for(await LogReader().follow(stream), 499)
    await Projector().append(stream, tokens(*range(500)))
    await Projector().catch_up(stream)
    await Projector().trim(stream, keep=2)
    seen = await waiting
    assert GAP in seen or len(seen) == 500


async def test_a_follower_that_waits_learns_that_redis_went_back_before_more_was_appended(stream, logs):
    ids = await Projector().append(stream, tokens(0, 1))
    waiting = await waiting_for(await LogReader().follow(stream), 2)
    with logs.redis.pipeline(transaction=True) as at_once:
        at_once.xdel(logs.key(stream), ids[1])
        at_once.xadd(logs.key(stream), {"type": "assistant_delta", "data": '{"n": 2}'})
        at_once.execute()
    assert await waiting == [0, 1, GAP, 2]
