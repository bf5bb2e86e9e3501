"""The event log: each method, one round trip each, and what happens to a log together happens at once."""

import asyncio
import json
from uuid import uuid4

import pytest

from tests.support.any_log import redis_log
from tests.support.proxies import proxy
from veupath_store import limits
from veupath_store.config import StoreSettings
from veupath_store.errors import (
    ConfigurationError,
    InternalError,
    InvalidInputError,
    NotFoundError,
    StoreClosedError,
)
from veupath_store.events.entries import Entry, Event, Position
from veupath_store.events.keys import LogKey
from veupath_store.events.log import EventLog, Exchange, Exchanged, LogEnds

LAST = Position(2**64 - 1, 2**64 - 1)


def delta(**data) -> Event:
    return Event(type="assistant_delta", data=data)


@pytest.fixture
def settings(any_log):
    return any_log.settings


@pytest.fixture
def log_prefix(any_log):
    return any_log.prefix


@pytest.fixture
async def log(settings):
    log = EventLog(settings)
    yield log
    await log.close()


@pytest.fixture
def key():
    return LogKey.stream(uuid4())


@pytest.fixture
def beside(any_log):
    """A client that the store knows nothing of."""
    return any_log.beside


@pytest.fixture
def with_ids(beside, log_prefix, key):
    """Appends an entry at a position of the test's choice."""

    def append(*positions: str) -> list[Position]:
        for position in positions:
            beside.execute_command("XADD", key.text(log_prefix), position, "type", "x", "data", "{}")
        return [Position.parse(position) for position in positions]

    return append


def positions(entries: list[Entry]) -> list[Position]:
    return [entry.position for entry in entries]


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
        (delta(x=float("nan")), "events[1].data.x"),
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


async def test_what_no_character_is_becomes_the_replacement_character(log, key):
    await log.append(key, [delta(**{"a\0": "x\ud800y", "b": ["\udc00\0", {"\ud800": "\\u0000 😀"}]})], new=True)
    [entry] = await log.read(key, count=1)
    assert json.loads(entry.raw) == {"a�": "x�y", "b": ["��", {"�": "\\u0000 😀"}]}


async def test_the_largest_document_passes(log, key):
    text = "x" * (limits.DOCUMENT_BYTES - len('{"x":""}'))
    await log.append(key, [delta(x=text)], new=True)
    [entry] = await log.read_newest(key, 1)
    assert len(entry.raw) == limits.DOCUMENT_BYTES
    [ends] = await log.ends([key])
    assert ends == LogEnds(entry.position, entry.position, entry.position, 1)


async def test_positions_are_ordered_as_integers(log, key, with_ids):
    wanted = with_ids("9-9", "9-10", "10-1", "100-0", "18446744073709551615-1", "18446744073709551615-10")
    assert positions(await log.read(key, count=10)) == wanted == sorted(wanted)
    for index, position in enumerate(wanted):
        assert positions(await log.read(key, after=position, count=10)) == wanted[index + 1 :]
        assert positions(await log.read(key, before=position, count=10)) == wanted[:index]
    assert positions(await log.read_newest(key, 2)) == wanted[:-3:-1]


async def test_a_page_is_bounded_on_both_sides(log, key, with_ids):
    one, two, three, four = with_ids("1-0", "2-0", "3-0", "4-0")
    assert positions(await log.read(key, after=one, before=four, count=10)) == [two, three]
    assert positions(await log.read(key, after=one, count=1)) == [two]
    assert positions(await log.read(key, after=two, before=one, count=9)) == []
    assert await log.read(key, count=0) == await log.read_newest(key, 0) == []


async def test_the_ends_of_what_positions_can_be(log, key, with_ids):
    with_ids("0-1", str(LAST))
    assert await log.read(key, after=LAST, count=10) == []
    assert await log.read(key, before=Position(0, 0), count=10) == []
    assert positions(await log.read(key, after=Position(0, 0), before=LAST, count=10)) == [Position(0, 1)]
    assert await log.exchange([Exchange(key, LAST)]) == [Exchanged([], [], whole=True)]


async def test_a_full_log_refuses_further_entries_as_an_internal_error(log, key, with_ids):
    with_ids(str(LAST))
    with pytest.raises(InternalError):
        await log.append(key, [delta()])


async def test_a_log_that_is_not_there_has_no_entries(log, key):
    assert await log.read(key, count=10) == await log.read_newest(key, 10) == []
    assert await log.ends([key]) == [None]
    assert await log.trim(key, LAST) == 0
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
    assert await log.ends([key, other, key]) == [LogEnds(one, three, three, 3), None, LogEnds(one, three, three, 3)]
    await log.discard(key, [three, one])
    assert await log.ends([key]) == [LogEnds(two, two, three, 1)]
    await log.discard(key, [two])
    assert await log.ends([key]) == [LogEnds(None, None, three, 0)]
    assert await log.ends([]) == []


async def test_trim_removes_exactly_what_is_before(log, key):
    appended = await log.append(key, [delta(n=n) for n in range(1_000)], new=True)
    assert await log.trim(key, appended[333]) == 333
    assert positions(await log.read(key, count=1_000)) == appended[333:]
    assert await log.trim(key, appended[333]) == 0


async def test_remove_takes_logs_and_their_marks(log, beside, log_prefix):
    keys = [LogKey.stream(uuid4()), LogKey.stream(uuid4()), LogKey.operation(uuid4())]
    for key in keys:
        await log.append(key, [Event(type="user_message", data={})], new=True)
    await log.remove(keys)
    await log.remove([])
    assert not list(beside.scan_iter(f"{log_prefix}*"))


async def test_an_exchange_reads_what_was_there_and_appends(log, key, with_ids):
    one, two = with_ids("1-0", "2-0")
    [exchanged] = await log.exchange([Exchange(key, one, [("a", b'{"n":1}'), ("b", b"{}")])])
    assert positions(exchanged.entries) == [two]
    assert await log.read(key, after=two, count=10) == [
        Entry(exchanged.positions[0], "a", b'{"n":1}', ""),
        Entry(exchanged.positions[1], "b", b"{}", ""),
    ]


async def test_the_parts_of_an_exchange_do_not_mix(log, key, with_ids):
    one, two, _ = with_ids("1-0", "2-0", "3-0")
    absent, new, operation = LogKey.stream(uuid4()), LogKey.stream(uuid4()), LogKey.operation(uuid4())
    parts = [
        Exchange(key, count=2),
        Exchange(absent, appended=[("x", b"{}")]),
        Exchange(new, appended=[("x", b"{}")], new=True),
        Exchange(absent),
        Exchange(operation, LAST, [("y", b"{}"), ("z", b"{}")], new=True),
        Exchange(key, remove_first=True, new=True, appended=[("again", b"{}")]),
        Exchange(new),
    ]
    of_key, of_absent, of_new, still_absent, of_operation, of_emptied, of_new_again = await log.exchange(parts)
    assert positions(of_key.entries) == [one, two]
    assert of_key.positions == []
    assert of_absent == still_absent == Exchanged([], None, whole=True)
    assert positions(of_new_again.entries) == of_new.positions
    assert len(of_operation.positions) == 2
    assert of_emptied.entries == []
    assert positions(await log.read(key, count=9)) == of_emptied.positions
    assert await log.exchange([]) == []


async def test_an_exchange_with_an_emptied_log_makes_none_unless_it_is_new(log, key, with_ids):
    with_ids("1-0")
    assert await log.exchange([Exchange(key, remove_first=True, appended=[("x", b"{}")])]) == [
        Exchanged([], None, whole=True)
    ]
    assert await log.ends([key]) == [None]


async def test_between_what_an_exchange_reads_and_appends_nobody_appends(settings, key):
    """Twenty clients append; every entry is read by exactly one of the exchanges, in order, between two of its own.

    What is exchanged is so large that the server receives it in pieces, and serves others in between.
    """
    patch = b'{"x":"%s"}' % (b"y" * 200_000)
    others = [EventLog(settings) for _ in range(20)]
    log = EventLog(settings)
    [start] = await log.append(key, [delta()], new=True)
    running = 20

    async def appending(other: EventLog) -> None:
        nonlocal running
        for _ in range(50):
            await other.append(key, [delta(), delta()])
        running -= 1

    async def exchanging() -> list[Position]:
        seen, after, last = [start], start, False
        while not last:
            last = not running
            [exchanged] = await log.exchange([Exchange(key, after, [("patch", patch)])])
            seen += [*positions(exchanged.entries), *exchanged.positions]
            after = exchanged.positions[-1]
        return seen

    seen, *_ = await asyncio.gather(exchanging(), *(appending(other) for other in others))
    assert seen == positions(await log.read(key, count=10_000))
    assert sum(entry.type == "assistant_delta" for entry in await log.read(key, count=10_000)) == 2_001
    for one in (log, *others):
        await one.close()


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


async def test_an_exchange_tells_whether_the_log_still_holds_the_entry_that_it_reads_on_from(log, key):
    _, two = await log.append(key, [Event(type="x", data={})] * 2, new=True)
    kept, none = await log.exchange([Exchange(key, two), Exchange(LogKey.stream(uuid4()), two)])
    assert (kept.whole, kept.positions, none.whole, none.positions) == (True, [], False, None)
    await log.discard(key, [two])
    [lost] = await log.exchange([Exchange(key, two, appended=[("y", b"{}")])])
    assert (lost.whole, lost.entries, len(lost.positions)) == (False, [], 1)


async def test_entries_after_a_position_are_counted_without_being_read(log, key):
    assert await log.count_after(key, None) == (0, None)
    one, two, three = await log.append(key, [Event(type="x", data={})] * 3, new=True)
    assert await log.count_after(key, None) == (3, one)
    assert await log.count_after(key, one) == (2, two)
    assert await log.count_after(key, three) == (0, None)


async def test_one_of_several_processes_sweeps_within_a_span(log):
    assert [await log.take_sweep(0.2) for _ in range(3)] == [True, False, False]
    await asyncio.sleep(0.25)
    assert await log.take_sweep(0.2)


async def test_every_method_is_one_round_trip(redis_url, key, tmp_path):
    with redis_log(redis_url) as real:
        await count_round_trips(real, key, tmp_path)


async def count_round_trips(real, key, tmp_path):
    async with proxy(real.url, tmp_path) as counting:
        log = EventLog(real._replace(url=counting.redis_url).settings)
        await log.ping()
        keys = [key, LogKey.operation(uuid4()), LogKey.stream(uuid4())]
        message = Event(type="user_message", data={"content": "x" * 1_000})
        calls = {
            "append": lambda: log.append(key, [message] * 20, new=True),
            "exchange": lambda: log.exchange([Exchange(it, None, [("x", b"{}")] * 10) for it in keys]),
            "read": lambda: log.read(key, count=10),
            "read_first": lambda: log.read_first(keys, 10),
            "read_newest": lambda: log.read_newest(key, 10),
            "newest_but": lambda: log.newest_but(key, 3),
            "ends": lambda: log.ends(keys),
            "count_after": lambda: log.count_after(key, Position(1, 0)),
            "trim": lambda: log.trim(key, Position(1, 0)),
            "discard": lambda: log.discard(key, [Position(1, 0), Position(2, 0)]),
            "remove": lambda: log.remove(keys),
            "remove_empty": lambda: log.remove_empty(keys),
            "behind": lambda: log.behind(10),
            "caught_up": lambda: log.caught_up([(uuid4(), 1.0), (uuid4(), 2.0)]),
            "backlog": log.backlog,
            "take_sweep": lambda: log.take_sweep(1),
            "ping": log.ping,
        }
        assert calls.keys() == {name for name in dir(EventLog) if not name.startswith("_")} - {"close"}
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


async def test_only_logs_without_entries_are_removed_as_empty(log, key):
    other = LogKey.stream(uuid4())
    await log.append(key, [Event(type="x", data={})], new=True)
    await log.discard(other, await log.append(other, [Event(type="x", data={})], new=True))
    await log.remove_empty([key, other, LogKey.stream(uuid4())])
    assert await log.ends([other]) == [None]
    assert len(await log.read(key, count=10)) == 1
