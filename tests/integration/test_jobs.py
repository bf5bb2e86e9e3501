"""Jobs under leases: how they end, what they hold while they run, and that a fault of the store is met again."""

import asyncio
import contextlib
import time

import pytest

from tests.support import faults
from tests.support.databases import connected
from tests.support.jobs import (
    WORKER,
    all_ended,
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
from tests.support.opened import opened
from tests.support.roles import role
from tests.support.servers import until
from veupath_store import (
    InvalidInputError,
    LeaseLostError,
    LeaseRepository,
    OperationRepository,
    OutcomeUnknownError,
    StreamRepository,
    UnavailableError,
    UserRepository,
    Worker,
    async_session_factory,
    leased_session,
    run_under_lease,
)
from veupath_store.errors import ConfigurationError
from veupath_store.inputs import limits
from veupath_store.jobs.run import Run
from veupath_store.models import Stream
from veupath_store.values import OperationStatus, OperationType


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """Attempts follow one another quickly."""
    monkeypatch.setattr("veupath_store.jobs.run.RETRY_PAUSE", 0.05)


class Running:
    """A job that tells when it has begun, and how it was ended."""

    def __init__(self, cleanup=0.0):
        self.begun = asyncio.Event()
        self.cancelled_at = None
        self._cleanup = cleanup

    async def __call__(self, context):
        self.context = context
        self.begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled_at = time.monotonic()
            await asyncio.sleep(self._cleanup)
            raise


async def begun(lease, job, **given):
    """The task of a job that runs."""
    task = asyncio.create_task(run_under_lease(lease, job, **given))
    await asyncio.wait_for(job.begun.wait(), 20)
    return task


async def test_twenty_jobs_at_once_hold_no_connection_of_a_pool_of_one(database_url):
    all_run = asyncio.Barrier(20)

    async def job(context):
        await all_run.wait()
        await status_of(context.lease)
        await asyncio.sleep(1.5)

    async with opened(database_url, pool_max_size=1, acquire_timeout=2):
        user = await UserRepository().create()
        leases = [await leased(user, seconds=2) for _ in range(20)]
        ended = await asyncio.gather(*(run_under_lease(lease, job) for lease in leases))
    assert ended == [OperationStatus.COMPLETED] * 20


class MuteError(Exception):
    def __str__(self):
        raise RuntimeError


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        (ValueError("no such gene"), "ValueError: no such gene"),
        (ValueError(""), "ValueError"),
        (ValueError("a\x00b\ud800"), "ValueError: a\ufffdb\ufffd"),
        (ValueError("x" * 1_000_000), ("ValueError: " + "x" * 1_000_000)[: limits.OPERATION_ERROR]),
        (MuteError(), "MuteError"),
        (asyncio.CancelledError(), "CancelledError"),
    ],
    ids=["a message", "none", "unsaveable", "long", "mute", "cancelled by itself"],
)
async def test_a_job_that_raises_has_failed_whatever_it_says(user, error, kept):
    async def job(context):
        raise error

    lease = await leased(user)
    assert await run_under_lease(lease, job) == OperationStatus.FAILED
    assert (await status_of(lease)).error == kept


async def test_a_cancelled_job_may_clean_up_for_longer_than_its_lease(user):
    lease, job = await leased(user, seconds=0.5), Running(cleanup=1.0)
    task = await begun(lease, job)
    await OperationRepository().request_cancel(lease.operation_id)
    assert await task == OperationStatus.CANCELLED
    assert len(await LeaseRepository().sweep()) == 0


async def test_a_job_that_swallows_its_cancellation_is_cancelled_and_stopped_by_its_next_checkpoint(user):
    went_on = []

    async def job(context):
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        for step in range(3):
            await context.checkpoint()
            went_on.append(step)

    lease = await leased(user, seconds=0.4)
    await OperationRepository().request_cancel(lease.operation_id)
    assert await run_under_lease(lease, job) == OperationStatus.CANCELLED
    assert went_on == []


async def test_a_job_whose_lease_is_lost_is_cancelled_and_records_nothing(user):
    lease, job = await leased(user, seconds=0.5, max_attempts=2), Running()
    task = await begun(lease, job)
    await expire(lease)
    other = await next_lease()
    before = dict(await stored(lease.operation_id))
    with pytest.raises(LeaseLostError):
        await asyncio.wait_for(task, 20)
    assert job.cancelled_at is not None
    assert dict(await stored(lease.operation_id)) == before
    await LeaseRepository().complete(other)


async def test_a_job_that_blocks_its_process_past_its_lease_writes_nothing(user):
    async def job(context):
        time.sleep(0.5)  # noqa: ASYNC251 - as a process does that is frozen
        with pytest.raises(LeaseLostError):
            await context.checkpoint()
        async with context.session(complete=True) as session:
            await StreamRepository(session).create(user.id, "plasmodb")

    with pytest.raises(LeaseLostError):
        await run_under_lease(await leased(user, seconds=0.3), job)
    assert await Stream.all().count() == 0


async def test_an_effect_and_the_end_of_its_operation_are_one_transaction(user):
    async def job(context):
        async with context.session(complete=True) as session:
            await StreamRepository(session).create(user.id, "plasmodb")
            await asyncio.sleep(0)
            assert (await status_of(context.lease)).status == "active"
        assert (await status_of(context.lease)).status == "completed"

    lease = await leased(user)
    assert await run_under_lease(lease, job) == OperationStatus.COMPLETED
    assert await Stream.all().count() == 1


async def test_an_effect_of_a_unit_of_work_that_cannot_complete_is_undone(user):
    lease = await leased(user, max_attempts=2)
    with pytest.raises(LeaseLostError):
        async with leased_session(lease, complete=True) as session:
            await StreamRepository(session).create(user.id, "plasmodb")
            await LeaseRepository(session).cancel(lease)
    assert await Stream.all().count() == 0
    assert (await status_of(lease)).status == "active"


async def test_a_job_that_has_ended_its_operation_may_go_on(user):
    async def job(context):
        async with context.session(complete=True) as session:
            await StreamRepository(session).create(user.id, "plasmodb")
        await asyncio.sleep(0.8)
        job.went_on = True

    assert await run_under_lease(await leased(user, seconds=0.3), job) == OperationStatus.COMPLETED
    assert job.went_on


async def test_a_worker_that_freezes_in_its_unit_of_work_loses_it_when_its_lease_expires(user):
    lease = await leased(user, seconds=0.5, max_attempts=2)

    with pytest.raises(UnavailableError):
        async with leased_session(lease, complete=True) as session:
            await StreamRepository(session).create(user.id, "plasmodb")
            # Nothing is said to the server from here on, as if the process had been stopped.
            assert await until(next_lease, 15, "another worker takes the operation") > 0.2
    assert await Stream.all().count() == 0


async def test_a_unit_of_work_with_a_long_lease_keeps_the_configured_timeout(database_url):
    async with opened(database_url, idle_in_transaction_timeout=7):
        lease = await leased(await UserRepository().create(), seconds=3600)
        for unit in (leased_session(lease), async_session_factory()):
            async with unit as session:
                rows = await session.client.execute_rows("SHOW idle_in_transaction_session_timeout")
                assert rows[0][0] == "7s"


@pytest.mark.parametrize("attempts", [1, 2])
async def test_a_shutdown_gives_the_operation_back_at_once_unless_that_was_its_last_attempt(user, attempts):
    lease, job = await leased(user, max_attempts=attempts), Running(cleanup=0.1)
    task = await begun(lease, job)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert job.cancelled_at is not None
    other = await next_lease()
    if attempts == 1:
        view = await status_of(lease)
        assert (view.status, view.error, other) == ("failed", "the worker was shut down", None)
    else:
        assert (other.operation_id, other.attempts) == (lease.operation_id, 2)


async def test_a_job_that_was_done_at_its_shutdown_is_completed_not_repeated(user):
    lease, done = await leased(user, max_attempts=2), asyncio.Event()

    async def job(context):
        done.set()

    task = asyncio.create_task(run_under_lease(lease, job))
    await done.wait()
    task.cancel()
    await at_once([task])
    assert (await status_of(lease)).status == "completed"


async def test_a_job_that_was_not_begun_at_the_shutdown_has_lost_no_attempt(user):
    run = Run(await leased(user), forever)
    run.shut_down()
    assert await run.ended == OperationStatus.ACTIVE
    assert (await next_lease()).attempts == 1


async def test_a_job_started_in_a_unit_of_work_is_no_part_of_it(user):
    lease = await leased(user)

    async def job(context):
        await StreamRepository().create(user.id, "plasmodb")

    with pytest.raises(ZeroDivisionError):
        async with async_session_factory():
            await run_under_lease(lease, job)
            raise ZeroDivisionError
    assert await Stream.all().count() == 1


class Deaf(LeaseRepository):
    """Its first answers are lost: before or after the server has heard the question."""

    lost = 0

    async def complete(self, lease):
        type(self).lost += 1
        if self.lost == 1:
            raise UnavailableError("not asked")
        await super().complete(lease)
        if self.lost == 2:
            raise OutcomeUnknownError("asked, not heard")


async def test_a_completion_whose_answer_was_lost_is_repeated_and_counts_once(user, monkeypatch):
    monkeypatch.setattr("veupath_store.jobs.run.LeaseRepository", Deaf)
    lease = await leased(user)
    assert await run_under_lease(lease, nothing) == OperationStatus.COMPLETED
    assert Deaf.lost == 3
    assert (await status_of(lease)).status == "completed"


async def test_an_odd_heartbeat_is_refused(user):
    lease = await leased(user)
    for every in (0, -1, float("nan"), 31, "5", True):
        with pytest.raises(InvalidInputError) as caught:
            await run_under_lease(lease, nothing, heartbeat_every=every)
        assert caught.value.path == "heartbeat_every"


# Jobs that meet a fault of the store: one that passes is met again, one that does not ends a worker.


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


@pytest.mark.parametrize("attempts", [1, 2])
async def test_a_job_that_meets_a_fault_waits_for_any_worker_unless_that_was_its_last_attempt(user, watcher, attempts):
    lease = await leased(user, max_attempts=attempts)
    ended = await run_under_lease(lease, Losing(watcher))
    again = await next_lease()
    if attempts == 1:
        assert (ended, again) == (OperationStatus.FAILED, None)
        assert "UnavailableError: " in (await status_of(lease)).error
    else:
        assert ended == OperationStatus.ACTIVE
        assert (again.operation_id, again.attempts) == (lease.operation_id, 2)


async def test_a_cancel_ends_the_pause_before_another_attempt(user, watcher, monkeypatch):
    monkeypatch.setattr("veupath_store.jobs.run.RETRY_PAUSE", 60.0)
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
    async with role(database_url, *grants) as (name, url), opened(url), connected(database_url) as owner:
        working = asyncio.create_task(Worker(WORKER, {OperationType.EXPERIMENT: forever}, poll_seconds=0.05).run())
        await owner.execute(f"ALTER ROLE {name} NOLOGIN")
        await owner.fetch("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = $1", name)
        with pytest.raises(ConfigurationError, match="log in"):
            await asyncio.wait_for(working, 20)
    assert "takes no more jobs" in caplog.text
