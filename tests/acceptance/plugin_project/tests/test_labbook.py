"""The lab book, with one of each: factories, the clock, the recorder, the event log."""

import asyncio
from datetime import timedelta

import labbook
import pytest

from veupath_store import LeaseRepository, LogReader, Projector, Worker
from veupath_store.events import LogKey
from veupath_store.models import ControlSet, Operation
from veupath_store.values import OperationType

pytestmark = pytest.mark.asyncio


async def test_a_page_is_opened_in_one_statement(make_user, store_statements):
    ann = await make_user()
    with store_statements(exactly=1):
        page = await labbook.open_page(ann.id, "Kinases")
    assert page.projection.name == "Kinases"


async def test_a_book_shows_its_own_pages(make_user, make_stream):
    ann, bob = await make_user(), await make_user()
    await make_stream(ann, name="Kinases")
    await make_stream(bob, name="Phosphatases")
    await make_stream(ann, name="Put away", dismissed=True)
    assert await labbook.contents(ann.id) == ["Kinases"]


async def test_what_is_untouched_for_a_week_is_put_away(make_user, make_stream, store_clock):
    ann = await make_user()
    await make_stream(ann, name="Old")
    await store_clock.advance(days=8)
    await make_stream(ann, name="New")
    assert await labbook.put_away(ann.id, timedelta(days=7)) == ["Old"]
    assert await labbook.contents(ann.id) == ["New"]


async def test_an_evaluation_whose_worker_is_lost_is_made_by_another(make_user, store_clock):
    ann = await make_user()
    operation_id = await labbook.request_evaluation(ann.id)
    lost = await LeaseRepository().claim("lost", [OperationType.EXPERIMENT], lease_seconds=600)
    assert lost is not None
    await store_clock.advance(minutes=11)

    async def evaluate_and_stop(job):
        await labbook.evaluate(job)
        worker.stop()

    worker = Worker("other", {OperationType.EXPERIMENT: evaluate_and_stop}, poll_seconds=0.01)
    async with asyncio.timeout(20):
        await worker.run()
    assert (await Operation.get(id=operation_id)).status == "completed"
    assert await ControlSet.filter(user_id=ann.id).count() == 1


async def test_what_is_written_is_in_the_log(store_log, make_stream):
    page = await make_stream()
    await labbook.write(page.id, "PF3D7_1133400 is a candidate")
    assert [entry.type for entry in await store_log.read(LogKey.stream(page.id), count=10)][-1] == "user_message"
    [message] = (await LogReader().page_messages(page.id)).items
    assert message.data["content"] == "PF3D7_1133400 is a candidate"


@pytest.mark.store(event_log=True)
@pytest.mark.parametrize("turn", range(5))
async def test_each_test_has_a_log_of_its_own(make_projection, store_clock, turn):
    page = await make_projection()
    await labbook.write(page.stream_id, "once")
    await store_clock.advance(days=1)
    report = await Projector().verify()
    assert (sum(report.counts.values()), report.suspects) == (1, ())


@pytest.mark.store(event_log=True, database="shared")
class TestMarksOfAClass:
    @pytest.mark.store(database="own")
    async def test_the_options_of_a_class_and_a_test_go_together(self, store, make_projection):
        await make_projection()
        assert store.settings.redis_url is not None
        await (await store.open()).execute_script("CREATE TABLE own_to_this_test (id int)")
