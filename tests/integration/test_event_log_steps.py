"""Steps of the event log: what follows a position is read, and at the end of the log something is appended."""

import asyncio
from uuid import uuid4

from tests.support.any_log import delta, positions
from tests.support.log_calls import PATCH
from veupath_store.events.log.entries import Entry, LogKey, Position
from veupath_store.events.log.log import EventLog, Step
from veupath_store.events.log.pages import BYTES

LAST = Position(2**64 - 1, 2**64 - 1)


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


async def test_a_step_reads_what_follows_the_position_and_appends_to_the_end(log, key, with_ids):
    one, two = with_ids("1-0", "2-0")
    event, operation = str(uuid4()), str(uuid4())
    [stepped] = await log.step([Step(key, one, 10, appended=[PATCH, (operation, "a", '{"n":1}', event)])])
    assert (stepped.is_there, stepped.holds_position, stepped.at_end) == (True, True, True)
    assert positions(stepped.entries) == [two]
    patch, after = stepped.positions
    assert await log.read(key, after=two, count=10) == [
        Entry(patch, "projection_patched", b"{}"),
        Entry(after, "a", b'{"n":1}', operation, event),
    ]


async def test_a_step_appends_nothing_where_something_else_comes_first(log, key, with_ids, any_log):
    one, two, three = with_ids("1-0", "2-0", "3-0")
    of_a_unit = {"op": "", "type": "assistant_delta", "data": "{}", "key": str(uuid4())}
    for after, count, held, at_end in (
        (None, 10, True, True),  # a row without a position begins its log, or finds its beginning
        (one, 2, True, False),
        (Position(1, 1), 10, False, True),
        (LAST, 10, False, True),
    ):
        [stepped] = await log.step([Step(key, after, count, appended=[PATCH])])
        assert (stepped.holds_position, stepped.at_end, stepped.positions) == (held, at_end, [])
    for number, (fields, appends) in enumerate(
        [
            ({"op": "", "type": "user_message", "data": "{}"}, False),
            ({"op": "", "type": "projection_patched", "data": "{}"}, False),
            (of_a_unit, False),
            ({"op": "", "type": "assistant_delta", "data": "{}"}, True),
            ({"without": "a type"}, True),
        ]
    ):
        other = LogKey.stream(uuid4())
        any_log.beside.xadd(other.text(any_log.prefix), {"type": "x"}, id="1-0")
        any_log.beside.xadd(other.text(any_log.prefix), fields, id="2-0")
        [stepped] = await log.step([Step(other, one, 10, appended=[PATCH])])
        assert (positions(stepped.entries), bool(stepped.positions)) == ([two], appends), number
    assert positions(await log.read(key, count=10)) == [one, two, three]


async def test_a_step_begins_a_log_only_where_there_is_none_and_beyond_the_position(log, key):
    begun, again = await log.step([Step(key, None, 10, "new", [PATCH]), Step(key, None, 10, "new", [PATCH])])
    assert (begun.is_there, again.is_there, again.positions) == (False, True, [])
    assert positions(again.entries) == begun.positions
    for last in (begun.positions[0], Position(2**63, 7), Position(2**63, LAST.seq)):
        other = LogKey.stream(uuid4())
        [lost] = await log.step([Step(other, last, 10, "new", [PATCH, PATCH], last.after)])
        assert last < lost.positions[0] < lost.positions[1]


async def test_a_step_replaces_a_log_only_as_long_as_nothing_was_appended_to_it(log, key, with_ids):
    one, two = with_ids("1-0", "2-0")
    [late] = await log.step([Step(key, None, 10, "replace", [PATCH], one)])
    assert late.positions == []
    assert positions(await log.read(key, count=10)) == [one, two]
    [replaced] = await log.step([Step(key, None, 10, "replace", [PATCH], two)])
    assert positions(await log.read(key, count=10)) == replaced.positions != []


async def test_steps_of_several_logs_do_not_mix(log, key, with_ids):
    one, two, three = with_ids("1-0", "2-0", "3-0")
    absent, new = LogKey.stream(uuid4()), LogKey.stream(uuid4())
    steps = [
        Step(key, None, 2),
        Step(absent, one, 10, appended=[PATCH]),
        Step(new, None, 10, "new", [PATCH, PATCH]),
        Step(key, two, 10, appended=[PATCH]),
        Step(new, None, 10),
    ]
    of_key, of_absent, of_new, again, of_new_again = await log.step(steps)
    assert (positions(of_key.entries), of_key.positions) == ([one, two], [])
    assert (of_absent.is_there, of_absent.positions) == (False, [])
    assert (positions(again.entries), len(again.positions)) == ([three], 1)
    assert positions(of_new_again.entries) == of_new.positions
    assert len(of_new.positions) == 2
    assert await log.ends([absent]) == [None]
    assert await log.step([]) == []


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
