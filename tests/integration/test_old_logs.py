"""Logs that the SQLAlchemy layer has left: they go with what they belong to, and are told to operators."""

from uuid import UUID, uuid4

import pytest

from tests.support.projections import Logs
from veupath_store.events.keys import LogKind
from veupath_store.events.projector import Projector
from veupath_store.events.removals import count_removals
from veupath_store.events.worker import ProjectionWorker
from veupath_store.legacy_ids import adopted_id
from veupath_store.models import User
from veupath_store.projection_output import show_verify
from veupath_store.repositories import AccountRepository, OperationRepository, StreamRepository, UserRepository

pytestmark = pytest.mark.with_log

OWN, OF_A_CHAT, KEPT, UNKNOWN = (f"op_{number:012x}" for number in range(4))
ODD, CAPITALS = "conversation 7", UUID("abcdefab-cdef-4abc-8def-abcdefabcdef")


@pytest.fixture
def logs(store, redis_url):
    logs = Logs(redis_url, Projector().log._prefix)
    yield logs
    logs.close()


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
    assert not logs.redis.exists(capitals)
    assert logs.redis.exists(*theirs) == 3, "only the sweep goes through the names"
    assert await count_removals() == 3
    assert not logs.redis.exists(*(f"{logs.prefix}op:{adopted_id(name)}" for name in (OWN, OF_A_CHAT)))

    await ProjectionWorker().sweep()
    assert not logs.redis.exists(*theirs)
    assert logs.redis.exists(*others) == 3
    assert await count_removals() == 0
    logs.redis.delete(*others)


async def test_an_operation_that_is_made_again_under_its_old_id_keeps_its_log(user, logs):
    await OperationRepository().register(user.id, "batch", operation_id=OWN)
    key = add(logs, f"op:{OWN}")
    await OperationRepository().delete(OWN)
    await OperationRepository().register(user.id, "batch", operation_id=OWN)
    await ProjectionWorker().sweep()
    assert logs.redis.exists(key)
    assert await count_removals() == 0
    logs.redis.delete(key)


async def test_names_are_told_apart_by_the_ids_that_stand_for_them(logs):
    usual, log = uuid4(), Projector().log
    names = {f"op:{OWN}": (LogKind.OPERATION, adopted_id(OWN)), f"stream:{ODD}": (LogKind.STREAM, adopted_id(ODD))}
    keys = [add(logs, name) for name in (*names, f"stream:{usual}", f"op:{usual}")]
    found = {}
    for kind in LogKind:
        cursor, more = 0, True
        while more:
            cursor, old = await log.names.scan_old(kind, cursor)
            found |= {key.text(""): (key.kind, key.id) for key in old}
            more = cursor != 0
    assert found == names
    logs.redis.delete(*keys)


async def legacy(user, logs, *, changed=False):
    """A conversation as an adoption leaves it: a row that names the last entry of a log without a creation."""
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
        "message_count, last_event_id, updated_at) "
        "VALUES ($1, $2, 'plasmodb', $3, 'transcript', $4, true, 2, $5, now() - interval '1 day')",
        [stream, user, name, 8 if changed else 7, last],
    )
    return stream, key


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


async def test_an_operator_is_told_of_each_row_whether_its_old_log_explains_it(user, logs, capsys):
    explained, _ = await legacy(user.id, logs)
    other, _ = await legacy((await UserRepository().create()).id, logs, changed=True)
    show_verify(await Projector().verify(), values=False, as_json=False, quiet=False)
    lines = capsys.readouterr().out.splitlines()
    told = "incomplete: the log has no beginning, and what it holds"
    assert f"{explained}  {told} explains the row" in lines
    assert f"{other}  {told} does not explain name, wdk_strategy_id" in lines


async def test_the_next_change_of_an_old_conversation_keeps_what_its_log_does_not_explain(user, logs):
    stream, key = await legacy(user.id, logs, changed=True)
    await StreamRepository().update_projection(stream, name="Phosphatases")
    assert logs.redis.xlen(key) > 5
    row = await StreamRepository().get_projection(stream)
    assert (row.name, row.wdk_strategy_id, row.message_count) == ("Phosphatases", 8, 2)
    [one] = (await Projector().verify(stream_id=stream)).suspects
    assert {difference.column for difference in one.differences} == {"wdk_strategy_id", "wdk_event_id"}
