"""Large plans and large events: each is handled, and few of them are in memory at once.

``python -m pytest -m large -s tests/integration/test_large_documents.py`` prints how much memory each call takes.
"""

import asyncio
import gc
import sys
from contextlib import asynccontextmanager
from uuid import uuid4

import psutil
import pytest

from tests.support.projections import logged
from veupath_store import Event, ProjectionWorker, Projector, StreamRepository, async_session_factory
from veupath_store.values import RebuildOutcome, VerifyOutcome

pytestmark = pytest.mark.large

MEGABYTE = 2**20
CONVERSATIONS = 130
"""More than four groups, which is what a verification does at once."""


@pytest.fixture
def settings(database_url, private_redis):
    return logged(database_url, private_redis.url, f"{uuid4()}:", log_timeout=30.0)


@asynccontextmanager
async def at_most(megabytes: int, what: str):
    """This process takes no more memory than that, beside what it has."""
    gc.collect()
    process, done = psutil.Process(), asyncio.Event()
    before = process.memory_info().rss

    async def watch() -> int:
        most = before
        while not done.is_set():
            most = max(most, process.memory_info().rss)
            await asyncio.sleep(0.005)
        return most

    watching = asyncio.ensure_future(watch())
    try:
        yield
    finally:
        done.set()
        taken = (await watching - before) / MEGABYTE
    sys.stdout.write(f"\n{what}: {taken:,.0f} MiB")
    assert taken < megabytes, what


def plan_of(megabytes: float) -> dict:
    """A plan of many small parameters, which as objects take ten times their text."""
    parameters = [{f"p{n}": {"value": f"{n * 7_919 % 1_000_003}"}} for n in range(int(megabytes * 30_000))]
    return {"root": {"id": "a", "searchName": "GenesByTaxon", "parameters": {"all": parameters}}}


@pytest.mark.parametrize(("megabytes", "count", "bound"), [(0.25, CONVERSATIONS, 150), (12, 3, 800)])
async def test_large_plans_are_folded_compared_and_rebuilt_few_at_once(user, watcher, megabytes, count, bound):
    made = [(await StreamRepository().create(user.id, "plasmodb", name=str(n))).id for n in range(count)]
    await ProjectionWorker().drain()
    plan = plan_of(megabytes)
    for stream_id in made[1:]:
        await StreamRepository().update_projection(stream_id, plan=plan)
    await Projector().append(made[0], [Event(type="graph_plan", data={"plan": plan})] * 4)
    async with at_most(bound, "catch-up"):
        await ProjectionWorker().drain()
    async with at_most(bound, "verification"):
        assert (await Projector().verify()).counts == {VerifyOutcome.EQUAL: count}
    async with at_most(bound, "rebuild"):
        assert (await Projector().rebuild()).counts == {RebuildOutcome.REBUILT: count}


async def test_plans_that_come_from_the_log_are_not_all_written_at_once(user):
    made = [(await StreamRepository().create(user.id, "plasmodb", name=str(n))).id for n in range(32)]
    await ProjectionWorker().drain()
    plan = plan_of(2)
    for stream_id in made:
        await Projector().append(stream_id, [Event(type="graph_plan", data={"plan": plan})])
    async with at_most(250, "catch-up"):
        await ProjectionWorker(concurrency=1).drain()
    assert all([(await StreamRepository().get_projection(each)).step_count for each in made])


async def test_more_large_events_wait_than_are_read_at_once(user):
    """PostgreSQL makes no JSON array of more than 256 MB."""
    large, other = [(await StreamRepository().create(user.id, "plasmodb", name=name)).id for name in ("a", "b")]
    for number in range(18):
        said = Event(type="user_message", data={"content": "x" * (15 * MEGABYTE), "n": number})
        async with async_session_factory() as session:
            await Projector().append(large, [said], session=session)
    async with at_most(400, "catch-up"):
        await ProjectionWorker().drain()
    rows = [await StreamRepository().get_projection(each) for each in (large, other)]
    assert [row.message_count for row in rows] == [18, 0]
    assert all(row.last_event_id for row in rows)
    assert (await Projector().verify()).counts == {VerifyOutcome.EQUAL: 2}
