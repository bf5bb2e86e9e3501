"""Jobs whose database goes away while they run."""

import asyncio
import time

import pytest

from tests.support.jobs import all_ended, leased, registered, running
from tests.support.opened import opened
from tests.support.servers import until
from veupath_store import LeaseLostError, OperationRepository, UserRepository, Worker, run_under_lease
from veupath_store.models import Operation
from veupath_store.values import OperationStatus, OperationType

pytestmark = pytest.mark.large


@pytest.fixture
async def user(private_url):
    async with opened(private_url, connect_timeout=0.5):
        yield await UserRepository().create()


async def test_a_job_survives_an_outage_that_is_shorter_than_its_lease(user, private_server):
    lease = await leased(user, seconds=8)

    async def job(context):
        await asyncio.to_thread(private_server.crash)
        await asyncio.sleep(1)
        await asyncio.to_thread(private_server.start)

    assert await run_under_lease(lease, job, heartbeat_every=0.2) == OperationStatus.COMPLETED
    assert (await OperationRepository().get_status(lease.operation_id)).status == "completed"


async def test_a_job_stops_before_another_may_begin_when_the_database_stays_away(user, private_server):
    lease = await leased(user, seconds=2, max_attempts=2)
    stopped = []

    async def job(context):
        try:
            await asyncio.Event().wait()
        finally:
            stopped.append(time.monotonic())

    running = asyncio.create_task(run_under_lease(lease, job))
    await asyncio.sleep(0)
    await asyncio.to_thread(private_server.crash)
    with pytest.raises(LeaseLostError):
        await running
    await asyncio.to_thread(private_server.start)
    row = await Operation.get(id=lease.operation_id)
    expired = row.lease_expires_at.timestamp() - time.time() + time.monotonic()
    assert stopped[0] < expired


async def test_a_worker_goes_on_after_an_outage(user, private_server):
    done = []

    async def job(context):
        done.append(context.lease.operation_id)

    worker = Worker("host:1", {OperationType.EXPERIMENT: job}, poll_seconds=0.05, sweep_every=0.05)
    async with running(worker):
        await asyncio.to_thread(private_server.crash)
        await asyncio.sleep(0.3)
        await asyncio.to_thread(private_server.start)
        made = await registered(user)
        await until(all_ended, 20, "the job has run")
    assert done == [made.id]
