"""One odd thing in Redis or in a row harms itself only: it is reported by name, and all go on with the rest."""

import asyncio
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from tests.support.conversations import conversation, named
from tests.support.jobs import running
from tests.support.projections import DELTA, MESSAGE, new_streams
from tests.support.waiting import becomes
from veupath_store.errors import InvalidInputError
from veupath_store.events.log.scripts import BEHIND
from veupath_store.events.project.projector import Projector
from veupath_store.events.project.rows import lock_rows, write_rows
from veupath_store.events.project.selection import TOGETHER
from veupath_store.events.project.worker import ProjectionWorker
from veupath_store.models import User
from veupath_store.repositories import OperationRepository, StreamRepository
from veupath_store.session import async_session_factory

pytestmark = [pytest.mark.with_log, pytest.mark.unlike_log]


LAST = "18446744073709551615-18446744073709551615"
UNLOGGED = """unlogged = '{"name": "w1"}'"""
ODD = [
    f"last_event_id = '{LAST}', {UNLOGGED}",
    f"messages_after = 'none', last_event_id = '9999999999999-0', {UNLOGGED}",
    f"messages_after = 'none', {UNLOGGED}",
    *(f"lost = '{lost}', {UNLOGGED}" for lost in ("5", "[]", '{"messages": "x", "after": 7, "at": "x"}')),
    *(f"unlogged = '{tags}'" for tags in ("5", '["name"]', '"x"', '{"name": 5}', '{"name": {}}')),
]

_SLOW = f"""
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(9); RETURN NEW; END';
CREATE TRIGGER slow BEFORE UPDATE ON stream_projections FOR EACH ROW
WHEN (NEW.stream_id = '{UUID(int=1)}' AND NEW.last_event_id <> OLD.last_event_id) EXECUTE FUNCTION slow()"""


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


@pytest.fixture
async def others_go_on(streams, logs):
    """Sees that the others are changed, said and caught up, and that nothing raises."""

    async def others_go_on() -> None:
        _, renamed, said, _ = streams
        await StreamRepository().update_projection(renamed, name="renamed")
        await Projector().append(said, [MESSAGE])
        await ProjectionWorker().drain()
        for call in (Projector().lag, Projector().verify, Projector().rebuild):
            assert sum((await call()).counts.values()) == 4
        await ProjectionWorker().sweep()
        assert b"renamed" in logs.entries(renamed)[-1].raw
        assert (await StreamRepository().get_projection(said)).message_count == 2

    return others_go_on


@pytest.mark.parametrize("log", ["stays", "is lost", "goes on"])
@pytest.mark.parametrize("odd", ODD)
async def test_an_odd_value_in_a_row_stops_nobody_else(streams, logs, watcher, others_go_on, odd, log):
    await watcher.execute(f"UPDATE stream_projections SET {odd} WHERE stream_id = $1", streams[0])
    if log == "is lost":
        logs.redis.delete(logs.key(streams[0]))
    elif log == "goes on":
        await Projector().append(streams[0], [MESSAGE])
    await others_go_on()


@pytest.mark.parametrize("removed_at", ["NULL", "now()"])
@pytest.mark.parametrize("odd", ["last_event_id = 'none'", "messages_after = 'none'", "unlogged = '5'", "its log"])
async def test_a_log_that_a_purge_cannot_trim_stops_nobody_else(
    streams, logs, watcher, others_go_on, odd, removed_at, caplog
):
    stream = streams[0]
    await watcher.execute(
        f"INSERT INTO deleted_ids (kind, id, log_removed_at) VALUES ('messages', $1, {removed_at})", stream
    )
    await watcher.execute("UPDATE stream_projections SET messages_after = $2 WHERE stream_id = $1", stream, LAST)
    if odd == "its log":
        logs.redis.delete(logs.key(stream))
        logs.redis.hset(logs.key(stream), "another", "type")
    else:
        await watcher.execute(f"UPDATE stream_projections SET {odd} WHERE stream_id = $1", stream)
    await others_go_on()
    waits = await watcher.fetchval("SELECT log_removed_at IS NULL FROM deleted_ids WHERE id = $1", stream)
    assert waits == (removed_at == "NULL" and odd != "messages_after = 'none'"), "it is tried again"
    assert str(stream) in caplog.text or not waits


@pytest.mark.own_database
@pytest.mark.with_log(statement_timeout=0.5)
async def test_a_plan_that_cannot_be_written_in_time_stops_nobody_else(user, watcher):
    made = [await conversation(user, stream_id=UUID(int=n + 1)) for n in range(TOGETHER + 1)]
    plan = {"root": {"id": "a", "searchName": "x", "parameters": {"ids": [str(uuid4()) for _ in range(2_000)]}}}
    await ProjectionWorker().drain()
    await watcher.execute(_SLOW)
    for number, one in enumerate(made):
        await StreamRepository().update_projection(one, record_type="m", plan=None if number else plan)
    await ProjectionWorker().drain()
    left = await watcher.fetch("SELECT stream_id FROM stream_projections WHERE unlogged <> '{}'")
    assert [row["stream_id"] for row in left] == made[:1]


@pytest.mark.parametrize(("column", "width"), [("model_id", 100), ("last_event_id", 41)])
async def test_what_is_too_long_for_a_column_is_refused_and_not_cut(streams, column, width):
    """A position of which the end is missing would be another one."""
    async with async_session_factory() as session:
        rows = await lock_rows(session.client, streams[:1])
        row = rows[streams[0]]
        with pytest.raises(InvalidInputError):
            await write_rows(session.client, [replace(row, state=replace(row.state, **{column: "1" * (width + 1)}))])
        await session.rollback()
