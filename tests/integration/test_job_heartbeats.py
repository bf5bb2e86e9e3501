"""Heartbeats: one statement for all jobs of a process, and what comes by them."""

import asyncio
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest

from tests.support.jobs import another_pool, at_once, expire, forever, leased, status_of, stored
from tests.support.plans import explained
from tests.support.servers import until
from tests.support.statements import recorded
from veupath_store import (
    InvalidInputError,
    LeaseRepository,
    OperationRepository,
    UserRepository,
    leased_session,
    run_under_lease,
)
from veupath_store.errors import LeaseLostError
from veupath_store.jobs import heartbeats
from veupath_store.models import Operation
from veupath_store.repositories import leases as lease_sql
from veupath_store.values import OperationStatus

SOON = 5.0
"""Seconds that are many, for what takes a few milliseconds."""


@asynccontextmanager
async def jobs(leases, job=forever):
    """Jobs that run while the block lasts; their tasks."""
    tasks = [asyncio.create_task(run_under_lease(lease, job)) for lease in leases]
    try:
        await asyncio.sleep(0.05)
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await at_once(tasks)


@pytest.fixture
def never_looking(monkeypatch):
    """Nobody looks for what another process has saved."""
    monkeypatch.setattr(heartbeats, "LOOK_SECONDS", 600.0)


@pytest.mark.usefixtures("never_looking")
async def test_a_cancel_of_this_process_arrives_at_once_and_that_of_a_unit_of_work_when_it_is_committed(user, unit):
    lease = await leased(user, seconds=3600)
    async with jobs([lease]) as [task]:
        async with unit() as session:
            await OperationRepository(session).request_cancel(lease.operation_id)
            if session is not None:
                await asyncio.sleep(0.2)
                assert not task.done()
        assert await asyncio.wait_for(task, SOON) == OperationStatus.CANCELLED


@pytest.mark.usefixtures("never_looking")
async def test_a_job_whose_operation_is_deleted_here_is_stopped_at_once(user):
    lease = await leased(user, seconds=3600)
    async with jobs([lease]) as [task]:
        assert await OperationRepository().delete(lease.operation_id)
        with pytest.raises(LeaseLostError):
            await asyncio.wait_for(task, SOON)


async def test_a_cancel_of_another_process_arrives_long_before_the_next_renewal(user, database_url):
    lease, contexts = await leased(user, seconds=3600), []

    async def job(context):
        contexts.append(context)
        await forever(context)

    async with jobs([lease], job) as [task], another_pool(database_url) as elsewhere:
        await elsewhere().for_user(user.id).request_cancel(lease.operation_id)
        assert await asyncio.wait_for(task, SOON) == OperationStatus.CANCELLED
        assert (await elsewhere().get_status(lease.operation_id)).status == "cancelled"
    assert contexts[0].cancel_requested.is_set()


async def test_fifty_jobs_cost_a_statement_a_second_whatever_their_leases(user):
    leases = [await leased(user, seconds=seconds) for seconds in (3, 30) for _ in range(25)]
    async with jobs(leases):
        with recorded() as sent:
            await asyncio.sleep(4)
        assert len(sent) <= 6
        assert set(sent) == {lease_sql._HEARTBEATS}
        assert len(await LeaseRepository().sweep()) == 0
    assert (await stored(leases[0].operation_id)).heartbeat_at > leases[0].expires_at


async def test_a_job_in_a_unit_of_work_keeps_no_other_from_being_renewed(user):
    slow, quick = await leased(user, seconds=30), await leased(user, seconds=0.6)

    async def writing(context):
        async with context.session() as session:
            await UserRepository(session).create()
            await asyncio.sleep(1.5)

    async with jobs([slow], writing) as [writer], jobs([quick]) as [other]:
        assert await writer == OperationStatus.COMPLETED
        assert not other.done()
        assert (await status_of(quick)).status == "active"
        await LeaseRepository().heartbeat(quick)


async def test_a_process_whose_clock_is_an_hour_slow_records_nothing_after_its_lease(user):
    lease = await leased(user, seconds=0.3)

    async def job(context):
        await expire(lease)
        async with context.session(complete=True) as session:
            await UserRepository(session).create("late")

    slow = lease.model_copy(update={"deadline": lease.deadline + 3600})
    with pytest.raises(LeaseLostError):
        await asyncio.wait_for(run_under_lease(slow, job), SOON)
    assert (await stored(lease.operation_id)).status == "active"


async def test_leases_are_renewed_together_and_those_that_do_not_hold_are_missing(user, stranger):
    mine, theirs, locked, expired = [await leased(whose, seconds=5) for whose in (user, stranger, user, user)]
    ended, another = await leased(user), await leased(user)
    await LeaseRepository().complete(ended)
    await OperationRepository().request_cancel(theirs.operation_id)
    await expire(expired)
    stolen = another.model_copy(update={"token": uuid4()})
    async with leased_session(locked):
        with recorded() as sent:
            beats = await lease_sql.heartbeat_many([mine, theirs, locked, expired, ended, stolen])
    assert len(sent) == 1
    assert beats.keys() == {mine.operation_id, theirs.operation_id, locked.operation_id}
    assert [beats[lease.operation_id].cancel_requested for lease in (mine, theirs, locked)] == [False, True, False]
    for lease in (mine, theirs):
        assert beats[lease.operation_id].expires_at > lease.expires_at
        assert beats[lease.operation_id].deadline > lease.deadline
    assert beats[locked.operation_id].expires_at == locked.expires_at
    heard = await lease_sql.heartbeat_many([mine], renew=[])
    assert heard[mine.operation_id].expires_at == beats[mine.operation_id].expires_at
    assert await lease_sql.heartbeat_many([]) == {}


async def test_renewing_several_refuses_what_is_no_lease(store):
    with pytest.raises(InvalidInputError) as caught:
        await lease_sql.heartbeat_many(["a lease"])
    assert caught.value.path == "lease"


async def test_renewing_several_finds_each_by_its_key(user):
    client = Operation._meta.db
    await client.execute_rows(
        "INSERT INTO operations (id, user_id, type, lease_token, lease_expires_at) "
        "SELECT gen_random_uuid(), $1, 'batch', gen_random_uuid(), now() + interval '1 hour' "
        "FROM generate_series(1, 20000)",
        [user.id],
    )
    await client.execute_script("ANALYZE operations")
    values = [[user.id] * 50, [uuid4() for _ in range(50)], [uuid4() for _ in range(50)], [30.0] * 50]
    plan = await explained(client, lease_sql._HEARTBEATS, values)
    assert plan.indexes == {"operations_pkey"}
    assert plan.sequential_scans == set()


async def test_nothing_is_left_when_the_last_job_has_ended(user):
    async with jobs([await leased(user), await leased(user)]):
        assert len(heartbeats._of) == 1
    assert heartbeats._of == {}
    await until(
        lambda: "heartbeats" not in {task.get_name() for task in asyncio.all_tasks()}, SOON, "none is under way"
    )


async def test_a_job_registered_beside_one_that_waits_long_is_renewed_in_time(user):
    async with jobs([await leased(user, seconds=3600)]), jobs([await leased(user, seconds=0.3)]) as [quick]:
        await asyncio.sleep(0.8)
        assert not quick.done()
