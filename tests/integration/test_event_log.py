"""The event log: each method, one round trip each, and what happens to a log together happens at once."""

import asyncio
import json
from uuid import uuid4

import pytest

from tests.support.any_log import delta, positions
from tests.support.log_calls import named_calls
from tests.support.naive_logs import NaiveLogs
from tests.support.proxies import proxy
from veupath_store.config import StoreSettings
from veupath_store.errors import (
    ConfigurationError,
    InternalError,
    InvalidInputError,
    StoreClosedError,
)
from veupath_store.events.log.entries import Entry, Event, LogKey, Position
from veupath_store.events.log.log import EventLog, Step
from veupath_store.events.log.pages import BYTES
from veupath_store.events.log.scripts import BEHIND
from veupath_store.inputs import limits

LAST = Position(2**64 - 1, 2**64 - 1)
MESSAGE = Event(type="user_message", data={})


@pytest.fixture
def settings(any_log):
    return any_log.settings


@pytest.fixture
def log_prefix(any_log):
    return any_log.prefix


@pytest.fixture
def beside(any_log):
    """A client that the store knows nothing of."""
    return any_log.beside


@pytest.mark.parametrize("seed", range(10))
async def test_every_call_does_what_it_does_to_lists(log, seed):
    logs = NaiveLogs(log, seed)
    for _ in range(300):
        await logs.do()


async def test_what_is_appended_reads_back_in_order(log, key):
    operation = uuid4()
    events = [
        Event(type="user_message", data={"content": "häj"}, operation_id=operation),
        Event(type="assistant_delta", data={}, operation_id=str(operation)),
        Event(type="never heard of", data={"n": [1, 2.5, None, True]}),
    ]
    appended = await log.append(key, events, new=True)
    assert await log.read(key, count=10) == [
        Entry(appended[0], "user_message", '{"content":"häj"}'.encode(), str(operation)),
        Entry(appended[1], "assistant_delta", b"{}", str(operation)),
        Entry(appended[2], "never heard of", b'{"n":[1,2.5,null,true]}', ""),
    ]


async def test_the_keys_and_fields_are_the_documented_ones(log, key, beside, log_prefix):
    operation, event = uuid4(), uuid4()
    await log.append(key, [Event(type="assistant_delta", data={"a": 1}, key=event)], new=True)
    await log.append(LogKey.operation(operation), [delta(a=1)], new=True)
    for name in (f"stream:{key.id}", f"op:{operation}"):
        [(_, fields)] = beside.xrange(log_prefix + name)
        assert fields == {b"op": b"", b"type": b"assistant_delta", b"data": b'{"a":1}'}
    assert 86_300 < beside.ttl(key.of_event(log_prefix, str(event))) <= 86_400


async def test_a_refused_event_refuses_all_and_is_named(log, key):
    await log.append(key, [delta()], new=True)
    for bad, path in (
        (delta(x={1, 2}), "events[1].data.x"),
        (delta(x="y" * limits.DOCUMENT_BYTES), "events[1].data"),
        (Event(type="", data={}), "events[1].type"),
        (Event(type="x" * 101, data={}), "events[1].type"),
        (Event(type="x", data=[]), "events[1].data"),  # type: ignore[arg-type]
        (Event(type="x", data={}, operation_id="x"), "events[1].operation_id"),
    ):
        with pytest.raises(InvalidInputError) as caught:
            await log.append(key, [delta(), bad])
        assert caught.value.path == path
    assert len(await log.read(key, count=10)) == 1


async def test_a_full_log_refuses_further_entries_as_an_internal_error(log, key, any_log):
    any_log.beside.xadd(key.text(any_log.prefix), {"x": "y"}, id=str(LAST))
    with pytest.raises(InternalError):
        await log.append(key, [delta()])


async def test_entries_of_others_are_read_as_they_are(log, key, beside, log_prefix):
    text = key.text(log_prefix)
    beside.execute_command("XADD", text, "1-0", "unknown", "x")
    beside.execute_command("XADD", text, "2-0", "type", b"\xff", "data", b"no json\xff", "op", b"\xfe", "extra", "x")
    assert await log.read(key, count=10) == [
        Entry(Position(1, 0), "", b"", ""),
        Entry(Position(2, 0), "�", b"no json\xff", "�"),
    ]


async def test_all_of_a_log_is_read_page_by_page(log, key):
    appended = await log.append(key, [delta(n=n) for n in range(300)], new=True)
    pages = [page async for page in log.pages(key)]
    assert [position for page in pages for position in positions(page)] == appended
    assert [len(page) for page in pages] == [64, 236]
    assert [positions(page) async for page in log.pages(key, appended[298])] == [[appended[299]]]


async def test_a_scan_names_the_logs_of_one_kind(log, beside, log_prefix):
    streams = [LogKey.stream(uuid4()) for _ in range(3)]
    for each in (*streams, LogKey.operation(uuid4())):
        await log.append(each, [delta()], new=True)
    beside.set(f"{log_prefix}stream:of another kind", "x")
    found, cursor, more = set(), 0, True
    while more:
        cursor, names = await log.scan(streams[0].kind, cursor)
        found, more = found | set(names), cursor != 0
    assert found == {*(str(each.id) for each in streams), "of another kind"}


async def test_of_nothing_nothing_is_asked(log, key):
    assert await log.append(key, []) == await log.ends([]) == await log.read_each([]) == await log.step([]) == []
    for call in (log.discard(key, []), log.remove([]), log.caught_up([])):
        await call
    assert log._client._idle == []


async def test_of_many_repetitions_at_once_one_is_appended(settings, key):
    logs = [EventLog(settings) for _ in range(5)]
    await logs[0].append(key, [delta()], new=True)
    events = [Event(type="user_message", data={"n": n}, key=uuid4()) for n in range(10)]
    answers = await asyncio.gather(*(log.append(key, events) for log in logs for _ in range(10)))
    assert len(set(map(tuple, answers))) == 1
    assert len(await logs[0].read(key, count=1_000)) == 11
    for log in logs:
        await log.close()


async def test_events_that_are_appended_together_stay_together(settings, key):
    others = [EventLog(settings) for _ in range(10)]
    await others[0].append(key, [delta()], new=True)
    await asyncio.gather(
        *(
            other.append(key, [delta(who=who, n=n, x="y" * 50_000) for n in range(5)])
            for who, other in enumerate(others)
            for _ in range(10)
        )
    )
    told = [json.loads(entry.raw) for entry in (await others[0].read(key, count=10_000))[1:]]
    for first in range(0, len(told), 5):
        assert [(it["who"], it["n"]) for it in told[first : first + 5]] == [(told[first]["who"], n) for n in range(5)]
    for other in others:
        await other.close()


async def test_one_of_several_processes_sweeps_within_a_span(log):
    assert [await log.claim_sweep(0.2) for _ in range(3)] == [True, False, False]
    await asyncio.sleep(0.25)
    assert await log.claim_sweep(0.2)


async def test_every_method_is_one_round_trip(any_log, key, tmp_path):
    async with proxy(any_log.url, tmp_path) as counting:
        log = EventLog(any_log._replace(url=counting.redis_url).settings)
        await log.ping()
        message = Event(type="user_message", data={"content": "x" * 1_000})
        keys = [key, LogKey.operation(uuid4()), LogKey.stream(uuid4())]
        made = {
            "append": lambda: log.append(key, [message] * 20, new=True),
            "refuse": lambda: log.refuse([uuid4(), uuid4()]),
            **named_calls(log, *keys),
        }
        assert made.keys() == {name for name in dir(EventLog) if not name.startswith("_")} - {"close", "pages"}
        trips = {}
        for name, call in made.items():
            before = counting.trips
            await call()
            trips[name] = counting.trips - before
        assert trips == dict.fromkeys(made, 1)
        assert counting.connections == 1
        await log.close()


async def test_a_step_reads_up_to_its_end_or_as_many_as_are_a_page_together(log, key):
    other = LogKey.stream(uuid4())
    small = await log.append(key, [delta(n=n) for n in range(300)], new=True)
    large = [await log.append(other, [delta(text="x" * 40_000) for _ in range(10)], new=True) for _ in range(30)]
    [alone] = await log.step([Step(key, None, 2_000)])
    assert (positions(alone.entries), alone.at_end) == (small, True)
    [counted] = await log.step([Step(key, None, 100)])
    assert (positions(counted.entries), counted.at_end) == (small[:100], False)
    of_one, of_other = await log.step([Step(other, None, 2_000), Step(key, None, 2_000)])
    assert len(of_other.entries) == 300, "small ones are not fewer because others are large"
    assert not of_one.at_end
    assert sum(len(entry.raw) for entry in of_one.entries) < BYTES // 2 + 64 * 41_000
    assert positions(of_one.entries) == [position for batch in large for position in batch][: len(of_one.entries)]
    [bounded] = await log.step([Step(other, None, 2_000)])
    assert BYTES < sum(len(entry.raw) for entry in bounded.entries) < BYTES + 64 * 41_000


async def test_how_large_entries_are_is_seen_before_many_of_them_are_read(log, key):
    for _ in range(8):
        await log.append(key, [delta(text="x" * BYTES)], new=True)
    [stepped] = await log.step([Step(key, None, 2_000)])
    assert len(stepped.entries) == 1
    assert await log.count_after(key, None, 1_000) == (1, stepped.entries[0].position)


async def test_between_what_a_step_reads_and_appends_nobody_appends(any_log, key):
    """Twenty clients append; every entry is read by exactly one of the steps, in order, between two of its own.

    What is appended is so large that the server receives it in pieces, and serves others in between.
    """
    patch = ("", "projection_patched", b'{"x":"%s"}' % (b"y" * 200_000), "")
    others = [EventLog(any_log.settings) for _ in range(20)]
    log = EventLog(any_log.settings)
    [start] = await log.append(key, [delta()], new=True)
    running = 20

    async def appending(other: EventLog) -> None:
        nonlocal running
        for _ in range(50):
            await other.append(key, [delta(), delta()])
        running -= 1

    async def stepping() -> list[Position]:
        seen, after, last = [start], start, False
        while not last:
            last = not running
            [stepped] = await log.step([Step(key, after, 10_000, appended=[patch])])
            seen += [*positions(stepped.entries), *stepped.positions]
            after = stepped.positions[-1]
        return seen

    seen, *_ = await asyncio.gather(stepping(), *(appending(other) for other in others))
    assert seen == positions(await log.read(key, count=10_000))
    assert sum(entry.type == "assistant_delta" for entry in await log.read(key, count=10_000)) == 2_001
    for one in (log, *others):
        await one.close()


async def test_members_that_are_no_streams_are_removed_and_hide_nothing(log, key, any_log, caplog):
    await log.append(key, [MESSAGE], new=True)
    any_log.beside.zadd(f"{any_log.prefix}{BEHIND}", {f"odd {n}": n for n in range(300)} | {b"\xff": 0})
    assert [found for found, _ in await log.behind(10)] == [key.id]
    assert (await log.backlog()).count == 1
    assert BEHIND in caplog.text


async def test_no_mark_is_lost_between_those_who_append_and_those_who_catch_up(log, any_log):
    """Three workers take marks away while events are appended. At every end, what was not seen is marked."""
    streams = [LogKey.stream(uuid4()) for _ in range(5)]
    for stream in streams:
        await log.append(stream, [MESSAGE], new=True)
    seen_up_to = {}
    appending = True

    async def appender(stream: LogKey) -> None:
        for turn in range(200):
            await log.append(stream, [MESSAGE])
            await asyncio.sleep(0.005 * (turn % 10 == 0))

    async def worker() -> None:
        while appending or (await log.backlog()).count:
            seen = await log.behind(3)
            for stream_id, _ in seen:
                [newest] = await log.read_newest(LogKey.stream(stream_id), 1)
                seen_up_to[stream_id] = max(newest.position, seen_up_to.get(stream_id, newest.position))
            await asyncio.sleep(0)
            await log.caught_up(seen)

    workers = [asyncio.create_task(worker()) for _ in range(3)]
    await asyncio.gather(*map(appender, streams))
    appending = False
    await asyncio.gather(*workers)
    for stream in streams:
        [newest] = await log.read_newest(stream, 1)
        assert seen_up_to[stream.id] == newest.position
    assert not any_log.beside.exists(f"{any_log.prefix}projections:behind")


async def test_a_closed_log_says_so_and_may_be_closed_again(log, key):
    await log.ping()
    await log.close()
    await log.close()
    with pytest.raises(StoreClosedError):
        await log.read(key, count=1)


def test_nothing_is_opened_by_making_a_log():
    EventLog(StoreSettings(database_url="postgresql://nowhere/store", redis_url="redis://nowhere.invalid"))


def test_a_log_without_an_address_says_what_to_set():
    with pytest.raises(ConfigurationError, match=r"^REDIS_URL is not set.*redis://.*embedded:PATH"):
        EventLog(StoreSettings(database_url="postgresql://nowhere/store"))
