"""The event log: each method, one round trip each, and what happens to a log together happens at once."""

import asyncio
import json
from uuid import uuid4

import pytest

from tests.support.any_log import delta, positions
from tests.support.log_calls import PATCH
from tests.support.proxies import proxy
from veupath_store.config import StoreSettings
from veupath_store.errors import (
    ConfigurationError,
    InternalError,
    InvalidInputError,
    NotFoundError,
    StoreClosedError,
)
from veupath_store.events.log.entries import Entry, Event, LogKey, Position
from veupath_store.events.log.log import EventLog, LogEnds, Step, Stepped
from veupath_store.inputs import limits

LAST = Position(2**64 - 1, 2**64 - 1)
AT_END = Stepped(is_there=True, holds_position=True, at_end=True, entries=[], positions=[])


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
    operation = uuid4()
    await log.append(key, [delta(a=1)], new=True)
    await log.append(LogKey.operation(operation), [delta(a=1)], new=True)
    for name in (f"stream:{key.id}", f"op:{operation}"):
        [(_, fields)] = beside.xrange(log_prefix + name)
        assert fields == {b"op": b"", b"type": b"assistant_delta", b"data": b'{"a":1}'}


async def test_an_append_to_a_log_that_is_not_there_makes_none(log, key, beside, log_prefix):
    with pytest.raises(NotFoundError) as caught:
        await log.append(key, [delta(), Event(type="user_message", data={})])
    assert caught.value.entity == "log"
    assert not list(beside.scan_iter(f"{log_prefix}*"))


async def test_a_log_without_entries_is_there(log, key):
    [first] = await log.append(key, [delta()], new=True)
    await log.discard(key, [first])
    assert await log.read(key, count=10) == []
    [second] = await log.append(key, [delta()])
    assert second > first


async def test_appending_nothing_asks_nothing(log, key):
    assert await log.append(key, []) == []


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


async def test_positions_are_ordered_as_integers(log, key, with_ids):
    wanted = with_ids("9-9", "9-10", "10-1", "100-0", "18446744073709551615-1", "18446744073709551615-10")
    assert positions(await log.read(key, count=10)) == wanted == sorted(wanted)
    for index, position in enumerate(wanted):
        assert positions(await log.read(key, after=position, count=10)) == wanted[index + 1 :]
        assert positions(await log.read_newest(key, 10, before=position)) == wanted[:index][::-1]
    assert positions(await log.read_newest(key, 2)) == wanted[:-3:-1]


async def test_a_page_is_bounded(log, key, with_ids):
    one, two, _, _ = with_ids("1-0", "2-0", "3-0", "4-0")
    assert positions(await log.read(key, after=one, count=1)) == [two]
    assert await log.read(key, count=0) == await log.read_newest(key, 0) == []


async def test_the_ends_of_what_positions_can_be(log, key, with_ids):
    with_ids("0-1", str(LAST))
    assert await log.read(key, after=LAST, count=10) == []
    assert await log.read_newest(key, 10, before=Position(0, 0)) == []
    assert positions(await log.read_newest(key, 10, before=LAST)) == [Position(0, 1)]
    assert positions(await log.read(key, after=Position(0, 0), count=1)) == [Position(0, 1)]
    assert await log.step([Step(key, LAST, 10)]) == [AT_END]


async def test_a_full_log_refuses_further_entries_as_an_internal_error(log, key, with_ids):
    with_ids(str(LAST))
    with pytest.raises(InternalError):
        await log.append(key, [delta()])


async def test_a_log_that_is_not_there_has_no_entries(log, key):
    assert await log.read(key, count=10) == await log.read_newest(key, 10) == []
    assert await log.ends([key]) == [None]
    assert await log.trim(key, LAST, beside=LAST) == 0
    assert await log.step([Step(key, LAST, 10)]) == [
        Stepped(is_there=False, holds_position=False, at_end=True, entries=[], positions=[])
    ]
    await log.discard(key, [LAST])
    await log.remove([key])


async def test_entries_of_others_are_read_as_they_are(log, key, beside, log_prefix):
    text = key.text(log_prefix)
    beside.execute_command("XADD", text, "1-0", "unknown", "x")
    beside.execute_command("XADD", text, "2-0", "type", b"\xff", "data", b"no json\xff", "op", b"\xfe", "extra", "x")
    assert await log.read(key, count=10) == [
        Entry(Position(1, 0), "", b"", ""),
        Entry(Position(2, 0), "�", b"no json\xff", "�"),
    ]


async def test_ends_tell_the_last_position_even_of_what_was_removed(log, key, with_ids):
    one, two, three = with_ids("1-0", "2-0", "3-0")
    other = LogKey.operation(uuid4())
    assert await log.ends([key, other, key]) == [LogEnds(one, three, three), None, LogEnds(one, three, three)]
    await log.discard(key, [three, one])
    assert await log.ends([key]) == [LogEnds(two, two, three)]
    await log.discard(key, [two])
    assert await log.ends([key]) == [LogEnds(None, None, three)]
    assert await log.ends([]) == []


async def test_trim_removes_exactly_what_is_before(log, key):
    appended = await log.append(key, [delta(n=n) for n in range(1_000)], new=True)
    assert await log.trim(key, appended[333], beside=appended[-1]) == 333
    assert positions(await log.read(key, count=1_000)) == appended[333:]
    assert await log.trim(key, appended[333], beside=appended[-1]) == 0


async def test_trim_removes_nothing_where_the_entry_that_must_be_there_is_not(log, key, with_ids):
    one, two, three = with_ids("1-0", "2-0", "3-0")
    await log.discard(key, [three])
    assert await log.trim(key, two, beside=three) == 0
    assert positions(await log.read(key, count=9)) == [one, two]


async def test_several_logs_are_read_at_once(log, key, with_ids):
    one, two, three = with_ids("1-0", "2-0", "3-0")
    first, rest, of_none = await log.read_each([(key, None, 2), (key, two, 2), (LogKey.stream(uuid4()), one, 2)])
    assert (positions(first), positions(rest), of_none) == ([one, two], [three], [])
    assert await log.read_each([]) == []


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


async def test_remove_takes_logs_and_their_marks(log, beside, log_prefix):
    keys = [LogKey.stream(uuid4()), LogKey.stream(uuid4()), LogKey.operation(uuid4())]
    for key in keys:
        await log.append(key, [Event(type="user_message", data={})], new=True)
    await log.remove(keys)
    await log.remove([])
    assert not list(beside.scan_iter(f"{log_prefix}*"))


async def test_an_event_with_a_key_is_appended_once(log, key, beside, log_prefix):
    once, twice = Event(type="user_message", data={"n": 1}, key=uuid4()), delta(n=2)
    first = await log.append(key, [once, twice], new=True)
    again = await log.append(key, [twice, once, once])
    assert again[1:] == [first[0], first[0]]
    assert positions(await log.read(key, count=9)) == [*first, again[0]]
    ttl = beside.ttl(key.of_event(log_prefix, str(once.key)))
    assert 86_300 < ttl <= 86_400
    other = LogKey.stream(uuid4())
    assert await log.append(other, [once, once], new=True) == 2 * positions(await log.read(other, count=9))


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


async def test_entries_after_a_position_are_counted_without_being_read(log, key):
    assert await log.count_after(key, None, 10) == (0, None)
    one, two, three = await log.append(key, [Event(type="x", data={})] * 3, new=True)
    assert await log.count_after(key, None, 10) == (3, one)
    assert await log.count_after(key, one, 10) == (2, two)
    assert await log.count_after(key, three, 10) == (0, None)


async def test_one_of_several_processes_sweeps_within_a_span(log):
    assert [await log.claim_sweep(0.2) for _ in range(3)] == [True, False, False]
    await asyncio.sleep(0.25)
    assert await log.claim_sweep(0.2)


async def test_every_method_is_one_round_trip(any_log, key, tmp_path):
    async with proxy(any_log.url, tmp_path) as counting:
        log = EventLog(any_log._replace(url=counting.redis_url).settings)
        await log.ping()
        keys = [key, LogKey.operation(uuid4()), LogKey.stream(uuid4())]
        message = Event(type="user_message", data={"content": "x" * 1_000})
        calls = {
            "append": lambda: log.append(key, [message] * 20, new=True),
            "step": lambda: log.step([Step(it, None, 10, "new", [PATCH] * 10) for it in keys]),
            "read": lambda: log.read(key, count=10),
            "read_each": lambda: log.read_each([(it, None, 10) for it in keys]),
            "read_newest": lambda: log.read_newest(key, 10),
            "ends": lambda: log.ends(keys),
            "count_after": lambda: log.count_after(key, Position(1, 0), 10),
            "trim": lambda: log.trim(key, Position(1, 0), beside=Position(1, 0)),
            "scan": lambda: log.scan(key.kind, 0),
            "check_writable": log.check_writable,
            "discard": lambda: log.discard(key, [Position(1, 0), Position(2, 0)]),
            "remove": lambda: log.remove(keys),
            "refuse": lambda: log.refuse([uuid4(), uuid4()]),
            "behind": lambda: log.behind(10),
            "caught_up": lambda: log.caught_up([(uuid4(), 1.0), (uuid4(), 2.0)]),
            "backlog": log.backlog,
            "claim_sweep": lambda: log.claim_sweep(1),
            "hold": lambda: log.hold("this database"),
            "holder": log.holder,
            "ping": log.ping,
        }
        assert calls.keys() == {name for name in dir(EventLog) if not name.startswith("_")} - {"close", "pages"}
        trips = {}
        for name, call in calls.items():
            before = counting.trips
            await call()
            trips[name] = counting.trips - before
        assert trips == dict.fromkeys(calls, 1)
        assert counting.connections == 1
        await log.close()


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
