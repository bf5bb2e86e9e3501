"""New work of another process: workers that listen have it at once, and those that cannot look for it."""

import asyncio

import pytest

from tests.support import faults
from tests.support.jobs import WORKER, all_ended, another_pool, nothing, registered, running
from tests.support.servers import until
from tests.support.statements import recorded
from veupath_store import OperationRepository, UserRepository, Worker, async_session_factory, close_db, init_db
from veupath_store.engine.announcing import _NOTIFY
from veupath_store.jobs import worker
from veupath_store.values import OperationType

LISTENS = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'"


def working(**options):
    """A worker that never looks for work by itself."""
    options = {"poll_seconds": 3600, "sweep_every": 3600, **options}
    return running(Worker(WORKER, {OperationType.EXPERIMENT: nothing}, **options))


@pytest.fixture
def listeners(watcher):
    async def some():
        return [row["pid"] for row in await watcher.fetch(LISTENS)]

    return some


async def test_a_worker_takes_new_work_of_another_process_at_once(user, database_url, listeners):
    async with working(), another_pool(database_url) as elsewhere:
        await until(listeners, 15, "it listens")
        for _ in range(3):
            await elsewhere().register(user.id, OperationType.EXPERIMENT)
            await until(all_ended, 15, "it was taken")

    async def gone():
        return not await listeners()

    await until(gone, 15, "nobody listens any more")


async def test_a_worker_that_lost_its_connection_listens_again_and_misses_nothing(
    user, database_url, listeners, watcher, monkeypatch
):
    monkeypatch.setattr(worker, "AGAIN", 0.2)
    async with working(), another_pool(database_url) as elsewhere:
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
    async with working(poll_seconds=0.1), another_pool(database_url) as elsewhere:
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
