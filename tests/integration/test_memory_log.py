"""The log in memory, where it differs from Redis: its URL, its life, and waiting for what is appended.

What both promise is in test_event_log and test_event_log_marks, which run against each.
"""

import asyncio
import threading
import time
from uuid import uuid4

import pytest

from tests.support.any_log import memory_log
from veupath_store.errors import InternalError
from veupath_store.events.entries import Event, Position
from veupath_store.events.exchange import FIRST
from veupath_store.events.keys import LogKey
from veupath_store.events.log import EventLog
from veupath_store.events.memory import forget_server, server_named
from veupath_store.redis_url import RedisTarget, parse_redis_url

MESSAGE = Event(type="user_message", data={})


@pytest.fixture
def place():
    with memory_log() as found:
        yield found


@pytest.fixture
def key():
    return LogKey.stream(uuid4())


def waiting(place, key, after, span=10.0):
    server = server_named(place.url.removeprefix("memory:"))
    return asyncio.create_task(server.wait_for({key.text(place.prefix): after}, span))


def test_its_url_names_it():
    assert parse_redis_url("memory:one") == RedisTarget(memory="one")
    with pytest.raises(ValueError, match="a name"):
        parse_redis_url("memory:")


async def test_logs_of_one_name_are_one_until_it_is_forgotten(place, key):
    [first] = await EventLog(place.settings).append(key, [MESSAGE], new=True)
    assert [entry.position for entry in await EventLog(place.settings).read(key, count=9)] == [first]
    forget_server(place.url.removeprefix("memory:"))
    assert await EventLog(place.settings).read(key, count=9) == []


async def test_who_waits_for_an_entry_is_woken_by_it(place, key):
    log = EventLog(place.settings)
    waiter = waiting(place, key, FIRST)
    await asyncio.sleep(0.02)
    await log.append(LogKey.stream(uuid4()), [MESSAGE], new=True)
    await asyncio.sleep(0.02)
    assert not waiter.done()
    [first] = await log.append(key, [MESSAGE], new=True)
    async with asyncio.timeout(2):
        await waiter
        await waiting(place, key, Position(first.ms - 1, 0))


async def test_who_waits_is_let_go_after_a_time(place, key):
    started = time.monotonic()
    await waiting(place, key, FIRST, span=0.05)
    assert 0.04 < time.monotonic() - started < 2


async def test_an_entry_of_another_thread_wakes_as_well(place, key):
    waiter = waiting(place, key, FIRST)
    await asyncio.sleep(0.02)

    def append() -> None:
        asyncio.run(EventLog(place.settings).append(key, [MESSAGE], new=True))

    thread = threading.Timer(0.1, append)
    thread.start()
    started = time.monotonic()
    await waiter  # nothing else would wake this loop
    assert time.monotonic() - started < 5
    thread.join()


async def test_a_command_that_it_does_not_know_is_refused_and_says_so(place):
    with pytest.raises(InternalError, match="in memory"):
        await EventLog(place.settings)._client.run([("XREADGROUP", "x")])


def test_no_refusal_of_a_url_recommends_it():
    with pytest.raises(ValueError, match="scheme must be one of") as refused:
        parse_redis_url("nonsense")
    assert "memory" not in str(refused.value)


async def test_a_log_is_followed_as_one_in_redis_is(place, key):
    log = EventLog(place.settings)
    [first] = await log.append(key, [MESSAGE], new=True)
    with log.watch.subscribe(key, None) as early, log.watch.subscribe(key, first) as late:
        assert [entry.position for entry in await early.take(10)] == [first]
        assert await late.take(0.05) == []
        [second] = await log.append(key, [MESSAGE])
        assert [entry.position for entry in await early.take(10)] == [second]
        assert [entry.position for entry in await late.take(10)] == [second]
    await log.close()


async def test_what_is_to_be_caught_up_is_counted_with_its_age(place, key):
    log = EventLog(place.settings)
    await log.append(key, [MESSAGE], new=True)
    await asyncio.sleep(0.05)
    found = await log.backlog()
    assert (found.count, 0.05 <= found.seconds < 60) == (1, True)
