"""The event log under failure: Redis down, killed, frozen, refusing; connections cut; calls cancelled."""

import asyncio
import os
import random
import time
import traceback
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from uuid import uuid4

import pytest
import redis

from tests.support.log_calls import PATCH, calls
from tests.support.proxies import proxy
from veupath_store.config import StoreSettings
from veupath_store.errors import InternalError, OutcomeUnknownError, UnavailableError
from veupath_store.events.log.client import NotWritableError
from veupath_store.events.log.entries import Event, LogKey
from veupath_store.events.log.log import EventLog, Step

TIMEOUT = 0.5
SECRET = "s3cr3t-word"


def settings(url: str, **options) -> StoreSettings:
    given = {"log_timeout": TIMEOUT, **options}
    return StoreSettings(database_url="postgresql://nowhere/store", redis_url=url, **given)


def event(**data) -> Event:
    return Event(type="user_message", data=data)


@asynccontextmanager
async def opened(url: str, **options):
    """A log with a connection that is open already."""
    log = EventLog(settings(url, **options))
    await log.ping()
    yield log
    await log.close()


@pytest.fixture
async def log(private_redis):
    async with opened(private_redis.url) as log:
        yield log


@pytest.fixture
async def patient(private_redis):
    """A log that waits, on however busy a machine."""
    async with opened(private_redis.url, log_timeout=30.0) as log:
        yield log


@pytest.fixture
async def between(private_redis, tmp_path):
    """What a log goes through, and that log."""
    async with proxy(private_redis.url, tmp_path) as between, opened(between.redis_url) as log:
        yield between, log


@pytest.fixture
def beside(private_redis):
    with private_redis.client() as beside:
        yield beside


@pytest.fixture
async def key(log):
    key = LogKey.stream(uuid4())
    await log.append(key, [event()], new=True)
    return key


def descriptors() -> int:
    """How many files and connections this process has open."""
    return len(os.listdir("/dev/fd"))  # noqa: PTH208 - of no interest but their number


async def test_while_redis_is_down_nothing_is_saved_and_all_calls_say_so(log, key, private_redis):
    with private_redis.down():
        for call in [*calls(log, key), log.append(key, [event()])]:
            with pytest.raises(UnavailableError):
                await call
    assert len(await log.read(key, count=10)) == 1


async def test_restarts_between_calls_are_not_noticed(log, key, private_redis):
    await asyncio.gather(*(log.read(key, count=1) for _ in range(10)))
    for _ in range(5):
        with private_redis.down():
            pass  # nothing here gives the loop a turn, to notice that connections are closed
        appended = await asyncio.gather(*(log.append(key, [event()]) for _ in range(10)))
        assert len(set(map(tuple, appended))) == 10
    assert len(await log.read(key, count=100)) == 51


async def test_of_a_frozen_redis_calls_return_within_their_timeout(log, key, private_redis):
    with private_redis.frozen():
        started = time.monotonic()
        results = await asyncio.gather(*calls(log, key), return_exceptions=True)
        assert TIMEOUT * 0.9 < time.monotonic() - started < TIMEOUT * 10
    assert {type(result) for result in results} == {UnavailableError}
    assert all("within the log's timeout" in str(result) for result in results)
    await log.ping()


async def test_an_append_that_a_frozen_redis_may_have_seen_is_in_doubt(log, key, private_redis):
    with private_redis.frozen(), pytest.raises(OutcomeUnknownError):
        await log.append(key, [event(late=True)])
    await asyncio.sleep(0.1)
    # It was in the server's hands: it is in the log, once the server moves again.
    assert [entry.raw for entry in await log.read(key, count=10)] == [b"{}", b'{"late":true}']


async def test_an_append_for_which_no_connection_was_made_is_not_in_doubt(private_redis):
    fresh = EventLog(settings(private_redis.url))
    with private_redis.frozen(), pytest.raises(UnavailableError):
        await fresh.append(LogKey.stream(uuid4()), [event()], new=True)
    await fresh.close()


async def test_a_large_append_to_a_frozen_redis_leaves_nothing_of_itself(log, key, private_redis):
    """Half of it is in the server's hands: the rest neither waits in this process nor follows later."""
    before = descriptors()
    with private_redis.frozen():
        with pytest.raises(OutcomeUnknownError):
            await log.append(key, [event(x="y" * 15_000_000)])
        await asyncio.sleep(0.05)
        assert descriptors() == before - 1
    await log.ping()
    await asyncio.sleep(0.2)
    assert len(await log.read(key, count=10)) == 1


async def test_many_calls_wait_for_a_connection_no_longer_than_their_timeout(log, key, private_redis):
    with private_redis.frozen():
        started = time.monotonic()
        results = await asyncio.gather(*(log.read(key, count=1) for _ in range(200)), return_exceptions=True)
        assert time.monotonic() - started < TIMEOUT * 20
    assert {type(result) for result in results} == {UnavailableError}
    assert len(await asyncio.gather(*(log.read(key, count=1) for _ in range(200)))) == 200


async def test_what_was_acknowledged_survives_a_kill_and_what_was_refused_is_not_there(log, key, private_redis):
    """Appended all the while Redis is killed and restarted three times; afterwards the log is compared."""
    fates: dict[int, str] = {}
    going = True

    async def appender(who: int) -> None:
        n = 0
        while going:
            n += 1
            number = who * 1_000_000 + n
            try:
                await log.append(key, [event(number=number)])
                fates[number] = "saved"
            except UnavailableError:
                fates[number] = "not saved"
                await asyncio.sleep(0.01)
            except OutcomeUnknownError:
                fates[number] = "unknown"

    appenders = [asyncio.create_task(appender(who)) for who in range(10)]
    for _ in range(3):
        await asyncio.sleep(0.2)
        private_redis.kill()
        await asyncio.sleep(0.05)
        private_redis.start()
    await asyncio.sleep(0.2)
    going = False
    await asyncio.gather(*appenders)
    there = {entry.raw for entry in await log.read(key, count=1_000_000)}
    for number, fate in fates.items():
        if fate != "unknown":
            assert (b'{"number":%d}' % number in there) == (fate == "saved"), fate
    assert {"saved", "not saved"} <= set(fates.values())


@pytest.mark.parametrize(("cut", "saved"), [("request", False), ("answer", True)])
async def test_an_append_whose_connection_is_cut_is_in_doubt_either_way(cut, saved, key, between):
    proxy, log = between
    proxy.cut = cut
    with pytest.raises(OutcomeUnknownError):
        await log.append(key, [event(cut=True)])
    proxy.cut = None
    assert len(await log.read(key, count=10)) == 1 + saved


@pytest.mark.parametrize("cut", ["request", "answer"])
async def test_a_step_whose_connection_is_cut_is_sent_once(cut, key, between):
    proxy, log = between
    trips, proxy.cut = proxy.trips, cut
    with pytest.raises(UnavailableError):
        await log.step([Step(key, None, 10, appended=[PATCH])])
    assert proxy.trips == trips + 1
    proxy.cut = None
    await log.ping()


async def _cancelled(call, turns: int | None) -> str:
    """Run a call for some turns of the event loop, and cancel it; without a number, run it to its end."""
    task = asyncio.create_task(call)
    if turns is not None:
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        return "cancelled"
    return "answered"


async def test_cancelled_calls_leave_no_answer_for_others(patient):
    """2,000 calls, most of them cancelled at some point: every other gets the answer to its own question."""
    log = patient
    keys = [LogKey.stream(uuid4()) for _ in range(20)]
    for key in keys:
        await log.append(key, [event(key=str(key.id))], new=True)
    chance = random.Random(20261125)

    async def ask() -> None:
        key = chance.choice(keys)
        if chance.random() < 0.2:
            [added] = await log.append(key, [Event(type="delta", data={"key": str(key.id)})])
            [entry] = [it for it in await log.read_newest(key, 1_000) if it.position == added]
        else:
            [entry] = await log.read(key, count=1)
        assert entry.raw == b'{"key":"%s"}' % str(key.id).encode()

    def turns(number: int) -> int | None:
        # Every fifth is left to its end, on however busy a machine.
        return int(chance.expovariate(0.1)) if number % 5 else None

    fates = Counter()
    for _ in range(100):
        fates += Counter(await asyncio.gather(*(_cancelled(ask(), turns(number)) for number in range(20))))
    assert fates.total() == 2_000
    assert min(fates["answered"], fates["cancelled"]) > 200
    # All of the connections can be had at once, and each answers its own question.
    for key, entries in zip(keys * 5, await asyncio.gather(*(log.read(key, count=1) for key in keys * 5)), strict=True):
        assert entries[0].raw == b'{"key":"%s"}' % str(key.id).encode()


async def test_no_more_connections_are_held_than_allowed(patient, beside):
    await asyncio.gather(*(patient.read(LogKey.stream(uuid4()), count=1) for _ in range(500)))
    assert len(beside.client_list()) <= 32 + 1


@contextmanager
def demoted(private_redis, how):
    """The server takes no writes as long as the block lasts, as one that a failover has left behind."""
    replicas = "1" if how == "NOREPLICAS" else "0"
    with private_redis.configured(**{"min-replicas-to-write": replicas}), private_redis.client() as beside:
        if how == "READONLY":
            beside.replicaof("127.0.0.1", 1)
        try:
            yield
        finally:
            beside.replicaof("NO", "ONE")


@contextmanager
def busy(private_redis):
    """The server runs a script that does not end."""
    with private_redis.client() as beside, ThreadPoolExecutor() as pool:
        beside.config_set("lua-time-limit", 1)
        running = pool.submit(beside.eval, "while true do end", 0)
        time.sleep(0.2)
        try:
            yield
        finally:
            beside.script_kill()
        assert isinstance(running.exception(), redis.ResponseError)


@contextmanager
def unsaved(private_redis):
    """The server could not write its file, and takes nothing until it can."""
    folder = private_redis.path / "dump.rdb"
    folder.mkdir()
    with private_redis.configured(save="3600 1"), private_redis.client() as beside:
        with pytest.raises(redis.ResponseError):
            beside.save()
        beside.bgsave()
        time.sleep(0.3)
        try:
            yield
        finally:
            folder.rmdir()
            beside.save()


STATES = {
    "its memory is full": lambda private_redis: private_redis.configured(maxmemory="1"),
    "read-only replica": partial(demoted, how="READONLY"),
    "busy with a script": busy,
    "cannot persist": unsaved,
}


@pytest.mark.parametrize("why", STATES)
async def test_a_redis_that_refuses_for_now_says_why_and_saves_nothing(log, key, private_redis, why):
    with STATES[why](private_redis), pytest.raises(UnavailableError, match=why):
        await log.append(key, [event(), event()])
    assert len(await log.read(key, count=10)) == 1
    await log.append(key, [event()])


@pytest.mark.parametrize("how", ["READONLY", "NOREPLICAS"])
async def test_a_server_that_was_demoted_is_left_at_once(log, key, how, private_redis):
    await asyncio.gather(*(log.read(key, count=1) for _ in range(5)))
    assert len(log._client._idle) > 1
    with demoted(private_redis, how):
        with pytest.raises(NotWritableError):
            await log.append(key, [event()])
        assert log._client._idle == []
    await log.append(key, [event()])


async def test_a_reader_that_waits_is_told_of_the_demotion_and_the_server_is_left(log, key, private_redis):
    with log.watch.subscribe(key, None) as news:
        assert await news.take(5)
        await asyncio.gather(*(log.read(key, count=1) for _ in range(5)))
        with demoted(private_redis, "READONLY"):
            with pytest.raises(UnavailableError, match="it ended the command"):
                await news.take(5)
            assert log._client._idle == []


async def test_a_reader_that_waits_on_a_demoted_server_leaves_it_with_the_others(log, key, beside, private_redis):
    """Reads go on there: nothing would ever tell a process that only reads."""
    with log.watch.subscribe(key, None) as news:
        await news.take(1)
        await asyncio.sleep(0.05)
        waiting = {one["id"] for one in beside.client_list() if one["cmd"] == "xread"}
        assert waiting
        with demoted(private_redis, "NOREPLICAS"), pytest.raises(NotWritableError):
            await log.append(key, [event()])
        await asyncio.sleep(0.5)
        assert not waiting & {one["id"] for one in beside.client_list()}
        await log.append(key, [event()])
        assert await news.take(5)


async def test_a_silent_server_costs_the_calls_under_way_and_none_after(log, key, private_redis):
    await asyncio.gather(*(log.read(key, count=1) for _ in range(5)))
    with private_redis.frozen(), pytest.raises(UnavailableError):
        await log.read(key, count=1)
    assert log._client._idle == []
    assert len(await log.read(key, count=1)) == 1


@pytest.fixture
def odd(beside):
    """The key of a log where something of another kind is."""
    odd = LogKey.stream(uuid4())
    beside.set(odd.text(""), SECRET)
    return odd


async def test_a_key_of_another_kind_is_an_internal_error_that_shows_nothing(log, odd):
    for call in (log.append(odd, [event(x=SECRET)]), log.read(odd, count=1)):
        with pytest.raises(InternalError, match=str(odd.id)) as caught:
            await call
        assert SECRET not in "".join(traceback.format_exception(caught.value))
    await log.ping()


async def test_among_others_a_key_of_another_kind_harms_itself_only(log, key, odd):
    [first] = await log.read(key, count=1)
    for bad, good in (
        await log.ends([odd, key]),
        await log.read_each([(odd, None, 1), (key, None, 1)]),
        await log.step([Step(odd, first.position, 10), Step(key, first.position, 10)]),
    ):
        assert isinstance(bad, InternalError)
        assert str(odd.id) in str(bad)
        assert SECRET not in "".join(traceback.format_exception(bad))
        assert not isinstance(good, Exception)


async def test_an_append_of_which_a_part_would_be_refused_appends_nothing(log, key, beside):
    last = Event(type="user_message", data={}, key=uuid4())
    name = key.of_event("", str(last.key))
    beside.hset(name, "another", "type")
    with pytest.raises(InternalError, match="WRONGTYPE"):
        await log.append(key, [event(), last])
    assert len(await log.read(key, count=10)) == 1
    beside.delete(name)
    assert len(await log.append(key, [event(), last])) == 2
