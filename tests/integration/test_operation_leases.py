"""Leases of operations, one call at a time: taking, renewing, ending, giving back, sweeping."""

import asyncio
from uuid import uuid4

import pytest

from tests.support.jobs import WORKER, expire, leased, registered, status_of, stored
from tests.support.plans import explained
from tests.support.statements import recorded
from veupath_store import LeaseLostError, LeaseRepository, OperationRepository, async_session_factory
from veupath_store.errors import UnitOfWorkError
from veupath_store.inputs import limits
from veupath_store.models import Operation
from veupath_store.repositories import leases
from veupath_store.values import OperationType

EXPERIMENT = [OperationType.EXPERIMENT]


def repository():
    return LeaseRepository()


async def claimed(types=EXPERIMENT, worker=WORKER):
    return await repository().claim(worker, types, lease_seconds=30)


async def assert_lost(lease):
    """Nothing can be recorded under a lease."""
    calls = (repository().heartbeat, repository().complete, repository().cancel, repository().release)
    for attempt in (*(call(lease) for call in calls), repository().fail(lease, "late")):
        with pytest.raises(LeaseLostError):
            await attempt


async def test_workers_get_the_oldest_operation_of_their_types(user):
    first, second, other = [*await registered(user, count=2), await registered(user, "batch")]
    with recorded() as sent:
        lease = await claimed()
    assert len(sent) == 1
    assert lease.operation_id == first.id
    assert (lease.user_id, lease.attempts, lease.seconds) == (user.id, 1, 30)
    both = [await claimed(["batch", "experiment"]) for _ in range(3)]
    assert [lease and lease.operation_id for lease in both] == [second.id, other.id, None]


@pytest.mark.parametrize(
    ("end", "status", "error"),
    [
        (lambda r, lease: r.complete(lease), "completed", None),
        (lambda r, lease: r.fail(lease, "no such gene"), "failed", "no such gene"),
        (lambda r, lease: r.cancel(lease), "cancelled", None),
    ],
)
async def test_an_ended_operation_never_changes_again(user, end, status, error):
    lease = await leased(user)
    assert await repository().get_outcome(lease) is None
    await end(repository(), lease)
    ended = await stored(lease.operation_id)
    assert (ended.status, ended.error, ended.cancel_requested_at) == (status, error, None)
    assert ended.completed_at > ended.created_at
    assert await repository().get_outcome(lease) == status
    await assert_lost(lease)
    assert (await OperationRepository().request_cancel(lease.operation_id)).status == status
    assert await claimed() is None
    await expire(lease)
    assert len(await repository().sweep()) == 0
    after = await stored(lease.operation_id)
    for column in ("status", "error", "completed_at", "cancel_requested_at"):
        assert getattr(after, column) == getattr(ended, column)
    assert (await OperationRepository().page_active(user.id)).items == []
    assert [item.id for item in (await OperationRepository().page(user.id)).items] == [lease.operation_id]


async def test_a_heartbeat_renews_the_lease_and_tells_of_a_cancel_request(user):
    lease = await leased(user, seconds=5)
    beat = await repository().heartbeat(lease)
    assert beat.expires_at > lease.expires_at
    assert beat.deadline > lease.deadline
    assert not beat.cancel_requested
    view = await OperationRepository().request_cancel(lease.operation_id)
    assert (view.status, view.cancel_requested) == ("active", True)
    asked = (await stored(lease.operation_id)).cancel_requested_at
    await OperationRepository().request_cancel(lease.operation_id)
    assert (await stored(lease.operation_id)).cancel_requested_at == asked
    assert (await repository().heartbeat(lease)).cancel_requested
    await repository().cancel(lease)
    assert (await status_of(lease)).status == "cancelled"


async def test_an_expired_lease_can_record_nothing(user):
    lease = await leased(user, max_attempts=2)
    await expire(lease)
    before = dict(await stored(lease.operation_id))
    await assert_lost(lease)
    assert dict(await stored(lease.operation_id)) == before


async def test_a_lease_that_expires_during_a_unit_of_work_is_lost_there_too(user):
    lease = await leased(user, seconds=0.2)
    async with async_session_factory() as session:
        await OperationRepository(session).get_status(lease.operation_id)
        await asyncio.sleep(0.25)
        with pytest.raises(LeaseLostError):
            await LeaseRepository(session).complete(lease)


async def test_the_next_worker_gets_a_new_token_and_the_old_one_is_worthless(user):
    old = await leased(user, max_attempts=2)
    await expire(old)
    new = await claimed(worker="host:2")
    assert (new.operation_id, new.attempts) == (old.operation_id, 2)
    assert new.token != old.token
    await assert_lost(old)
    await repository().complete(new)
    assert await repository().get_outcome(old) is None
    assert await repository().get_outcome(new) == "completed"


async def test_a_sweep_requeues_fails_or_cancels_and_leaves_live_leases(user):
    again, used_up, cancelled, live = [
        await leased(user, max_attempts=2),
        await leased(user),
        await leased(user, max_attempts=2),
        await leased(user),
    ]
    waiting = await registered(user)
    await OperationRepository().request_cancel(cancelled.operation_id)
    for lease in (again, used_up, cancelled):
        await expire(lease)
    before = dict(await stored(live.operation_id))
    with recorded() as sent:
        report = await repository().sweep()
    assert len(sent) == 1
    assert report.requeued == (again.operation_id,)
    assert report.failed == (used_up.operation_id,)
    assert report.cancelled == (cancelled.operation_id,)
    assert dict(await stored(live.operation_id)) == before
    failed = await stored(used_up.operation_id)
    assert (failed.status, failed.error) == ("failed", "the worker was lost")
    assert failed.completed_at is not None
    requeued = await stored(again.operation_id)
    assert (requeued.status, requeued.lease_token, requeued.worker_id) == ("active", None, None)
    taken = [await claimed() for _ in range(3)]
    assert [lease and lease.operation_id for lease in taken] == [again.operation_id, waiting.id, None]
    assert len(await repository().sweep()) == 0


async def test_a_sweep_takes_no_more_than_its_limit(user):
    for _ in range(3):
        await expire(await leased(user))
    assert [len(await repository().sweep(limit=2)) for _ in range(3)] == [2, 1, 0]


async def test_a_released_operation_is_taken_by_another_at_once(user):
    lease = await leased(user, max_attempts=2)
    assert await repository().release(lease) == "active"
    assert (await stored(lease.operation_id)).lease_token is None
    again = await claimed()
    assert (again.operation_id, again.attempts) == (lease.operation_id, 2)
    assert await repository().release(again) == "failed"
    assert (await status_of(lease)).error == "the worker was shut down"


async def test_giving_back_what_was_not_begun_costs_no_attempt(user):
    lease = await leased(user)
    assert await repository().release(lease, begun=False) == "active"
    again = await claimed()
    assert again.attempts == 1
    await OperationRepository().request_cancel(lease.operation_id)
    assert await repository().release(again, begun=False) == "cancelled"


async def test_no_error_text_keeps_a_failure_from_being_recorded(user):
    for error, kept in (
        ("", ""),
        ("a\x00b\ud800c\udfff", "a\ufffdb\ufffdc\ufffd"),
        ("\ud83d\ude00 halves of a pair", "\ufffd\ufffd halves of a pair"),
        ("😀 whole", "😀 whole"),
        ("é" * 20_000, "é" * limits.OPERATION_ERROR),
        ("'; DROP TABLE operations; --", "'; DROP TABLE operations; --"),
    ):
        lease = await leased(user)
        await repository().fail(lease, error)
        view = await status_of(lease)
        assert (view.status, view.error) == ("failed", kept)


async def test_assert_lease_needs_a_unit_of_work(user):
    with pytest.raises(UnitOfWorkError):
        await repository().assert_lease(await leased(user))


async def test_a_lease_with_another_owner_in_it_is_worthless(user, stranger):
    await assert_lost((await leased(user)).model_copy(update={"user_id": stranger.id}))


@pytest.fixture
async def many(user):
    """Many operations: most have ended, some wait, some run, a few leases have expired."""
    client = Operation._meta.db
    await client.execute_rows(
        "INSERT INTO operations (id, user_id, type, status, created_at, lease_token, lease_expires_at, max_attempts) "
        "SELECT gen_random_uuid(), $1, (ARRAY['chat', 'experiment', 'batch', 'benchmark'])[1 + n % 4], "
        "  CASE WHEN n % 5 = 0 THEN 'active' ELSE 'completed' END, now() - n * interval '1 second', "
        "  CASE WHEN n % 10 = 0 THEN gen_random_uuid() END, "
        "  CASE WHEN n % 10 = 0 THEN now() + (n - 200) * interval '1 minute' END, 3 "
        "FROM generate_series(1, 20000) n",
        [user.id],
    )
    await client.execute_script("ANALYZE operations")
    return client


async def test_workers_and_sweeps_read_the_partial_indexes_only(user, many):
    types = [str(kind) for kind in OperationType]
    sweeping = {"operations_expiry_idx", "operations_pkey"}
    for sql, values, indexes in (
        (leases._CLAIM, [types, WORKER, uuid4(), 30.0], {"operations_waiting_idx", *sweeping}),
        (leases._SWEEP, [1000], sweeping),
        (leases._HEARTBEAT, [user.id, uuid4(), uuid4(), 30.0], {"operations_pkey"}),
    ):
        plan = await explained(many, sql, values)
        assert plan.indexes <= indexes, sql
        assert plan.sequential_scans == set(), sql
        assert plan.sorted_rows <= 50 * (len(types) + 1), sql


async def test_a_sweep_finds_each_by_its_key_when_many_expired_since_the_statistics_were_made(store, user):
    client = await store.open()
    await client.execute_query(
        "INSERT INTO operations (id, user_id, type, lease_token, lease_expires_at) "
        "SELECT gen_random_uuid(), $1, 'batch', gen_random_uuid(), now() + interval '1 hour' "
        "FROM generate_series(1, 20000)",
        [user.id],
    )
    await client.execute_script("ANALYZE operations")
    await client.execute_query(
        "UPDATE operations SET lease_expires_at = now() - interval '1 minute' "
        "WHERE id IN (SELECT id FROM operations LIMIT 2000)"
    )
    plan = [row["QUERY PLAN"] for row in await client.execute_rows(f"EXPLAIN {leases._SWEEP}", [1_000])]
    assert any("operations_pkey" in line for line in plan), plan
    assert not any("Join Filter" in line for line in plan), plan
    assert len((await LeaseRepository().sweep(1_000)).requeued) == 1_000
