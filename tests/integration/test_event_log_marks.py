"""The marks of streams whose projections are behind: made by appending, taken away by having caught up."""

import asyncio
import time
from uuid import UUID, uuid4

from veupath_store.events.log.entries import Event, LogKey
from veupath_store.events.log.log import EventLog
from veupath_store.events.log.scripts import BEHIND

MESSAGE = Event(type="user_message", data={})
DELTA = Event(type="assistant_delta", data={})


async def marked(log: EventLog) -> UUID:
    stream_id = uuid4()
    await log.append(LogKey.stream(stream_id), [DELTA, MESSAGE], new=True)
    return stream_id


async def test_an_event_that_changes_the_projection_marks_its_stream(log):
    stream_id = await marked(log)
    [(found, since)] = await log.behind(10)
    assert found == stream_id
    assert abs(since / 1_000 - time.time()) < 60
    assert (await log.backlog()).count == 1


async def test_other_events_and_the_logs_of_operations_mark_nothing(log):
    await log.append(LogKey.stream(uuid4()), [DELTA], new=True)
    await log.append(LogKey.operation(uuid4()), [MESSAGE], new=True)
    assert await log.behind(10) == []
    assert (await log.backlog()).count == 0


async def test_the_oldest_mark_comes_first_whatever_is_appended_later(log):
    streams = [await marked(log) for _ in range(5)]
    for stream_id in reversed(streams):
        await log.append(LogKey.stream(stream_id), [MESSAGE])
    assert [stream_id for stream_id, _ in await log.behind(10)] == streams
    assert [stream_id for stream_id, _ in await log.behind(2)] == streams[:2]
    assert await log.behind(0) == []


async def test_members_that_are_no_streams_are_removed_and_hide_nothing(log, any_log, caplog):
    stream_id = await marked(log)
    any_log.beside.zadd(f"{any_log.prefix}{BEHIND}", {f"odd {n}": n for n in range(300)} | {b"\xff": 0})
    assert [found for found, _ in await log.behind(10)] == [stream_id]
    assert (await log.backlog()).count == 1
    assert BEHIND in caplog.text


async def test_having_caught_up_takes_the_mark_away(log):
    first, second = await marked(log), await marked(log)
    seen = await log.behind(1)
    await log.caught_up(seen)
    assert [stream_id for stream_id, _ in await log.behind(10)] == [second]
    await log.caught_up(seen)
    await log.caught_up([])
    await log.append(LogKey.stream(first), [MESSAGE])
    assert (await log.backlog()).count == 2


async def test_a_mark_that_was_renewed_meanwhile_stays(log):
    stream_id = await marked(log)
    seen = await log.behind(10)
    await log.append(LogKey.stream(stream_id), [MESSAGE])
    await log.caught_up(seen)
    assert [found for found, _ in await log.behind(10)] == [stream_id]


async def test_a_thousand_renewals_are_told_apart(log):
    stream_id = await marked(log)
    scores = set()
    for _ in range(1_000):
        await log.append(LogKey.stream(stream_id), [MESSAGE])
        [(_, score)] = await log.behind(1)
        scores.add(score)
    assert len(scores) == 1_000


async def test_no_mark_is_lost_between_those_who_append_and_those_who_catch_up(log, any_log):
    """Three workers take marks away while events are appended. At every end, what was not seen is marked."""
    streams = [await marked(log) for _ in range(5)]
    seen_up_to = {}
    appending = True

    async def appender(stream_id: UUID) -> None:
        for turn in range(200):
            await log.append(LogKey.stream(stream_id), [MESSAGE])
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
    for stream_id in streams:
        [newest] = await log.read_newest(LogKey.stream(stream_id), 1)
        assert seen_up_to[stream_id] == newest.position
    assert not any_log.beside.exists(f"{any_log.prefix}projections:behind")
