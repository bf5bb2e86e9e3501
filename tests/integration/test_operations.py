"""Operations, one call at a time."""

import asyncio
from uuid import UUID, uuid4

import pytest

from tests.support.jobs import WORKER, expire, leased, new_stream, registered, stored
from tests.support.plans import explained
from tests.support.statements import recorded
from veupath_store import (
    ConflictError,
    InvalidInputError,
    LeaseLostError,
    NotFoundError,
    OperationActiveError,
    OperationRepository,
    StreamRepository,
    UserRepository,
    async_session_factory,
    limits,
)
from veupath_store.errors import UnitOfWorkError
from veupath_store.models import Operation
from veupath_store.repositories import operation_leases, operations
from veupath_store.values import OperationStatus, OperationSummary, OperationType

EXPERIMENT = [OperationType.EXPERIMENT]


def repository():
    return OperationRepository()


async def test_a_registered_operation_waits_and_is_discoverable_by_its_user(user):
    identity = uuid4()
    with recorded() as sent:
        made = await registered(user, operation_id=str(identity), start_position="1700000000000-0", max_attempts=3)
    assert len(sent) == 1
    assert made.id == identity
    assert (made.status, made.type, made.attempts, made.max_attempts) == ("active", "experiment", 0, 3)
    assert await repository().get_summary(identity) == made
    assert (await repository().page_active(user.id)).items == [made]
    row = await repository().get_by_id(identity)
    assert (row.lease_token, row.lease_expires_at, row.user_id) == (None, None, user.id)


async def test_a_started_operation_has_its_lease_from_the_first_moment(user):
    stream = await new_stream(user)
    with recorded() as sent:
        lease = await leased(user, "chat", stream_id=stream.id)
    assert len(sent) == 1
    row = await stored(lease.operation_id)
    assert (row.worker_id, row.lease_token, row.lease_expires_at) == (WORKER, lease.token, lease.expires_at)
    assert (lease.stream_id, lease.attempts, row.attempts) == (stream.id, 1, 1)
    assert 29.9 < (lease.expires_at - row.created_at).total_seconds() < 30.9
    assert await repository().acquire(WORKER, list(OperationType), lease_seconds=30) is None


async def test_no_summary_and_no_repr_shows_the_token(user):
    lease = await leased(user)
    summary = await repository().get_summary(lease.operation_id)
    status = await repository().get_status(lease.operation_id)
    assert str(lease.token) not in f"{lease!r} {lease} {summary!r} {status!r} {summary.model_dump_json()}"


@pytest.mark.parametrize("types", [("chat", "chat"), ("chat", "workbench_chat"), ("workbench_chat", "chat")])
async def test_a_second_active_chat_on_a_conversation_is_refused(user, types):
    stream = await new_stream(user)
    lease = await leased(user, types[0], stream_id=stream.id)
    with pytest.raises(OperationActiveError) as caught:
        await leased(user, types[1], stream_id=stream.id)
    assert caught.value.constraint == "operations_chat_key"
    assert isinstance(caught.value, ConflictError)
    for secret in (stream.id, user.id, lease.operation_id, lease.token, WORKER):
        assert str(secret) not in str(caught.value)
    await registered(user, "experiment", stream_id=stream.id)
    await leased(user, types[1], stream_id=(await new_stream(user)).id)
    await repository().complete(lease)
    await leased(user, types[1], stream_id=stream.id)


async def test_a_refused_chat_does_not_undo_the_unit_of_work_around_it(user):
    stream = await new_stream(user)
    await leased(user, "chat", stream_id=stream.id)
    async with async_session_factory() as session:
        await StreamRepository(session).update_projection(stream.id, name="Kinases")
        with pytest.raises(OperationActiveError):
            await OperationRepository(session).register(user.id, "chat", stream_id=stream.id)
    assert (await StreamRepository().get_projection(stream.id)).name == "Kinases"


async def test_a_taken_id_is_a_conflict(user):
    made = await registered(user)
    with pytest.raises(ConflictError) as caught:
        await registered(user, operation_id=made.id)
    assert caught.value.constraint == "operations_pkey"


async def test_a_foreign_or_missing_conversation_looks_missing(user, stranger):
    theirs = await new_stream(stranger)
    for stream_id in (theirs.id, uuid4()):
        with pytest.raises(NotFoundError) as caught:
            await registered(user, "chat", stream_id=stream_id)
        assert caught.value.entity == "stream"
    with pytest.raises(NotFoundError) as caught:
        await repository().register(uuid4(), "experiment")
    assert caught.value.entity == "user"
    assert await Operation.all().count() == 0


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"type": "chatter"}, "type"),
        ({"type": None}, "type"),
        ({"type": "chat"}, "stream_id"),
        ({"stream_id": "7"}, "stream_id"),
        ({"operation_id": 7}, "operation_id"),
        ({"start_position": "here"}, "start_position"),
        ({"start_position": "1-2-3"}, "start_position"),
        ({"start_position": "٣-0"}, "start_position"),
        ({"start_position": f"{2**64}-0"}, "start_position"),
        ({"start_position": "0-0\x00"}, "start_position"),
        ({"max_attempts": 0}, "max_attempts"),
        ({"max_attempts": True}, "max_attempts"),
        ({"max_attempts": limits.ATTEMPTS + 1}, "max_attempts"),
        ({"worker_id": ""}, "worker_id"),
        ({"worker_id": "w" * 256}, "worker_id"),
        ({"worker_id": "w\udcff"}, "worker_id"),
        ({"lease_seconds": 0}, "lease_seconds"),
        ({"lease_seconds": float("nan")}, "lease_seconds"),
        ({"lease_seconds": float("inf")}, "lease_seconds"),
        ({"lease_seconds": "30"}, "lease_seconds"),
        ({"user_id": "me"}, "user_id"),
    ],
)
async def test_bad_input_is_refused_by_name_before_any_sql(given, path):
    # There is no store here at all.
    arguments = {"user_id": uuid4(), "type": "experiment", "worker_id": WORKER, "lease_seconds": 30, **given}
    with pytest.raises(InvalidInputError) as caught:
        await repository().start(arguments.pop("user_id"), arguments.pop("type"), **arguments)
    assert caught.value.path == path


@pytest.mark.parametrize("types", ["chat", [], None, ["chatter"]])
async def test_a_worker_must_name_its_types(types):
    with pytest.raises(InvalidInputError) as caught:
        await repository().acquire(WORKER, types, lease_seconds=30)
    assert caught.value.path == "types"


async def test_a_status_poll_is_one_small_read(user):
    lease = await leased(user)
    with recorded() as sent:
        view = await repository().get_status(lease.operation_id)
    assert len(sent) == 1
    assert (view.status, view.cancel_requested, view.error, view.completed_at) == ("active", False, None, None)
    assert await repository().get_status(uuid4()) is None


async def test_workers_get_the_oldest_operation_of_their_types(user):
    first, second, other = [*await registered(user, count=2), await registered(user, "batch")]
    with recorded() as sent:
        lease = await repository().acquire(WORKER, EXPERIMENT, lease_seconds=30)
    assert len(sent) == 1
    assert lease.operation_id == first.id
    assert (lease.user_id, lease.attempts, lease.seconds) == (user.id, 1, 30)
    both = [await repository().acquire(WORKER, ["batch", "experiment"], lease_seconds=30) for _ in range(3)]
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
    assert (ended.status, ended.error) == (status, error)
    assert ended.completed_at > ended.created_at
    assert await repository().get_outcome(lease) == status
    for attempt in (
        repository().complete(lease),
        repository().fail(lease, "again"),
        repository().cancel(lease),
        repository().release(lease),
        repository().heartbeat(lease),
    ):
        with pytest.raises(LeaseLostError):
            await attempt
    assert (await repository().request_cancel(lease.operation_id)).status == status
    assert await repository().acquire(WORKER, EXPERIMENT, lease_seconds=30) is None
    await expire(lease)
    assert len(await repository().sweep()) == 0
    after = await stored(lease.operation_id)
    assert (after.status, after.error, after.completed_at, after.cancel_requested_at) == (
        status,
        error,
        ended.completed_at,
        None,
    )
    assert (await repository().page_active(user.id)).items == []
    assert [item.id for item in (await repository().page(user.id)).items] == [lease.operation_id]


async def test_a_heartbeat_renews_the_lease_and_tells_of_a_cancel_request(user):
    lease = await leased(user, seconds=5)
    beat = await repository().heartbeat(lease)
    assert beat.expires_at > lease.expires_at
    assert beat.deadline > lease.deadline
    assert not beat.cancel_requested
    view = await repository().request_cancel(lease.operation_id)
    assert (view.status, view.cancel_requested) == ("active", True)
    asked = (await stored(lease.operation_id)).cancel_requested_at
    await repository().request_cancel(lease.operation_id)
    assert (await stored(lease.operation_id)).cancel_requested_at == asked
    assert (await repository().heartbeat(lease)).cancel_requested
    await repository().cancel(lease)
    assert (await repository().get_status(lease.operation_id)).status == OperationStatus.CANCELLED


async def test_what_no_worker_has_is_cancelled_at_once(user):
    waiting = await registered(user)
    view = await repository().request_cancel(waiting.id)
    assert (view.status, view.cancel_requested) == ("cancelled", True)
    assert view.completed_at is not None
    assert await repository().acquire(WORKER, EXPERIMENT, lease_seconds=30) is None
    lost = await leased(user, max_attempts=2)
    await expire(lost)
    assert (await repository().request_cancel(lost.operation_id)).status == "cancelled"
    with pytest.raises(NotFoundError):
        await repository().request_cancel(uuid4())


async def test_an_expired_lease_can_record_nothing(user):
    lease = await leased(user, max_attempts=2)
    await expire(lease)
    before = dict(await stored(lease.operation_id))
    for attempt in (
        repository().heartbeat(lease),
        repository().complete(lease),
        repository().fail(lease, "late"),
        repository().cancel(lease),
        repository().release(lease),
    ):
        with pytest.raises(LeaseLostError):
            await attempt
    assert dict(await stored(lease.operation_id)) == before


async def test_a_lease_that_expires_during_a_unit_of_work_is_lost_there_too(user):
    lease = await leased(user, seconds=0.2)
    async with async_session_factory() as session:
        await OperationRepository(session).get_status(lease.operation_id)
        await asyncio.sleep(0.25)
        with pytest.raises(LeaseLostError):
            await OperationRepository(session).complete(lease)


async def test_the_next_worker_gets_a_new_token_and_the_old_one_is_worthless(user):
    old = await leased(user, max_attempts=2)
    await expire(old)
    new = await repository().acquire("host:2", EXPERIMENT, lease_seconds=30)
    assert (new.operation_id, new.attempts) == (old.operation_id, 2)
    assert new.token != old.token
    with pytest.raises(LeaseLostError):
        await repository().complete(old)
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
    await repository().request_cancel(cancelled.operation_id)
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
    taken = [await repository().acquire(WORKER, EXPERIMENT, lease_seconds=30) for _ in range(3)]
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
    again = await repository().acquire(WORKER, EXPERIMENT, lease_seconds=30)
    assert (again.operation_id, again.attempts) == (lease.operation_id, 2)
    assert await repository().release(again) == "failed"
    assert (await repository().get_status(lease.operation_id)).error == "the worker was shut down"


async def test_giving_back_what_was_not_begun_costs_no_attempt(user):
    lease = await leased(user)
    assert await repository().release(lease, begun=False) == "active"
    again = await repository().acquire(WORKER, EXPERIMENT, lease_seconds=30)
    assert again.attempts == 1
    await repository().request_cancel(lease.operation_id)
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
        view = await repository().get_status(lease.operation_id)
        assert (view.status, view.error) == ("failed", kept)


async def test_assert_lease_needs_a_unit_of_work(user):
    with pytest.raises(UnitOfWorkError):
        await repository().assert_lease(await leased(user))


async def test_lists_are_whole_in_order_and_filtered(user, stranger):
    stream = await new_stream(user)
    chat = await leased(user, "chat", stream_id=stream.id)
    made = await registered(user, count=5, stream_id=stream.id)
    batch = await registered(user, "batch")
    await registered(stranger)
    ended = await leased(user, stream_id=stream.id)
    await repository().complete(ended)
    expected = [batch.id, *(item.id for item in reversed(made)), chat.operation_id]
    found, cursor = [], None
    while True:
        page = await repository().page_active(user.id, cursor=cursor, limit=3)
        found += [item.id for item in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert found == expected
    assert [item.id for item in (await repository().page_active(user.id, type="batch")).items] == [batch.id]
    assert [item.id for item in (await repository().page(user.id)).items] == [ended.operation_id, *expected]
    assert [item.id for item in await repository().list_active_by_stream(stream.id)] == expected[1:]
    assert await repository().list_active_by_stream(uuid4()) == []
    other = (await repository().page(user.id, limit=1)).next_cursor
    with pytest.raises(InvalidInputError):
        await repository().page_active(user.id, cursor=other)


async def test_a_foreign_operation_looks_missing_for_every_client_call_and_nothing_changes(user, stranger):
    stream = await new_stream(user)
    lease = await leased(user, "chat", stream_id=stream.id)
    theirs = OperationRepository().for_user(stranger.id)
    mine = OperationRepository().for_user(user.id)
    before = dict(await stored(lease.operation_id))
    for identity in (lease.operation_id, uuid4()):
        assert await theirs.get_by_id(identity) is None
        assert await theirs.get_summary(identity) is None
        assert await theirs.get_status(identity) is None
        assert await theirs.delete(identity) is False
        with pytest.raises(NotFoundError) as caught:
            await theirs.request_cancel(identity)
        assert caught.value.entity == "operation"
    assert (await theirs.page(user.id)).items == []
    assert (await theirs.page_active(user.id)).items == []
    assert await theirs.list_active_by_stream(stream.id) == []
    for refused in (
        theirs.register(user.id, "experiment"),
        theirs.start(user.id, "experiment", worker_id=WORKER, lease_seconds=30),
        theirs.register(stranger.id, "chat", stream_id=stream.id),
        theirs.heartbeat(lease),
        theirs.complete(lease),
        theirs.fail(lease, "no"),
        theirs.cancel(lease),
        theirs.release(lease),
        theirs.get_outcome(lease),
        theirs.acquire(WORKER, EXPERIMENT, lease_seconds=30),
        theirs.sweep(),
        mine.acquire(WORKER, EXPERIMENT, lease_seconds=30),
    ):
        with pytest.raises(NotFoundError):
            await refused
    assert dict(await stored(lease.operation_id)) == before
    assert (await mine.get_status(lease.operation_id)).status == "active"
    assert [item.id for item in await mine.list_active_by_stream(stream.id)] == [lease.operation_id]


async def test_a_lease_with_another_owner_in_it_is_worthless(user, stranger):
    lease = await leased(user)
    with pytest.raises(LeaseLostError):
        await repository().complete(lease.model_copy(update={"user_id": stranger.id}))


async def test_an_operation_goes_with_its_conversation_and_its_user(user):
    stream = await new_stream(user)
    lease = await leased(user, "chat", stream_id=stream.id)
    await StreamRepository().delete(stream.id)
    with pytest.raises(LeaseLostError):
        await repository().heartbeat(lease)
    made = await registered(user)
    await UserRepository().delete(user.id)
    assert await repository().get_status(made.id) is None


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
    for sql, values, indexes in (
        (
            operation_leases._ACQUIRE,
            [types, WORKER, uuid4(), 30.0],
            {"operations_waiting_idx", "operations_expiry_idx", "operations_pkey"},
        ),
        (operation_leases._SWEEP, [1000], {"operations_expiry_idx", "operations_pkey"}),
        (operation_leases._HEARTBEAT, [user.id, uuid4(), uuid4(), 30.0], {"operations_pkey"}),
        (operations._GET_STATUS, [uuid4(), None], {"operations_pkey"}),
    ):
        plan = await explained(many, sql, values)
        assert plan.indexes <= indexes, sql
        assert plan.sequential_scans == set(), sql
        assert plan.sorted_rows <= 50 * (len(types) + 1), sql


async def test_the_summary_is_all_that_a_client_may_see():
    hidden = {"worker_id", "lease_token", "heartbeat_at", "lease_expires_at"}
    assert set(OperationSummary.model_fields) == set(Operation._meta.db_fields) - hidden
    assert OperationSummary.model_fields["id"].annotation is UUID
