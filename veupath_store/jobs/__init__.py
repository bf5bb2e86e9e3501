"""Running jobs under leases.

A job is an async function. `run_under_lease` runs one whose operation was started in this process; a `Worker` takes
waiting operations, whatever process registered them, and runs each under its lease.

    async def evaluate(context: JobContext) -> None:
        outcome = await long_work()                            # no connection is held meanwhile
        async with context.session(complete=True) as session:  # exactly once
            await save(session, outcome)

    await Worker("host:1", {OperationType.EXPERIMENT: evaluate}).run()
"""

from veupath_store.jobs.run import Job, JobContext, leased_session, run_under_lease
from veupath_store.jobs.worker import Worker

__all__ = ["Job", "JobContext", "Worker", "leased_session", "run_under_lease"]
