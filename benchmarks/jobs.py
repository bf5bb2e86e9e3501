"""How soon a cancel and new work arrive from another process, and what fifty running jobs cost.

    python -m benchmarks.jobs DATABASE_URL

The database is migrated, and may be any: users of its own are made, and deleted afterwards. This process runs the jobs;
another one, of this same file, cancels and registers.
"""

import asyncio
import statistics
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

from veupath_store import (
    AccountRepository,
    JobContext,
    OperationRepository,
    UserRepository,
    Worker,
    close_db,
    init_db,
    run_under_lease,
    start_detached,
)
from veupath_store.config import StoreSettings
from veupath_store.integrations.testing import recorded
from veupath_store.values import Lease

TIMES = 200
BUSY = 50
LISTENING = 1.0
"""Seconds that a worker has to connect."""


class Other:
    """Another process, which does what it is told, line by line, and answers with the time at which it was done."""

    def __init__(self, told: asyncio.StreamWriter, answers: asyncio.StreamReader) -> None:
        self._told, self._answers = told, answers

    async def tell(self, verb: str, identity: UUID) -> float:
        """Have something done, and learn when it was."""
        self._told.write(f"{verb} {identity}\n".encode())
        return float(await self._answers.readline())


@asynccontextmanager
async def other(url: str) -> AsyncIterator[Other]:
    """The other process, while the block lasts."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.jobs", url, "other"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    if process.stdin is None or process.stdout is None:
        raise RuntimeError
    try:
        yield Other(process.stdin, process.stdout)
    finally:
        process.stdin.close()
        await process.wait()


async def serve(url: str) -> None:
    """Be the other process."""
    await init_db(settings=StoreSettings(database_url=url))
    operations = OperationRepository()
    while line := await asyncio.to_thread(sys.stdin.readline):
        verb, identity = line.split()
        if verb == "cancel":
            await operations.request_cancel(identity)
        else:
            await operations.register(identity, "pick-up")
        sys.stdout.write(f"{time.monotonic()}\n")  # one clock for all processes of a machine
        sys.stdout.flush()
    await close_db()


async def forever(_: JobContext) -> None:
    """A job that must be stopped."""
    await asyncio.Event().wait()


async def leased(user_id: UUID) -> Lease:
    """The lease of a new operation of no worker's type."""
    return await OperationRepository().start(user_id, "busy", worker_id="bench", lease_seconds=30)


async def cancels(elsewhere: Other, user_id: UUID) -> list[float]:
    """Seconds from each cancel's end there to the job's being cancelled here."""
    took = []
    for number in range(TIMES):
        stopped: list[float] = []

        async def job(_: JobContext, stopped: list[float] = stopped) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                stopped.append(time.monotonic())

        lease = await leased(user_id)
        task = start_detached(run_under_lease(lease, job))
        await asyncio.sleep(0.01 + number % 90 / 100)  # at every moment between two looks
        asked = await elsewhere.tell("cancel", lease.operation_id)
        await task
        took.append(max(0.0, stopped[0] - asked))
    return took


async def pick_ups(elsewhere: Other, user_id: UUID, *, listens: bool) -> list[float]:
    """Seconds from each registration's end there to the job's beginning here."""
    begun: asyncio.Queue[float] = asyncio.Queue()

    async def job(_: JobContext) -> None:
        begun.put_nowait(time.monotonic())

    worker = Worker("bench", {"pick-up": job}, poll_seconds=1.0)
    running = start_detached(worker.run())
    await asyncio.sleep(LISTENING)
    took = []
    for number in range(TIMES if listens else TIMES // 2):
        await asyncio.sleep(0.01 + number % 10 / 100)
        registered = await elsewhere.tell("register", user_id)
        took.append(max(0.0, await begun.get() - registered))
    worker.stop()
    await running
    return took


def shown(what: str, took: Sequence[float]) -> None:
    """Write one line of the result."""
    ordered = sorted(took)
    sys.stdout.write(
        f"{what:<44} p50 {1000 * statistics.median(ordered):7.1f} ms   "
        f"p99 {1000 * ordered[int(0.99 * len(ordered)) - 1]:7.1f} ms   most {1000 * ordered[-1]:7.1f} ms\n"
    )


async def measure(url: str) -> None:
    """Cancels and pick-ups, with nothing else to do and beside many jobs."""
    await init_db(settings=StoreSettings(database_url=url))
    user_id = (await UserRepository().get_or_create(uuid4())).id
    async with other(url) as elsewhere:
        for running in (0, BUSY):
            jobs = [start_detached(run_under_lease(await leased(user_id), forever)) for _ in range(running)]
            if running:
                with recorded() as sent:
                    await asyncio.sleep(20)
                sys.stdout.write(f"{running} jobs running: {len(sent) / 20:.2f} statements a second\n")
            shown(f"cancel from another process, {running} jobs run", await cancels(elsewhere, user_id))
            shown(f"pick-up from another process, {running} jobs run", await pick_ups(elsewhere, user_id, listens=True))
            for task in jobs:
                task.cancel()
            await asyncio.gather(*jobs, return_exceptions=True)
    await AccountRepository().purge(user_id)
    await close_db()


async def measure_looking(url: str) -> None:
    """Pick-up as behind a PgBouncer, where nobody listens."""
    await init_db(settings=StoreSettings(database_url=url, pgbouncer=True))
    user_id = (await UserRepository().get_or_create(uuid4())).id
    async with other(url) as elsewhere:
        shown("pick-up where it cannot listen", await pick_ups(elsewhere, user_id, listens=False))
    await AccountRepository().purge(user_id)
    await close_db()


async def main(url: str) -> None:
    """All of it, in about ten minutes."""
    await measure(url)
    await measure_looking(url)


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]) if sys.argv[2:] == ["other"] else main(sys.argv[1]))
