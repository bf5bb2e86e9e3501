"""An odd value in a row harms its own conversation only, whatever has become of its log: all others go on."""

from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from tests.support.projections import MESSAGE, logged, new_streams
from veupath_store.errors import InvalidInputError
from veupath_store.events.project.projector import Projector
from veupath_store.events.project.rows import lock_rows, write_rows
from veupath_store.events.project.selection import TOGETHER
from veupath_store.events.project.worker import ProjectionWorker
from veupath_store.repositories import StreamRepository
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
    return await new_streams(user, 3)


@pytest.fixture
async def others_go_on(streams, logs):
    """Sees that the others are changed, said and caught up, and that nothing raises."""

    async def others_go_on() -> None:
        _, renamed, said = streams
        await StreamRepository().update_projection(renamed, name="renamed")
        await Projector().append(said, [MESSAGE])
        await ProjectionWorker().drain()
        for call in (Projector().lag, Projector().verify, Projector().rebuild):
            assert sum((await call()).counts.values()) == 3
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


class TestTooLarge:
    @pytest.fixture
    def settings(self, database_url, redis_url, log_prefix):
        return logged(database_url, redis_url, log_prefix, statement_timeout=0.5)

    @pytest.mark.own_database
    async def test_a_plan_that_cannot_be_written_in_time_stops_nobody_else(self, user, watcher):
        made = [
            await StreamRepository().create(user.id, "plasmodb", stream_id=UUID(int=n + 1)) for n in range(TOGETHER + 1)
        ]
        plan = {"root": {"id": "a", "searchName": "x", "parameters": {"ids": [str(uuid4()) for _ in range(2_000)]}}}
        await ProjectionWorker().drain()
        await watcher.execute(_SLOW)
        for number, one in enumerate(made):
            await StreamRepository().update_projection(one.id, record_type="m", plan=None if number else plan)
        await ProjectionWorker().drain()
        left = await watcher.fetch("SELECT stream_id FROM stream_projections WHERE unlogged <> '{}'")
        assert [row["stream_id"] for row in left] == [made[0].id]


@pytest.mark.parametrize(("column", "width"), [("model_id", 100), ("last_event_id", 41)])
async def test_what_is_too_long_for_a_column_is_refused_and_not_cut(streams, column, width):
    """A position of which the end is missing would be another one."""
    async with async_session_factory() as session:
        rows = await lock_rows(session.client, streams[:1])
        row = rows[streams[0]]
        with pytest.raises(InvalidInputError):
            await write_rows(session.client, [replace(row, state=replace(row.state, **{column: "1" * (width + 1)}))])
        await session.rollback()
