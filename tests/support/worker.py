"""``python -m tests.support.worker URL ID``: a worker process, until SIGTERM.

Its jobs take 20 to 200 ms and have an effect: a row in the table ``effects``, which nothing keeps from being written
twice. `EFFECTS` makes that table, and one with every lease that was taken, renewed by nobody, or given up.
"""

import asyncio
import logging
import signal
import sys

from veupath_store import StoreSettings, Worker, close_db, init_db
from veupath_store.values import OperationType

LEASE = 1.0
SWEEP_EVERY = 0.5

EFFECTS = """
CREATE TABLE effects (operation_id uuid NOT NULL, worker_id text NOT NULL);
CREATE TABLE leases (operation_id uuid, old_expiry timestamptz, worker_id text, at timestamptz, n serial);
CREATE FUNCTION log_lease() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO leases (operation_id, old_expiry, worker_id, at)
    VALUES (NEW.id, OLD.lease_expires_at, CASE WHEN NEW.lease_token IS NOT NULL THEN NEW.worker_id END,
            clock_timestamp());
    RETURN NEW;
END
$$;
CREATE TRIGGER log_lease AFTER UPDATE ON operations FOR EACH ROW
    WHEN (NEW.lease_token IS DISTINCT FROM OLD.lease_token) EXECUTE FUNCTION log_lease();
"""


async def job(context):
    lease = context.lease
    await asyncio.sleep(0.02 + lease.operation_id.int % 160 / 1000)
    async with context.session(complete=True) as session:
        await session.client.execute_rows(
            "INSERT INTO effects (operation_id, worker_id) VALUES ($1, $2)", [lease.operation_id, lease.worker_id]
        )
        await asyncio.sleep(0.02)


async def main(url, worker_id):
    logging.getLogger("veupath_store.jobs").setLevel(logging.ERROR)
    await init_db(settings=StoreSettings(database_url=url, pool_max_size=2))
    worker = Worker(
        worker_id,
        {OperationType.EXPERIMENT: job},
        concurrency=2,
        lease_seconds=LEASE,
        poll_seconds=0.1,
        sweep_every=SWEEP_EVERY,
    )
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
    await worker.run()
    await close_db()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
