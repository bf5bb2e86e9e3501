"""Workers: what they take, when they have new work of another process, and what they leave when they are stopped."""

import asyncio

import pytest

from tests.support import faults
from tests.support.jobs import (
    WORKER,
    all_ended,
    another_pool,
    at_once,
    expire,
    forever,
    leased,
    next_lease,
    nothing,
    registered,
    running,
    status_of,
    stored,
)
from tests.support.servers import until
from tests.support.statements import recorded
from tests.support.waiting import becomes
from veupath_store import OperationRepository, UserRepository, Worker, async_session_factory, close_db, init_db
from veupath_store.engine.announcing import _NOTIFY
from veupath_store.errors import InvalidInputError
from veupath_store.models import Operation
from veupath_store.repositories import LeaseRepository
from veupath_store.values import OperationType


@pytest.fixture
def worker(store):
    """Makes quick workers, and runs them."""
    tasks = []

    def make(job, **given):
        options = {"lease_seconds": 1, "poll_seconds": 0.05, "sweep_every": 0.2, **given}
        made = Worker(WORKER, {OperationType.EXPERIMENT: job}, **options)
        tasks.append(asyncio.create_task(made.run()))
        return made, tasks[-1]

    return make


async def test_a_worker_runs_what_waits_so_many_at_once_until_it_is_stopped(user, worker):
    now, most = 0, 0

    async def job(context):
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.02)
        now -= 1

    made = await registered(user, count=20)
    other = await registered(user, "batch")
    working, task = worker(job, concurrency=3)

    async def active():
        return (await OperationRepository().page_active(user.id)).items

    await becomes(active, [other], "all but the batch are done")
    working.stop()
    await asyncio.wait_for(task, 15)
    assert most == 3
    assert {(await stored(item.id)).status for item in made} == {"completed"}


async def test_a_stopped_worker_ends_its_jobs_and_takes_no_more(user, worker):
    hold, started = asyncio.Event(), []

    async def job(context):
        started.append(context.lease.operation_id)
        await hold.wait()

    first, second = await registered(user, count=2)
    working, task = worker(job, concurrency=1)

    async def how_many():
        return len(started)

    await becomes(how_many, 1, "one runs")
    working.stop()
    await asyncio.sleep(0.1)
    assert not task.done()
    hold.set()
    await asyncio.wait_for(task, 15)
    assert started == [first.id]
    assert [(await stored(item.id)).status for item in (first, second)] == ["completed", "active"]


async def test_a_cancelled_worker_gives_back_all_its_operations(user, worker):
    made = await registered(user, count=3, max_attempts=2)
    _, task = worker(forever)

    await becomes(Operation.filter(attempts=1).count, 3, "all run")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    taken = [await next_lease() for _ in range(4)]
    assert [lease and lease.operation_id for lease in taken] == [*(item.id for item in made), None]


async def test_a_worker_cancelled_at_any_moment_leaves_no_operation_to_wait_for_its_lease(user, worker):
    await registered(user, count=30, max_attempts=1_000)
    for number in range(30):
        _, task = worker(forever, concurrency=30, lease_seconds=30)
        await asyncio.sleep(0.002 * number)
        task.cancel()
        await at_once([task])
        assert await Operation.filter(lease_token__not_isnull=True).count() == 0


async def test_a_worker_sweeps_up_after_others(user, worker):
    lost, used_up = await leased(user, max_attempts=2), await leased(user)
    for lease in (lost, used_up):
        await expire(lease)
    working, task = worker(nothing)
    await until(all_ended, 15, "both have ended")
    working.stop()
    await task
    assert [(await status_of(lease)).status for lease in (lost, used_up)] == ["completed", "failed"]


async def test_a_worker_takes_new_work_of_its_process_at_once_and_not_before_it_is_committed(user, worker):
    working, task = worker(nothing, poll_seconds=3600, sweep_every=3600)
    await asyncio.sleep(0.1)
    await registered(user)
    await until(all_ended, 15, "it was taken")
    async with async_session_factory() as session:
        made = await OperationRepository(session).register(user.id, OperationType.EXPERIMENT)
        await asyncio.sleep(0.1)
        assert (await OperationRepository(session).get_status(made.id)).status == "active"
    await until(all_ended, 15, "it was taken")
    assert await LeaseRepository().release(await leased(user), begun=False) == "active"
    await until(all_ended, 15, "what was given back was taken")
    working.stop()
    await asyncio.wait_for(task, 15)


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"worker_id": ""}, "worker_id"),
        ({"handlers": {}}, "handlers"),
        ({"handlers": {"": nothing}}, "handlers"),
        ({"concurrency": 0}, "concurrency"),
        ({"lease_seconds": 0}, "lease_seconds"),
        ({"poll_seconds": None}, "poll_seconds"),
        ({"sweep_every": -1}, "sweep_every"),
    ],
)
def test_an_odd_worker_is_refused(given, path):
    options = {"worker_id": WORKER, "handlers": {"batch": nothing}, **given}
    with pytest.raises(InvalidInputError) as caught:
        Worker(options.pop("worker_id"), options.pop("handlers"), **options)
    assert caught.value.path == path


# New work of another process: workers that listen have it at once, and those that cannot look for it.

LISTENS = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'"


def never_looking(**options):
    """A worker that never looks for work by itself."""
    options = {"poll_seconds": 3600, "sweep_every": 3600, **options}
    return running(Worker(WORKER, {OperationType.EXPERIMENT: nothing}, **options))


@pytest.fixture
def listeners(watcher):
    async def some():
        return [row["pid"] for row in await watcher.fetch(LISTENS)]

    return some


async def test_a_worker_takes_new_work_of_another_process_at_once(user, database_url, listeners):
    async with never_looking(), another_pool(database_url) as elsewhere:
        await until(listeners, 15, "it listens")
        for _ in range(3):
            await elsewhere().register(user.id, OperationType.EXPERIMENT)
            await until(all_ended, 15, "it was taken")
    await becomes(listeners, [], "nobody listens any more")


async def test_a_worker_that_lost_its_connection_listens_again_and_misses_nothing(
    user, database_url, listeners, watcher, monkeypatch
):
    monkeypatch.setattr("veupath_store.jobs.worker.AGAIN", 0.2)
    async with never_looking(), another_pool(database_url) as elsewhere:
        await until(listeners, 15, "it listens")
        [pid] = await listeners()
        await watcher.fetchval("SELECT pg_terminate_backend($1, 10000)", pid)
        await elsewhere().register(user.id, OperationType.EXPERIMENT)
        await until(all_ended, 15, "it was taken")

        async def another():
            return [pid] != await listeners() != []

        await until(another, 15, "it listens again")


async def test_behind_a_pgbouncer_a_worker_looks_and_does_not_listen(settings, database_url, listeners):
    await init_db(settings=settings.model_copy(update={"pgbouncer": True}))
    user = await UserRepository().create()
    async with never_looking(poll_seconds=0.1), another_pool(database_url) as elsewhere:
        await elsewhere().register(user.id, OperationType.EXPERIMENT)
        await until(all_ended, 15, "it was taken")
        assert await listeners() == []
    await close_db()


async def test_a_unit_of_work_that_registers_does_not_notify_itself(user):
    """At COMMIT it would wait for every other one of the server."""
    with recorded() as sent:
        async with async_session_factory() as session:
            await OperationRepository(session).register(user.id, OperationType.EXPERIMENT)
    assert len(sent) == 1
    assert not [statement for statement in sent if "notify" in statement]


async def test_many_registrations_at_once_are_few_announcements(user, store, monkeypatch):
    sent = []
    client = await store.open()

    async def counted(query):
        sent.append(query)

    monkeypatch.setattr(client._announcer, "_execute", counted)
    async with async_session_factory() as session:
        for _ in range(50):
            await OperationRepository(session).register(user.id, OperationType.EXPERIMENT)
    await registered(user)
    await asyncio.sleep(0.1)
    assert set(sent) == {_NOTIFY}
    assert len(sent) <= 2
    await faults.assert_pool_complete()
