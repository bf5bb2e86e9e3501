"""A new conversation, its first message and its operation are one unit of work: all three are there, or none."""

import asyncio
import os
import signal
import sys
from functools import partial
from uuid import uuid4

import pytest

from tests.support.conversations import conversation, link, named, said, texts_of
from tests.support.faults import idle_in_transaction
from tests.support.law_deaths import DeadError, dying, mortality
from tests.support.projections import at_rest
from tests.support.waiting import becomes
from veupath_store import Event, OperationRepository, Projector, StreamRepository, async_session_factory
from veupath_store.errors import NotFoundError, OperationActiveError
from veupath_store.values import LagState, OperationType

pytestmark = pytest.mark.with_log

# As an application's process does it, which dies at some point.
PROCESS = """
import asyncio, os, signal, sys
from uuid import UUID
from veupath_store import Event, OperationRepository, Projector, StreamRepository, async_session_factory, init_db

user, stream, point = UUID(sys.argv[1]), UUID(sys.argv[2]), sys.argv[3]

def reached(name):
    if name == point:
        os.kill(os.getpid(), signal.SIGKILL)

async def main():
    await init_db()
    async with async_session_factory() as session:
        await StreamRepository(session).create(user, "plasmodb", stream_id=stream, name="one")
        reached("conversation")
        first = Event(type="user_message", data={"content": "first", "messageId": "m"})
        await Projector().append(stream, [first], session=session)
        reached("message")
        await OperationRepository(session).register(user, "chat", stream_id=stream)
        reached("operation")
    reached("commit")

asyncio.run(main())
"""


async def counts(watcher):
    tables = ("streams", "stream_projections", "operations", "stream_events", "deleted_ids")
    return [await watcher.fetchval(f"SELECT count(*) FROM {table}") for table in tables]


async def begin(session, user, stream_id):
    await StreamRepository(session).create(user.id, "plasmodb", stream_id=stream_id, name="one")
    await Projector().append(stream_id, said("first"), session=session)
    await OperationRepository(session).register(user.id, OperationType.CHAT, stream_id=stream_id)


async def assert_all_there(user, stream_id, logs):
    for _ in range(2):
        await at_rest()
        projection = await StreamRepository().for_user(user.id).get_projection(stream_id)
        assert (projection.name, projection.message_count) == ("one", 1)
        assert await texts_of(stream_id) == ["first"]
        [operation] = await OperationRepository().for_user(user.id).list_active_by_stream(stream_id)
        assert operation.type == OperationType.CHAT
        assert logs.types(stream_id) == ["projection_patched", "user_message"]
    assert (await Projector().lag()).counts == {LagState.CURRENT: 1}
    assert not (await Projector().verify()).suspects


async def assert_nothing_there(stream_id, logs, watcher):
    await at_rest()
    assert await counts(watcher) == [0] * 5
    assert list(logs.redis.scan_iter(match=f"{logs.prefix}*")) == []
    with pytest.raises(NotFoundError):
        await Projector().append(stream_id, said("late"))


async def test_after_the_commit_all_three_are_there_and_the_message_is_counted_once(user, logs, watcher):
    stream_id = uuid4()
    async with async_session_factory() as session:
        await begin(session, user, stream_id)
        assert await counts(watcher) == [0] * 5, "nobody else sees any of it before"
    assert await counts(watcher) == [1, 1, 1, 1, 0]
    await asyncio.gather(*(Projector().catch_up(stream_id) for _ in range(5)))
    await assert_all_there(user, stream_id, logs)
    assert await counts(watcher) == [1, 1, 1, 0, 0]


async def test_after_a_rollback_none_is_there_and_the_id_is_free(user, logs, watcher):
    stream_id = uuid4()
    with pytest.raises(OperationActiveError):
        async with async_session_factory() as session:
            await begin(session, user, stream_id)
            await OperationRepository(session).register(user.id, OperationType.CHAT, stream_id=stream_id)
    await assert_nothing_there(stream_id, logs, watcher)
    async with async_session_factory() as session:
        await begin(session, user, stream_id)
    await assert_all_there(user, stream_id, logs)


async def test_a_savepoint_that_is_rolled_back_takes_its_message_along(user, logs):
    stream_id = uuid4()
    async with async_session_factory() as session:
        await begin(session, user, stream_id)
        with pytest.raises(OperationActiveError):
            async with session.savepoint():
                await Projector().append(stream_id, said("undone"), session=session)
                await OperationRepository(session).register(user.id, OperationType.CHAT, stream_id=stream_id)
    await assert_all_there(user, stream_id, logs)


@pytest.mark.parametrize("point", ["conversation", "message", "operation", "commit"])
async def test_a_process_that_is_killed_leaves_all_three_or_none(user, logs, watcher, settings, point):
    stream_id = uuid4()
    environment = {
        **os.environ,
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "REDIS_URL": settings.redis_url.get_secret_value(),
        "VEUPATH_STORE_LOG_PREFIX": settings.log_prefix,
        "VEUPATH_STORE_CATCH_UP": "false",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROCESS, str(user.id), str(stream_id), point, env=environment
    )
    async with asyncio.timeout(60):
        assert await process.wait() == -signal.SIGKILL
    await becomes(partial(idle_in_transaction, watcher), 0, "the server has seen that the process is gone")
    if point == "commit":
        await assert_all_there(user, stream_id, logs)
    else:
        await assert_nothing_there(stream_id, logs, watcher)


async def test_an_event_of_a_unit_of_work_takes_a_wdk_strategy_from_another_conversation(user):
    holder = await conversation(user)
    await StreamRepository().claim_wdk_strategy(holder, 7)
    async with async_session_factory() as session:
        taker = (await StreamRepository(session).create(user.id, "plasmodb")).id
        await Projector().append(taker, [link(7)], session=session)
    await Projector().catch_up(taker)
    owned = [(await StreamRepository().get_projection(one)).wdk_strategy_id for one in (holder, taker)]
    assert owned == [None, 7]
    await at_rest()
    assert not (await Projector().verify()).suspects


async def test_what_a_catch_up_has_appended_that_died_is_not_appended_again_where_it_has_several_pages(stream, logs):
    await Projector().catch_up(stream)
    events = [Event(type="assistant_delta", data={}), named("a"), named("b")]
    async with async_session_factory() as session:
        await Projector().append(stream, events, session=session)
    with mortality():  # and pages of two entries
        with dying("after asking", None), pytest.raises(DeadError):
            await Projector().catch_up(stream)
        await Projector().catch_up(stream)
    assert logs.types(stream) == ["projection_patched", *(event.type for event in events)]
