"""Operations, one call at a time."""

from functools import partial
from uuid import UUID, uuid4

from tortoise.exceptions import IncompleteInstanceError

from tests.support.calls import all_items, refusal
from tests.support.jobs import WORKER, expire, leased, new_stream, registered, stored
from veupath_store.errors import ConflictError, InvalidInputError, NotFoundError, OperationActiveError
from veupath_store.models import Operation
from veupath_store.repositories import LeaseRepository, OperationRepository, StreamRepository
from veupath_store.session import async_session_factory
from veupath_store.values import OperationSummary, OperationType

EXPERIMENT = [OperationType.EXPERIMENT]


def repository():
    return OperationRepository()


async def test_a_registered_operation_waits_and_is_discoverable_by_its_user(user):
    identity = uuid4()
    made = await registered(user, operation_id=str(identity), start_position="1700000000000-0", max_attempts=3)
    assert made.id == identity
    assert (made.status, made.type, made.attempts, made.max_attempts) == ("active", "experiment", 0, 3)
    assert await repository().get_summary(identity) == made
    assert (await repository().page_active(user.id)).items == [made]
    row = await repository().get_by_id(identity)
    assert (row.lease_token, row.lease_expires_at, row.user_id) == (None, None, user.id)


async def test_a_started_operation_has_its_lease_from_the_first_moment(user):
    stream = await new_stream(user)
    lease = await leased(user, "chat", stream_id=stream.id)
    row = await stored(lease.operation_id)
    assert (row.worker_id, row.lease_token, row.lease_expires_at) == (WORKER, lease.token, lease.expires_at)
    assert (lease.stream_id, lease.attempts, row.attempts) == (stream.id, 1, 1)
    assert 29.9 < (lease.expires_at - row.created_at).total_seconds() < 30.9
    assert await LeaseRepository().claim(WORKER, list(OperationType), lease_seconds=30) is None


async def test_no_summary_and_no_repr_shows_the_token(user):
    lease = await leased(user)
    summary = await repository().get_summary(lease.operation_id)
    status = await repository().get_status(lease.operation_id)
    assert str(lease.token) not in f"{lease!r} {lease} {summary!r} {status!r} {summary.model_dump_json()}"


async def test_a_second_active_chat_on_a_conversation_is_refused(user):
    for first, second in (("chat", "chat"), ("chat", "workbench_chat"), ("workbench_chat", "chat")):
        stream = await new_stream(user)
        lease = await leased(user, first, stream_id=stream.id)
        refused = await refusal(OperationActiveError, leased(user, second, stream_id=stream.id))
        assert refused.constraint == "operations_chat_key"
        assert isinstance(refused, ConflictError)
        for secret in (stream.id, user.id, lease.operation_id, lease.token, WORKER):
            assert str(secret) not in str(refused)
        await registered(user, "experiment", stream_id=stream.id)
        await leased(user, second, stream_id=(await new_stream(user)).id)
        await LeaseRepository().complete(lease)
        await leased(user, second, stream_id=stream.id)


async def test_a_refused_chat_does_not_undo_the_unit_of_work_around_it(user):
    stream = await new_stream(user)
    await leased(user, "chat", stream_id=stream.id)
    async with async_session_factory() as session:
        await StreamRepository(session).update_projection(stream.id, name="Kinases")
        register = OperationRepository(session).register
        await refusal(OperationActiveError, register(user.id, "chat", stream_id=stream.id))
    assert (await StreamRepository().get_projection(stream.id)).name == "Kinases"


async def test_a_taken_id_is_a_conflict(user):
    made = await registered(user)
    refused = await refusal(ConflictError, registered(user, operation_id=made.id))
    assert refused.constraint == "operations_pkey"


async def test_what_no_worker_has_is_cancelled_at_once(user):
    waiting = await registered(user)
    view = await repository().request_cancel(waiting.id)
    assert (view.status, view.cancel_requested) == ("cancelled", True)
    assert view.completed_at is not None
    assert await LeaseRepository().claim(WORKER, EXPERIMENT, lease_seconds=30) is None
    lost = await leased(user, max_attempts=2)
    await expire(lost)
    assert (await repository().request_cancel(lost.operation_id)).status == "cancelled"
    await refusal(NotFoundError, repository().request_cancel(uuid4()))


async def test_lists_are_whole_in_order_and_filtered(user, stranger):
    stream = await new_stream(user)
    chat = await leased(user, "chat", stream_id=stream.id)
    made = await registered(user, count=5, stream_id=stream.id)
    batch = await registered(user, "batch")
    await registered(stranger)
    ended = await leased(user, stream_id=stream.id)
    await LeaseRepository().complete(ended)
    expected = [batch.id, *(item.id for item in reversed(made)), chat.operation_id]
    found = await all_items(partial(repository().page_active, user.id), 3)
    assert [item.id for item in found] == expected
    assert [item.id for item in (await repository().page_active(user.id, type="batch")).items] == [batch.id]
    assert [item.id for item in (await repository().page(user.id)).items] == [ended.operation_id, *expected]
    assert [item.id for item in await repository().list_active_by_stream(stream.id)] == expected[1:]
    assert await repository().list_active_by_stream(uuid4()) == []
    other = (await repository().page(user.id, limit=1)).next_cursor
    await refusal(InvalidInputError, repository().page_active(user.id, cursor=other))


async def test_a_row_that_is_read_by_its_id_has_no_token_and_cannot_overwrite_it(user):
    lease = await leased(user)
    for reader in (OperationRepository(), OperationRepository().for_user(user.id)):
        row = await reader.get_by_id(lease.operation_id)
        assert (row.lease_token, row.worker_id) == (None, WORKER)
        assert dict(row) == {**dict(await stored(lease.operation_id)), "lease_token": None}
        await refusal(IncompleteInstanceError, row.save())
    assert (await stored(lease.operation_id)).lease_token == lease.token
    await LeaseRepository().heartbeat(lease)


async def test_the_summary_is_all_that_a_client_may_see():
    hidden = {"worker_id", "lease_token", "heartbeat_at", "lease_expires_at"}
    assert set(OperationSummary.model_fields) == set(Operation._meta.db_fields) - hidden
    assert OperationSummary.model_fields["id"].annotation is UUID
