"""An application that does without a worker process."""

import asyncio

import pytest

from tests.support.jobs import expire, leased
from tests.support.servers import until
from tests.support.web import registered, running
from veupath_store import (
    Event,
    OperationRepository,
    Projector,
    StreamRepository,
    UserRepository,
    close_db,
    init_db,
)
from veupath_store.events.log.entries import LogKey
from veupath_store.events.log.log import required_log

pytestmark = pytest.mark.usefixtures("fresh_process")


def maintainers():
    return [task for task in asyncio.all_tasks() if task.get_name() == "maintenance"]


@pytest.mark.with_log
async def test_an_application_sweeps_catches_up_and_removes_by_itself(settings):
    alone = settings.model_copy(update={"catch_up": False})
    await init_db(settings=alone)
    user = await UserRepository().create()
    lost = await leased(user)
    await expire(lost)
    stream, gone = [(await StreamRepository().create(user.id, "plasmodb")).id for _ in range(2)]
    for identity in (stream, gone):
        await Projector().append(identity, [Event(type="user_message", data={"content": "Find kinases"})])
    await StreamRepository().delete(gone)
    assert (await StreamRepository().get_projection(stream)).message_count == 0
    await close_db()

    async def all_done():
        swept = (await OperationRepository().get_status(lost.operation_id)).status == "failed"
        caught_up = (await StreamRepository().get_projection(stream)).message_count == 1
        return swept and caught_up and not await required_log().read(LogKey.stream(gone), after=None, count=1)

    async with running(registered(settings=alone, maintain=True)):
        await until(all_done, 10, "all is done")
        assert len(maintainers()) == 2
    assert maintainers() == []


async def test_an_application_without_a_log_sweeps_only(settings):
    without = settings.model_copy(update={"redis_url": None})
    async with running(registered(settings=without, maintain=True)):
        assert len(maintainers()) == 1
    assert maintainers() == []


async def test_an_application_maintains_nothing_unless_it_is_asked_to_and_nothing_of_a_store_that_was_open(settings):
    async with running(registered(settings=settings)):
        assert maintainers() == []
    await init_db(settings=settings)
    async with running(registered(maintain=True)):
        assert maintainers() == []
    await close_db()
