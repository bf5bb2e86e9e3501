"""What a worker process does besides jobs, done by the application where there is none."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from veupath_store.engine import start_detached
from veupath_store.events import ProjectionWorker
from veupath_store.events.log.log import event_log
from veupath_store.jobs.sweeper import SWEEP_EVERY, Sweeper


@asynccontextmanager
async def maintained() -> AsyncIterator[None]:
    """While the block lasts, take back the operations of lost workers, catch projections up, and remove logs.

    When it ends, what is under way is finished first; nothing of it is longer than a few statements.
    """
    workers: list[Sweeper | ProjectionWorker] = [Sweeper(SWEEP_EVERY)]
    if event_log() is not None:
        workers.append(ProjectionWorker())
    running = [start_detached(worker.run(), name="maintenance") for worker in workers]
    try:
        yield
    finally:
        for worker in workers:
            worker.stop()
        await asyncio.wait(running)
