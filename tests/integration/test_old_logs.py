"""Logs that the SQLAlchemy layer has left: they go with what they belong to, and are told to operators."""

from uuid import UUID, uuid4

import pytest

from tests.support.projections import MESSAGE, columns_of
from veupath_store.cli.projections_output import show_verify
from veupath_store.events.log.entries import LogKind
from veupath_store.events.project.projector import Projector
from veupath_store.events.project.removal import count_waiting, strays
from veupath_store.events.project.worker import ProjectionWorker
from veupath_store.inputs.legacy_ids import adopted_id
from veupath_store.models import User
from veupath_store.repositories import AccountRepository, OperationRepository, StreamRepository, UserRepository

pytestmark = pytest.mark.with_log

OWN, OF_A_CHAT, KEPT, UNKNOWN = (f"op_{number:012x}" for number in range(4))
ODD, CAPITALS = "conversation 7", UUID("abcdefab-cdef-4abc-8def-abcdefabcdef")


def add(logs, name):
    key = f"{logs.prefix}{name}"
    logs.redis.xadd(key, {"op": "", "type": "user_message", "data": "{}"})
    return key


async def made(user):
    """Operations under derived ids, one of them a conversation's; and conversations whose logs have old names."""
    operations, streams = OperationRepository(), StreamRepository()
    chat = await streams.create(user, "plasmodb", stream_id=adopted_id(ODD))
    await streams.create(user, "plasmodb", stream_id=CAPITALS)
    await operations.register(user, "batch", operation_id=OWN)
    await operations.register(user, "chat", stream_id=chat.id, operation_id=OF_A_CHAT)


def purge(user):
    return AccountRepository().purge(user)


async def delete_user(user):
    await UserRepository().delete(user)


async def delete_each(user):
    await StreamRepository().for_user(user).delete(adopted_id(ODD))
    await StreamRepository().delete(CAPITALS)
    await OperationRepository().for_user(user).delete(OWN)


@pytest.mark.parametrize("gone", [purge, delete_user, delete_each])
async def test_logs_under_old_names_go_with_what_they_belong_to_and_no_others(user, logs, gone):
    await made(user.id)
    other = await UserRepository().create()
    await OperationRepository().register(other.id, "batch", operation_id=KEPT)
    theirs = [add(logs, f"op:{OWN}"), add(logs, f"op:{OF_A_CHAT}"), add(logs, f"stream:{ODD}")]
    capitals = add(logs, f"stream:{str(CAPITALS).upper()}")
    others = [add(logs, f"op:{KEPT}"), add(logs, f"op:{UNKNOWN}"), add(logs, "stream:of another application")]

    await gone(user.id)
    await ProjectionWorker().drain()
    assert await count_waiting() == 0
    assert logs.redis.exists(capitals, *theirs) == 4, "only the sweep goes through the names"

    await ProjectionWorker().sweep()
    assert not logs.redis.exists(capitals, *theirs)
    assert logs.redis.exists(*others) == 3

    again = add(logs, f"stream:{ODD}")  # an old log that comes back, as with a restore of Redis
    await ProjectionWorker().sweep()
    assert not logs.redis.exists(again)
    logs.redis.delete(*others)


async def test_an_operation_that_is_made_again_under_its_old_id_keeps_its_log(user, logs):
    await OperationRepository().register(user.id, "batch", operation_id=OWN)
    key = add(logs, f"op:{OWN}")
    await OperationRepository().delete(OWN)
    await OperationRepository().register(user.id, "batch", operation_id=OWN)
    [new] = await Projector().append_to_operation(adopted_id(OWN), [MESSAGE])
    await ProjectionWorker().drain()
    await ProjectionWorker().sweep()
    assert logs.redis.exists(key)
    assert [position for position, _ in logs.redis.xrange(f"{logs.prefix}op:{adopted_id(OWN)}")] == [new.encode()]
    assert await count_waiting() == 0
    logs.redis.delete(key)


async def test_names_are_told_apart_by_the_ids_that_stand_for_them(logs, projector):
    usual, log = uuid4(), projector.log
    names = {
        f"op:{OWN}": (LogKind.OPERATION, adopted_id(OWN)),
        f"stream:{ODD}": (LogKind.STREAM, adopted_id(ODD)),
        f"stream:{usual}": (LogKind.STREAM, usual),
    }
    keys = [add(logs, name) for name in names]
    found = [stray async for page in strays(log, 0) for stray in page]
    assert {stray.key.text(""): (stray.key.kind, stray.key.id) for stray in found} == names
    assert not any(stray.is_removable for stray in found)
    logs.redis.delete(*keys)


async def legacy(user, logs, *, changed=False, unlogged="'{}'"):
    """A conversation as an adoption left it: a row that names the last entry of a log without a beginning.

    The first version took the row for logged; the second logs the whole row.
    """
    stream = uuid4()
    key = f"{logs.prefix}stream:{stream}"
    for kind, data in (
        ("user_message", b'{"content":"hello","messageId":"1"}'),
        ("assistant_delta", b'{"delta":"x"}'),
        ("strategy_meta", b'{"name":"Kinases","recordType":"transcript"}'),
        ("strategy_link", b'{"wdkStrategyId":7,"isSaved":true}'),
        ("assistant_message", b'{"content":"done"}'),
    ):
        last = logs.redis.xadd(key, {"op": "op_0123456789ab", "type": kind, "data": data}).decode()
    name = "changed past the log" if changed else "Kinases"
    client = User._meta.db
    await client.execute_query("INSERT INTO streams (id, user_id, site_id) VALUES ($1, $2, 'plasmodb')", [stream, user])
    await client.execute_query(
        "INSERT INTO stream_projections (stream_id, user_id, site_id, name, record_type, wdk_strategy_id, is_saved, "
        "message_count, last_event_id, updated_at, unlogged) "
        f"VALUES ($1, $2, 'plasmodb', $3, 'transcript', $4, true, 2, $5, now() - interval '1 day', {unlogged})",
        [stream, user, name, 8 if changed else 7, last],
    )
    return stream, key


@pytest.mark.unlike_log
@pytest.mark.parametrize("changed", [False, True])
async def test_an_old_log_is_verified_measured_and_never_folded_over_its_row(user, logs, changed):
    stream, key = await legacy(user.id, logs, changed=changed)
    projector = Projector()
    report = await projector.verify(stream_id=stream)
    [one] = report.suspects
    differing = {difference.column for difference in one.differences}
    assert (one.outcome, one.events) == ("incomplete", 5)
    assert ({"name", "wdk_strategy_id"} <= differing) == changed
    assert not {"record_type", "is_saved", "message_count", "plan", "step_count"} & differing
    assert dict((await projector.lag(stream_id=stream)).counts) == {"current": 1}
    before = (await StreamRepository().get_projection(stream)).name
    assert dict((await projector.rebuild(stream_id=stream)).counts) == {"incomplete": 1}
    assert (await StreamRepository().get_projection(stream)).name == before
    assert logs.redis.xlen(key) == 5


@pytest.mark.unlike_log
async def test_an_operator_is_told_of_each_row_whether_its_old_log_explains_it(user, logs, capsys):
    explained, _ = await legacy(user.id, logs)
    other, _ = await legacy((await UserRepository().create()).id, logs, changed=True)
    show_verify(await Projector().verify(), values=False, as_json=False, quiet=False)
    lines = capsys.readouterr().out.splitlines()
    told = "incomplete: the log has no beginning, and what it holds"
    assert f"{explained}  {told} explains the row" in lines
    assert f"{other}  {told} does not explain name, wdk_strategy_id" in lines


@pytest.mark.unlike_log
async def test_the_next_change_of_an_old_conversation_keeps_what_its_log_does_not_explain(user, logs):
    stream, key = await legacy(user.id, logs, changed=True)
    await StreamRepository().update_projection(stream, name="Phosphatases")
    await Projector().catch_up(stream)
    assert logs.redis.xlen(key) == 6
    row = await StreamRepository().get_projection(stream)
    assert (row.name, row.wdk_strategy_id, row.message_count) == ("Phosphatases", 8, 2)
    [one] = (await Projector().verify(stream_id=stream)).suspects
    assert {difference.column for difference in one.differences} == {"wdk_strategy_id"}


@pytest.mark.parametrize("changed", [False, True])
async def test_a_row_that_is_adopted_now_is_logged_whole_and_keeps_all_that_it_holds(user, logs, watcher, changed):
    stream, key = await legacy(user.id, logs, changed=changed, unlogged="DEFAULT")
    before = await columns_of(watcher, stream)
    assert (await Projector().verify(stream_id=stream)).counts == {"equal": 1}
    assert await ProjectionWorker().drain() == 1
    assert logs.redis.xlen(key) == 6
    after = await columns_of(watcher, stream)
    assert {**before, "last_event_id": None} == {**after, "last_event_id": None}
    report = await Projector().rebuild(stream_id=stream)
    assert dict(report.counts) == {"rebuilt": 1}
    assert await columns_of(watcher, stream) == after
    assert (await Projector().verify(stream_id=stream)).suspects == ()


async def test_what_an_old_application_still_appends_is_folded_into_an_adopted_row(user, logs):
    stream, _ = await legacy(user.id, logs, unlogged="DEFAULT")
    logs.add(stream, "user_message", {"content": "once more"})
    logs.add(stream, "strategy_meta", {"name": "of the old application"})
    await Projector().catch_up(stream)
    row = await StreamRepository().get_projection(stream)
    assert (row.name, row.message_count) == ("Kinases", 3)  # the wish wins; messages count always
    assert (await Projector().verify(stream_id=stream)).suspects == ()
