"""Conversations and operations read back from their logs."""

from contextlib import aclosing
from uuid import uuid4

import pytest

from tests.support.conversations import deltas, said
from tests.support.statements import recorded
from veupath_store.errors import ConfigurationError, InternalError, InvalidInputError, NotFoundError
from veupath_store.events.log.entries import Event, LogKey
from veupath_store.events.log.log import required_log
from veupath_store.events.project import catch_up as catch_up_module
from veupath_store.events.project.projector import Projector
from veupath_store.events.project.worker import ProjectionWorker
from veupath_store.events.reader import LogReader
from veupath_store.repositories import OperationRepository, StreamRepository
from veupath_store.session import async_session_factory, close_db, init_db
from veupath_store.values import MessageRole, OperationType

pytestmark = pytest.mark.with_log


def answered(text, **more):
    return Event(type="assistant_message", data={"content": text}, **more)


async def test_messages_come_back_as_they_were_said(stream, user):
    operation = uuid4()
    ids = await Projector().append(stream, [*said("why"), *deltas(3), answered("so", operation_id=operation)])
    page = await LogReader().for_user(user.id).page_messages(stream)
    assert page.at_end
    shown = [(one.id, one.role, one.message_id, one.content, one.operation_id) for one in page.items]
    asked = (ids[0], MessageRole.USER, "why", "why", None)
    assert shown == [asked, (ids[-1], MessageRole.ASSISTANT, None, "so", operation)]
    assert int(page.items[0].created_at.timestamp() * 1000) == int(ids[0].split("-")[0])
    assert page.items[0].data == {"content": "why", "messageId": "why"}


async def test_an_sse_client_gets_exactly_what_it_has_missed(stream, user):
    ids = await Projector().append(stream, [*said("1"), *deltas(10), answered("1")])
    reader = LogReader().for_user(user.id)
    for seen in (None, *ids):
        page = await reader.page_events(stream, position=seen, limit=1_000)
        assert [event.id for event in page.items] == (ids if seen is None else ids[ids.index(seen) + 1 :])
        assert page.at_end
        assert page.position == ids[-1]
    first = await reader.page_events(stream, limit=5)
    assert ([event.id for event in first.items], first.position, first.at_end) == (ids[:5], ids[4], False)
    later = await Projector().append(stream, said("2"))
    assert [event.id for event in (await reader.page_events(stream, position=ids[-1])).items] == later


async def test_the_stores_own_events_are_nobody_elses_business(stream):
    await StreamRepository().update_projection(stream, name="renamed")
    await Projector().catch_up(stream)
    [event_id] = await Projector().append(stream, said("1"))
    page = await LogReader().page_events(stream)
    assert [event.id for event in page.items] == [event_id]


async def test_what_is_no_json_is_shown_as_nothing_and_is_no_message(stream, logs):
    reader = LogReader()
    await Projector().catch_up(stream)
    logs.add(stream, "user_message", b"no json")
    logs.add(stream, "tool_call_end", b"[1]")
    events = (await reader.page_events(stream)).items
    assert [(event.type, event.data) for event in events] == [("user_message", None), ("tool_call_end", None)]
    assert (await reader.page_messages(stream)).items == ()


@pytest.mark.parametrize("events", [said("1"), deltas(1)], ids=["a message", "a word"])
async def test_an_event_of_a_unit_of_work_is_there_once_also_where_a_catch_up_died_after_appending_it(
    stream, events, monkeypatch
):
    await Projector().catch_up(stream)
    async with async_session_factory() as session:
        await Projector().append(stream, events, session=session)
    with monkeypatch.context() as dying:
        dying.setattr(catch_up_module, "commit", _die)
        with pytest.raises(InternalError):
            await Projector().catch_up(stream)
    assert len((await LogReader().page_events(stream)).items) == 1
    await Projector().catch_up(stream)
    await ProjectionWorker().drain()
    assert len((await LogReader().page_events(stream)).items) == 1
    assert (await Projector().verify()).suspects == ()


async def _die(parts):
    raise InternalError("as if the process had died here")


async def test_a_conversations_operation_is_found_in_the_conversations_log(stream, user):
    before = (await Projector().append(stream, said("0")))[0]
    operation = await OperationRepository().register(
        user.id, OperationType.CHAT, stream_id=stream, start_position=before
    )
    mine = await Projector().append(stream, said("1", "2", "3", operation_id=operation.id))
    other = await Projector().append(stream, said("other", operation_id=uuid4()))
    last = await Projector().append(stream, [answered("4", operation_id=operation.id)])
    reader = LogReader().for_user(user.id)
    page = await reader.page_operation_events(operation.id)
    assert [event.id for event in page.items] == [*mine, *last]
    assert other[0] not in {event.id for event in page.items}
    missed = await reader.page_operation_events(operation.id, position=mine[-1])
    assert [event.id for event in missed.items] == last


async def test_an_operations_events_begin_at_its_start_position_itself(stream, user):
    operation_id = uuid4()
    ids = await Projector().append(stream, said("0", "1", operation_id=operation_id))
    await OperationRepository().register(
        user.id, OperationType.CHAT, stream_id=stream, start_position=ids[1], operation_id=operation_id
    )
    assert [event.id for event in (await LogReader().page_operation_events(operation_id)).items] == ids[1:]


async def test_an_experiments_operation_has_a_log_of_its_own_which_goes_with_it(user):
    operation = await OperationRepository().register(user.id, OperationType.EXPERIMENT)
    reader = LogReader().for_user(user.id)
    assert (await reader.page_operation_events(operation.id)).items == ()
    progress = [Event(type="progress", data={"done": number}) for number in range(3)]
    ids = await Projector().append_to_operation(operation.id, progress)
    page = await reader.page_operation_events(operation.id, position=ids[0])
    assert [event.data for event in page.items] == [{"done": 1}, {"done": 2}]
    await OperationRepository().delete(operation.id)
    await ProjectionWorker().drain()
    with pytest.raises(NotFoundError):
        await Projector().append_to_operation(operation.id, progress)
    assert await reader._log.ends([LogKey.operation(operation.id)]) == [None]


async def test_nobody_reads_another_users_log(stream, user, stranger):
    await Projector().append(stream, said("1"))
    operation = await OperationRepository().register(user.id, OperationType.EXPERIMENT)
    theirs = LogReader().for_user(stranger.id)
    for call, identity in (
        (theirs.page_messages, stream),
        (theirs.page_events, stream),
        (lambda one: anext(theirs.iterate_messages(one)), stream),
        (theirs.page_operation_events, operation.id),
        (theirs.follow, stream),
        (theirs.follow_operation, operation.id),
    ):
        with pytest.raises(NotFoundError) as foreign:
            await call(identity)
        with pytest.raises(NotFoundError) as missing:
            await call(uuid4())
        assert str(foreign.value) == str(missing.value)
    assert not required_log().watch._followed


async def test_what_anothers_log_holds_under_the_id_of_a_conversation_is_never_read(user, stranger, logs):
    """As after a restore of PostgreSQL: the id is free there, and the log of the one who had it is still in Redis."""
    stream = uuid4()
    logs.add(stream, "projection_patched", {"whole": "made", "userId": str(stranger.id), "siteId": "plasmodb"})
    logs.add(stream, "user_message", {"content": "a stranger's question"})
    await StreamRepository().create(user.id, "plasmodb", stream_id=stream)
    reader = LogReader().for_user(user.id)
    assert (await reader.page_messages(stream)).items == (await reader.page_events(stream)).items == ()
    [mine] = await Projector().append(stream, said("1"))
    async with aclosing(await reader.follow(stream)) as events:
        assert (await anext(events)).id == mine
    assert (await StreamRepository().get_projection(stream)).user_id == user.id


async def test_a_page_is_one_indexed_read(stream, user):
    await Projector().append(stream, said("1"))
    with recorded() as sent:
        await LogReader().for_user(user.id).page_messages(stream)
    assert len(sent) == 1
    assert "user_id" in sent[0]


@pytest.mark.parametrize(
    ("name", "wrong"), [("position", "9"), ("position", "9-x"), ("limit", 0), ("limit", 1_001), ("newest_first", 1)]
)
async def test_bad_arguments_are_refused_by_name(stream, name, wrong):
    with pytest.raises(InvalidInputError) as caught:
        await LogReader().page_messages(stream, **{name: wrong})
    assert caught.value.path == name


async def test_without_a_log_there_is_nothing_to_read(settings):
    await init_db(settings=settings.model_copy(update={"redis_url": None}))
    for made in (LogReader, Projector):
        with pytest.raises(ConfigurationError, match="REDIS_URL"):
            made()
    await close_db()
