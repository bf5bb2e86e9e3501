"""What the tests of operations and jobs have in common."""

import asyncio
from contextlib import asynccontextmanager
from uuid import uuid4

from veupath_store import LeaseRepository, OperationRepository, StreamRepository
from veupath_store.config import StoreSettings
from veupath_store.engine import StoreClient
from veupath_store.models import Operation
from veupath_store.values import OperationType

WORKER = "host:1"


async def registered(user, kind=OperationType.EXPERIMENT, *, count=None, **given):
    """A waiting operation, or a list of as many."""
    if count is None:
        return await OperationRepository().register(user.id, kind, **given)
    return [await OperationRepository().register(user.id, kind, **given) for _ in range(count)]


async def leased(user, kind=OperationType.EXPERIMENT, *, seconds=30.0, **given):
    """The lease of a new operation."""
    return await OperationRepository().start(user.id, kind, worker_id=WORKER, lease_seconds=seconds, **given)


async def new_stream(user):
    return await StreamRepository().create(user.id, "plasmodb", name=str(uuid4()))


async def stored(operation_id):
    return await Operation.get(id=operation_id)


async def status_of(lease):
    return await OperationRepository().get_status(lease.operation_id)


async def all_ended():
    """Whether no operation is active."""
    return not await Operation.filter(status="active").exists()


@asynccontextmanager
async def running(worker):
    """A worker that runs until the block ends."""
    task = asyncio.create_task(worker.run())
    try:
        yield
    finally:
        worker.stop()
        await asyncio.wait_for(task, 30)


async def next_lease():
    """What another worker gets now."""
    return await LeaseRepository().claim("host:2", [OperationType.EXPERIMENT], lease_seconds=30)


async def nothing(context):
    """A job that is done at once."""


async def forever(context):
    """A job that must be stopped."""
    await asyncio.Event().wait()


async def expire(lease):
    """Let a lease have expired a moment ago."""
    await Operation._meta.db.execute_rows(
        "UPDATE operations SET lease_expires_at = clock_timestamp() - interval '1 ms' WHERE id = $1",
        [lease.operation_id],
    )


async def at_once(calls):
    """Run them together; what each returned or raised."""
    return await asyncio.gather(*calls, return_exceptions=True)


@asynccontextmanager
async def another_pool(url, repository=OperationRepository, **settings):
    """Repositories on a pool of their own, as in another process: call what it yields for one."""
    client = StoreClient(StoreSettings(database_url=url, **settings), "elsewhere")

    class Elsewhere(repository):
        async def _client(self):
            return client

    try:
        yield Elsewhere
    finally:
        await client.close()
