"""``python -m tests.support.projecting DATABASE_URL REDIS_URL PREFIX``: a projection worker, until SIGTERM."""

import asyncio
import logging
import signal
import sys

from tests.support.projections import logged
from veupath_store import close_db, init_db
from veupath_store.events.project.worker import ProjectionWorker


async def main(database_url, redis_url, prefix):
    logging.getLogger("veupath_store").setLevel(logging.ERROR)
    await init_db(settings=logged(database_url, redis_url, prefix, pool_max_size=5))
    worker = ProjectionWorker(poll_seconds=0.02, sweep_every=1, concurrency=4)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
    await worker.run()
    await close_db()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
