"""One odd thing in Redis harms itself only: it is reported by name, and all go on with the rest."""

import asyncio
from uuid import uuid4

import pytest

from tests.support.conversations import named
from tests.support.jobs import running
from tests.support.projections import DELTA, MESSAGE, new_streams
from tests.support.waiting import becomes
from veupath_store.events.log.scripts import BEHIND
from veupath_store.events.project.projector import Projector
from veupath_store.events.project.worker import ProjectionWorker
from veupath_store.models import User
from veupath_store.repositories import OperationRepository, StreamRepository

pytestmark = [pytest.mark.with_log, pytest.mark.unlike_log]


@pytest.fixture
async def streams(user):
    return await new_streams(user, 4)


@pytest.fixture
async def odd(streams, logs):
    """The second has a key of another type as its log, the third a position that is none; and keys of nobody's."""
    _, typed, placed, _ = streams
    logs.redis.delete(logs.key(typed))
    logs.redis.hset(logs.key(typed), "another", "type")
    logs.redis.set(f"{logs.prefix}op:{uuid4()}", "another type")
    logs.redis.set(logs.key(uuid4()), "another type")
    logs.redis.xadd(f"{logs.prefix}stream:" + "long" * 100, {"x": "y"})
    logs.add(uuid4(), "projection_patched", {"whole": "made", "userId": "nobody", "siteId": 7})
    logs.redis.zadd(f"{logs.prefix}{BEHIND}", {"no stream": 1, str(typed): 2, str(placed): 3, str(uuid4()): 4})
    await User._meta.db.execute_query(
        "UPDATE stream_projections SET last_event_id = 'garbage' WHERE stream_id = $1", [placed]
    )
    return typed, placed


async def counts(streams):
    return [(await StreamRepository().get_projection(stream)).message_count for stream in streams]


async def test_what_cannot_be_read_is_named_and_all_others_are_told_compared_and_rebuilt(streams, odd, logs):
    typed, placed = odd
    lag, verified = await Projector().lag(), await Projector().verify()
    rebuilt = await Projector().rebuild(missing=True)
    assert (lag.counts, verified.counts) == ({"current": 2, "unreadable": 2}, {"equal": 2, "unreadable": 2})
    assert rebuilt.counts == {"rebuilt": 2, "unreadable": 4}
    for found in (lag.lagging, verified.suspects, rebuilt.refused):
        reasons = {one.stream_id: one.reason for one in found}
        assert logs.key(typed) in reasons.pop(typed)
        assert "position" in reasons.pop(placed)
        # Logs without a row: one is of another type, the other names an owner that cannot be.
        others = ["WRONGTYPE" in reason for reason in reasons.values()]
        assert sorted(others) == ([False, True] if found is rebuilt.refused else [])


async def test_the_worker_names_what_cannot_be_read_and_catches_up_all_others(streams, odd, logs, caplog):
    for stream in (streams[0], streams[3]):
        await Projector().append(stream, [MESSAGE])
    await StreamRepository().update_projection(streams[0], name="renamed")
    await StreamRepository().update_projection(odd[0], name="renamed, too")
    await ProjectionWorker().drain()
    assert await counts(streams) == [2, 1, 1, 2]
    assert b"renamed" in logs.entries(streams[0])[-1].raw
    assert logs.key(odd[0]) in caplog.text
    assert str(odd[1]) in caplog.text
    assert await Projector().log.behind(10) == [(odd[0], 2.0), (odd[1], 3.0)]


async def test_a_sweep_passes_over_what_cannot_be_read(streams, odd, logs):
    for stream in (streams[0], streams[3]):
        logs.add(stream, "user_message", {})  # past the store, without a mark
    await ProjectionWorker().sweep()
    assert await counts(streams) == [2, 1, 1, 2]


async def test_a_deletion_removes_a_key_of_another_type_as_well(streams, odd, logs):
    await StreamRepository().delete(odd[0])
    await ProjectionWorker().drain()
    assert not logs.redis.exists(logs.key(odd[0]))


async def test_a_claim_that_is_given_up_many_pages_later_is_no_claim(streams):
    await StreamRepository().update_projection(streams[1], name="taken")
    await Projector().catch_up(streams[1])
    await Projector().append(streams[0], [named("taken")])
    for _ in range(3):
        await Projector().append(streams[0], [DELTA] * 1_500)
    await Projector().append(streams[0], [named("free")])
    async with asyncio.timeout(60):
        await Projector().catch_up(streams[0])
    assert (await StreamRepository().get_projection(streams[0])).name == "free"
    assert (await Projector().verify()).counts == {"equal": 4}


async def test_marks_of_another_type_hinder_neither_what_is_logged_nor_the_sweep(streams, logs, user, caplog):
    operation = await OperationRepository().register(user.id, "experiment")
    await Projector().append_to_operation(operation.id, [MESSAGE])
    logs.redis.delete(f"{logs.prefix}{BEHIND}")
    logs.redis.set(f"{logs.prefix}{BEHIND}", "another type")
    logs.add(streams[0], "user_message", {})
    await StreamRepository().update_projection(streams[1], name="renamed")
    await OperationRepository().delete(operation.id)
    key = f"{logs.prefix}op:{operation.id}"

    async def found():
        renamed, removed = b"renamed" in logs.entries(streams[1])[-1].raw, logs.redis.exists(key) == 0
        return await counts(streams), renamed, removed

    async with running(ProjectionWorker(poll_seconds=0.05, sweep_every=0.1)):
        await becomes(found, ([2, 1, 1, 1], True, True), "all that can be done is done")
    assert f"{logs.prefix}{BEHIND}" in caplog.text
