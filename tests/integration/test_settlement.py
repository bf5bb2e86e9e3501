"""What the law has found: how rows and logs are brought together."""

from uuid import UUID, uuid4

import pytest

from tests.support.law_deaths import DeadError, dying, mortality
from veupath_store.config import StoreSettings
from veupath_store.engine import start_detached
from veupath_store.events.current import event_log
from veupath_store.events.entries import Event
from veupath_store.events.keys import LogKey
from veupath_store.events.projector import Projector
from veupath_store.events.worker import ProjectionWorker
from veupath_store.repositories import StreamRepository
from veupath_store.session import get_engine


@pytest.fixture
def settings(database_url, redis_url, log_prefix):
    return StoreSettings(database_url=database_url, redis_url=redis_url, log_prefix=log_prefix)


@pytest.mark.parametrize("xact", ["none of ours", "", "\0", "-1", "9" * 20, 77, None, "\u0667"])
async def test_an_event_that_names_a_transaction_that_cannot_be_does_not_stop_its_stream(user, xact):
    stream = await StreamRepository().create(user.id, "plasmodb")
    events = [
        Event(type="projection_patched", data={"name": "patched", "xact": xact}),
        Event(type="user_message", data={}),
    ]
    positions = await Projector().append(stream.id, events)

    done = await Projector().catch_up(stream.id)

    assert done.position == positions[-1]
    projection = await StreamRepository().get_projection(stream.id)
    assert (projection.name, projection.message_count) == ("patched", 1)


@pytest.fixture
def mortal():
    with mortality():
        yield


@pytest.fixture
async def log(store):
    found = event_log()
    assert found is not None
    return found


async def nobody(pid: int) -> None:
    """The server rolls back by itself."""


async def die_creating(user, stream_id: UUID) -> None:
    with pytest.raises(DeadError), dying("first exchange", nobody):
        await StreamRepository().create(user.id, "plasmodb", stream_id=stream_id, name="a secret")


async def test_the_log_of_a_creation_that_died_before_its_commit_is_removed(mortal, user, log):
    unborn, appended_to = uuid4(), uuid4()
    for stream_id in (unborn, appended_to):
        await die_creating(user, stream_id)
    await Projector().append(appended_to, [Event(type="user_message", data={"content": "hello"})])

    await ProjectionWorker().sweep()

    assert await log.ends([LogKey.stream(unborn), LogKey.stream(appended_to)]) == [None, None]
    assert await log.behind_count() == 0


async def test_the_log_of_a_creation_that_is_under_way_is_left_alone(mortal, user, log):
    stream_id, swept = uuid4(), []

    async def sweep(pid: int) -> None:
        await start_detached(ProjectionWorker().sweep())
        swept.append(await log.ends([LogKey.stream(stream_id)]))

    with pytest.raises(DeadError), dying("before commit", sweep):
        await StreamRepository().create(user.id, "plasmodb", stream_id=stream_id)

    assert swept[0][0] is not None


async def test_the_log_of_a_conversation_that_the_database_lost_is_kept(user, log):
    stream = await StreamRepository().create(user.id, "plasmodb")
    await (await get_engine().open()).execute_query("DELETE FROM streams")

    await ProjectionWorker().sweep()

    assert await log.ends([LogKey.stream(stream.id)]) != [None]
