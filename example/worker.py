"""The worker process: ``python -m example.worker``. Any number of them may run, beside any number of web processes."""

import asyncio
import logging
import os
import signal
import socket
from typing import Final

from example.assistant import answer
from example.evaluation import evaluate
from veupath_store import ProjectionWorker, Worker, close_db, init_db
from veupath_store.values import OperationType

LEASE_SECONDS: Final = float(os.environ.get("EXAMPLE_LEASE_SECONDS", "10"))
"""How long a job waits when its worker is lost."""


async def main() -> None:
    """Take jobs and keep the projections caught up, until SIGTERM or Ctrl-C: jobs are then given to other workers."""
    await init_db()
    jobs = Worker(
        f"{socket.gethostname()}:{os.getpid()}",
        {OperationType.CHAT: answer, OperationType.EXPERIMENT: evaluate},
        concurrency=16,
        lease_seconds=LEASE_SECONDS,
        poll_seconds=0.2,
        sweep_every=min(LEASE_SECONDS, 10.0),
    )
    projections, running = ProjectionWorker(), asyncio.current_task()
    assert running is not None  # noqa: S101 - this one
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, running.cancel)
    print("taking jobs", flush=True)  # noqa: T201 - for whoever started it
    try:
        # Not gather, which does not wait for the other when one is cancelled: its jobs would find the store closed.
        async with asyncio.TaskGroup() as group:
            group.create_task(jobs.run())
            group.create_task(projections.run())
    except asyncio.CancelledError:
        print("jobs are given back", flush=True)  # noqa: T201
    finally:
        await close_db()


if __name__ == "__main__":
    logging.basicConfig(format="%(levelname)s %(name)s %(message)s")
    logging.getLogger("veupath_store").setLevel(logging.INFO)
    asyncio.run(main())
