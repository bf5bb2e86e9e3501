"""The clock of the pytest plugin: what is stored becomes older, for every reader alike."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.jobs import forever
from tests.support.opened import opened
from veupath_store import (
    Event,
    ExperimentRepository,
    LeaseLostError,
    LeaseRepository,
    OperationRepository,
    Projector,
    StreamRepository,
    UnavailableError,
    Worker,
    async_session_factory,
)
from veupath_store.events.log.entries import LogKey
from veupath_store.events.log.log import required_log
from veupath_store.integrations.testing import Factories, StoreClock
from veupath_store.models import StreamProjection, User
from veupath_store.values import OperationType

WEEK = timedelta(days=7)

_TIMES = """
SELECT c.table_name AS table, c.column_name AS column FROM information_schema.columns c
JOIN information_schema.tables t USING (table_schema, table_name)
WHERE c.table_schema = 'public'
  AND c.data_type = 'timestamp with time zone' AND t.table_type = 'BASE TABLE'"""


async def times():
    """The newest time of each column that holds some."""
    client, found = User._meta.db, {}
    for row in await client.execute_rows(_TIMES):
        sql = 'SELECT max("{column}") AS at FROM "{table}"'.format(**row)
        found[f"{row['table']}.{row['column']}"] = (await client.execute_rows(sql))[0]["at"]
    return found


async def fill(factories):
    """A row with a time in every column that has one."""
    user = await factories.user()
    await factories.stream(user, dismissed=True)
    await factories.control_set(user)
    deleted, _ = await factories.experiment(user), await factories.experiment(user)
    await factories.gene_set(user)
    await factories.operation(user, status="completed")
    await OperationRepository().request_cancel((await factories.lease(user)).operation_id)
    await ExperimentRepository().delete(deleted.id)
    await User._meta.db.execute_script(
        "INSERT INTO deleted_ids (kind, id, log_removed_at) VALUES ('stream', gen_random_uuid(), now())"
    )


async def test_every_time_that_is_stored_moves(store, store_factories, store_clock):
    await fill(store_factories)
    before = await times()
    assert all(before.values()), "a column with a time that this test knows nothing of"
    await store_clock.advance(days=7)
    assert await times() == {column: at - WEEK for column, at in before.items()}


@pytest.mark.own_database
async def test_the_applications_own_tables_move_as_well(store, store_clock):
    client = await store.open()
    await client.execute_script(
        "CREATE TABLE notes (at timestamptz, other timestamptz, day date);"
        "INSERT INTO notes VALUES ('2026-03-08T00:00Z', NULL, '2026-03-08'), ('infinity', now(), NULL)"
    )
    await store_clock.advance(WEEK)
    found = await client.execute_rows("SELECT at, day::text FROM notes ORDER BY at")
    assert (found[0]["at"], found[0]["day"]) == (datetime(2026, 3, 1, tzinfo=UTC), "2026-03-08")


async def test_a_lease_holds_until_its_time_and_not_longer(make_lease, store_clock):
    lease = await make_lease(lease_seconds=3_600)
    await store_clock.advance(minutes=59)
    await store_clock.advance(seconds=30)
    await LeaseRepository().heartbeat(lease)
    await store_clock.advance(minutes=59)
    assert len(await LeaseRepository().sweep()) == 0
    await store_clock.advance(minutes=2)
    with pytest.raises(LeaseLostError):
        await LeaseRepository().heartbeat(lease)
    assert (await LeaseRepository().sweep()).failed == (lease.operation_id,)


async def test_pages_go_on_unless_the_clock_was_moved_between_them(make_user, make_stream, store_clock):
    user = await make_user()
    streams = [(await make_stream(user)).id for _ in range(4)][::-1]
    await store_clock.advance(days=1)
    first = await StreamRepository().page_projections(user.id, limit=2)
    second = await StreamRepository().page_projections(user.id, limit=2, cursor=first.next_cursor)
    assert [one.stream_id for one in (*first.items, *second.items)] == streams
    await store_clock.advance(days=1)
    again = await StreamRepository().page_projections(user.id, limit=2, cursor=first.next_cursor)
    assert [one.stream_id for one in again.items] == streams[:2], "a cursor is a time, and is not moved"


@pytest.mark.parametrize("span", [timedelta(0), timedelta(days=-1), timedelta(microseconds=1500)])
async def test_time_moves_on_by_whole_milliseconds(store_clock, span):
    with pytest.raises(ValueError, match="time moves on"):
        await store_clock.advance(span)


async def test_a_row_that_somebody_has_locked_keeps_all_from_moving(settings):
    async with opened(settings, lock_timeout=0.1):
        user = await Factories().user()
        stream = await Factories().stream(user)
        async with async_session_factory() as session:
            await StreamRepository(session).update_projection(stream.id, name="Locked")
            with pytest.raises(UnavailableError):
                await StoreClock().advance(days=1)
        assert (await User.get(id=user.id)).created_at == user.created_at


@pytest.mark.with_log
async def test_rows_still_are_what_their_logs_say(store, make_user, make_stream, make_gene_set, store_clock):
    user = await make_user()
    one = await make_stream(user, wdk_strategy_id=7, plan={"recordType": "transcript", "root": {}})
    two = await make_stream(user, wdk_strategy_id=7, dismissed=True)
    await Projector().append(one.id, [Event(type="strategy_link", data={"wdkStrategyId": 9})])
    await StreamRepository().restore(two.id)
    await Projector().catch_up(one.id)
    before = await StreamProjection.get(stream_id=one.id)
    await store_clock.advance(WEEK)
    after = await StreamProjection.get(stream_id=one.id)
    assert before.updated_at - after.updated_at == WEEK
    assert ms(before.last_event_id) - ms(after.last_event_id) == WEEK / timedelta(milliseconds=1)
    assert not (await Projector().verify()).suspects
    rebuilt = await Projector().rebuild()
    assert set(rebuilt.counts) == {"rebuilt"}, rebuilt
    await make_stream(user, wdk_strategy_id=9)
    await StreamRepository().update_projection(one.id, name="Younger")
    assert (await StreamProjection.get(stream_id=one.id)).updated_at > after.updated_at + WEEK / 2
    assert not (await Projector().verify()).suspects


@pytest.mark.with_log
async def test_a_whole_row_says_older_times_as_well(store, make_user, make_stream, store_clock):
    user = await make_user()
    stream = await make_stream(user, wdk_strategy_id=7)
    await StreamRepository().dismiss(stream.id)
    await Projector().append(stream.id, [Event(type="assistant_delta", data={"n": n}) for n in range(20)])
    await Projector().catch_up(stream.id)
    await Projector().trim(stream.id, keep=1)  # the whole row is the newest entry
    before = await StreamProjection.get(stream_id=stream.id)
    [*_, newest] = await required_log().read(LogKey.stream(stream.id), count=10)
    assert {"updatedAt", "dismissedAt"} <= json.loads(newest.raw).keys()
    await store_clock.advance(WEEK)
    assert not (await Projector().verify()).suspects
    await StreamProjection.all().delete()
    await Projector().rebuild()
    after = await StreamProjection.get(stream_id=stream.id)
    assert (before.updated_at - after.updated_at, before.dismissed_at - after.dismissed_at) == (WEEK, WEEK)


@pytest.mark.with_log
async def test_lag_grows(store, make_stream, store_clock):
    stream = await make_stream()
    await Projector().append(stream.id, [Event(type="user_message", data={})])
    await store_clock.advance(hours=1)
    [lag] = (await Projector().lag()).lagging
    assert 3_600 <= lag.seconds < 3_700
    assert lag.state == "stuck"
    [(_, since)] = await required_log().behind(10)
    assert abs(datetime.now(UTC).timestamp() - 3_600 - since / 1_000) < 60


@pytest.mark.with_log
async def test_a_log_remembers_what_it_had_and_the_next_sweep_is_due(store, make_stream, store_clock):
    log, stream = required_log(), await make_stream()
    key = LogKey.stream(stream.id)
    await Projector().catch_up(stream.id)
    [before] = await log.ends([key])
    [last] = await log.append(key, [Event(type="assistant_delta", data={"a": 1})])
    await log.discard(key, [last])
    assert await log.claim_sweep(60)
    await store_clock.advance(seconds=59)
    [after] = await log.ends([key])
    assert after.last == last._replace(ms=last.ms - 59_000)
    assert after.newest == before.newest._replace(ms=before.newest.ms - 59_000)
    assert not await log.claim_sweep(60)
    await store_clock.advance(seconds=2)
    await asyncio.sleep(0.01)
    assert await log.claim_sweep(60)


def ms(position):
    return int(position.partition("-")[0])


async def test_a_worker_that_sleeps_is_not_woken(make_lease, store_clock):
    """The clock of the process is not moved: what is held goes on until it asks the server."""
    lease = await make_lease(lease_seconds=600)
    task = asyncio.create_task(Worker("host:3", {OperationType.EXPERIMENT: forever}).run())
    await store_clock.advance(minutes=11)
    assert lease.expires_at > datetime.now(UTC)
    task.cancel()
    await asyncio.wait({task})
