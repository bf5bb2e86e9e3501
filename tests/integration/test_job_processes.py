"""Eight worker processes, five hundred jobs, and every second a process that is killed or frozen."""

import asyncio

import pytest

from tests.support.jobs import all_ended, registered
from tests.support.servers import until
from tests.support.worker import EFFECTS, LEASE, SWEEP_EVERY
from tests.support.worker_processes import started
from veupath_store import LeaseRepository
from veupath_store.models import Operation

pytestmark = [pytest.mark.large, pytest.mark.own_database]

PROCESSES = 8
JOBS = 500
SIGNALS = 8
SLACK = 4.0
"""Seconds for two busy cores: between a job's being free and the moment at which a worker has asked for it."""


@pytest.fixture
async def workers(store, database_url):
    await Operation._meta.db.execute_script(EFFECTS)
    async with started(lambda number: ("-m", "tests.support.worker", database_url, f"w{number}"), PROCESSES) as workers:
        yield workers


async def busy_worker(workers, registering):
    """The number of a worker that runs a job at this moment; ``None`` when all jobs are done."""
    while not registering.done() or not await all_ended():
        rows = await rows_of(
            "SELECT worker_id FROM operations WHERE status = 'active' AND lease_expires_at > clock_timestamp()"
        )
        for number in (int(row["worker_id"].removeprefix("w")) for row in rows):
            if number in workers.running:
                return number
        await asyncio.sleep(0.01)
    return None


async def rows_of(sql):
    return await Operation._meta.db.execute_rows(sql)


async def torment(workers, registering):
    """A kill or a freeze each second, in turn. A killed process is replaced, a frozen one wakes up too late."""
    for number in range(SIGNALS):
        await asyncio.sleep(1)
        victim = await busy_worker(workers, registering)
        if victim is None:
            return
        if number % 2:
            await workers.replace(victim)
        else:
            workers.freeze(victim, LEASE + SWEEP_EVERY + SLACK)


async def register_all(user):
    for _ in range(JOBS):
        await registered(user, max_attempts=20)
        await asyncio.sleep(SIGNALS * 0.9 / JOBS)


async def test_every_effect_happens_once_and_no_job_waits_longer_than_its_lease_and_one_sweep(user, workers):
    registering = asyncio.create_task(register_all(user))
    await torment(workers, registering)
    await registering
    await until(all_ended, 20, "all jobs have ended")
    await until(workers.all_awake, 15, "the last frozen worker was woken")
    # What it would write now.
    await asyncio.sleep(0.5)
    assert await workers.stop() == {0}

    statuses = await rows_of("SELECT status, count(*) FROM operations GROUP BY status")
    assert [tuple(row) for row in statuses] == [("completed", JOBS)]
    effects = await rows_of("SELECT operation_id, count(*) AS times FROM effects GROUP BY operation_id")
    assert [row for row in effects if row["times"] != 1] == []
    assert len(effects) == JOBS
    losses = await rows_of(
        "SELECT extract(epoch FROM min(next.at) - lost.old_expiry)::float8 AS waited FROM leases lost "
        "JOIN leases next ON next.operation_id = lost.operation_id AND next.n >= lost.n AND next.worker_id IS NOT NULL "
        "WHERE lost.old_expiry IS NOT NULL GROUP BY lost.n, lost.old_expiry"
    )
    assert len(losses) >= SIGNALS / 2
    # A lease ends at most LEASE seconds after its worker was lost: from then on it is the others' turn.
    longest = max(row["waited"] for row in losses)
    assert 0 <= longest <= SWEEP_EVERY + SLACK
    print(f"{len(losses)} leases lost; the longest wait after an expiry was {longest:.3f} s")  # noqa: T201
    assert len(await LeaseRepository().sweep()) == 0
