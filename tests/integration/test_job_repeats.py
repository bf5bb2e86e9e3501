"""Jobs that meet a fault of the store: one that passes is met again, one that does not ends a worker."""

import asyncio

import pytest

from tests.support import faults
from tests.support.jobs import WORKER, all_ended, forever, leased, next_lease, registered, running, status_of, stored
from tests.support.roles import role
from tests.support.servers import running_server, until
from veupath_store import (
    OperationRepository,
    StreamRepository,
    UnavailableError,
    Worker,
    close_db,
    init_db,
    run_under_lease,
)
from veupath_store.config import StoreSettings
from veupath_store.errors import ConfigurationError
from veupath_store.jobs import run
from veupath_store.servers.database_url import parse_database_url
from veupath_store.values import OperationStatus, OperationType


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """Attempts follow one another quickly."""
    monkeypatch.setattr(run, "RETRY_PAUSE", 0.05)


class Losing:
    """A job whose connection the server ends in the first attempts."""

    def __init__(self, watcher, times=1, *, in_a_group=False):
        self.watcher, self.times, self.attempts, self.in_a_group = watcher, times, 0, in_a_group
        self.lost = asyncio.Event()

    async def __call__(self, context):
        self.attempts += 1
        if not self.in_a_group:
            await self.work(context)
            return
        async with asyncio.TaskGroup() as group:
            group.create_task(self.work(context))

    async def work(self, context):
        async with context.session(complete=True) as session:
            await StreamRepository(session).create(context.lease.user_id, "plasmodb")
            if self.attempts <= self.times:
                pid = await faults.client_pid(session.client)
                await self.watcher.fetchval("SELECT pg_terminate_backend($1, 10000)", pid)
                self.lost.set()


@pytest.mark.parametrize("in_a_group", [False, True])
async def test_a_job_that_loses_its_connection_is_tried_again_and_its_effect_happens_once(user, watcher, in_a_group):
    made, job = await registered(user, max_attempts=3), Losing(watcher, in_a_group=in_a_group)
    worker = Worker(WORKER, {OperationType.EXPERIMENT: job}, poll_seconds=60)
    async with running(worker):
        await until(all_ended, 20, "the job has ended")
    row = await stored(made.id)
    assert (row.status, row.attempts, job.attempts) == ("completed", 2, 2)
    assert len(await StreamRepository().list_projections(user.id)) == 1


async def test_a_job_that_meets_the_fault_in_its_last_attempt_has_failed_and_says_why(user, watcher):
    lease = await leased(user)
    assert await run_under_lease(lease, Losing(watcher)) == OperationStatus.FAILED
    assert "UnavailableError: " in (await status_of(lease)).error


async def test_a_job_that_is_given_back_waits_for_any_worker(user, watcher):
    lease = await leased(user, max_attempts=2)
    assert await run_under_lease(lease, Losing(watcher)) == OperationStatus.ACTIVE
    again = await next_lease()
    assert (again.operation_id, again.attempts) == (lease.operation_id, 2)


async def test_a_cancel_ends_the_pause_before_another_attempt(user, watcher, monkeypatch):
    monkeypatch.setattr(run, "RETRY_PAUSE", 60.0)
    lease, job = await leased(user, max_attempts=2), Losing(watcher)
    task = asyncio.create_task(run_under_lease(lease, job))
    await asyncio.wait_for(job.lost.wait(), 20)
    await OperationRepository().request_cancel(lease.operation_id)
    assert await asyncio.wait_for(task, 10) == OperationStatus.CANCELLED


async def test_an_error_beside_the_fault_fails_the_job(user):
    async def job(context):
        raise ExceptionGroup("two", [UnavailableError("away"), ValueError("wrong")])

    lease = await leased(user, max_attempts=2)
    assert await run_under_lease(lease, job) == OperationStatus.FAILED


async def test_a_fault_that_does_not_pass_ends_a_worker_with_its_error(database_url, caplog):
    grants = ("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}",)
    async with role(database_url, *grants) as (name, url):
        await init_db(settings=StoreSettings(database_url=url))
        worker = Worker(WORKER, {OperationType.EXPERIMENT: forever}, poll_seconds=0.05)
        working = asyncio.create_task(worker.run())
        server = running_server(database_url)
        await server.run(
            f"ALTER ROLE {name} NOLOGIN",
            f"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = '{name}'",
            database=parse_database_url(database_url).database,
        )
        with pytest.raises(ConfigurationError, match="log in"):
            await asyncio.wait_for(working, 20)
        await close_db()
    assert "takes no more jobs" in caplog.text
