"""The worker process: it answers, and keeps rows and logs together."""

import asyncio
import signal

from tests.acceptance.pathfinder.orchestrator import worker
from veupath_store import ProjectionWorker, close_db, init_db


async def main() -> None:
    await init_db()
    running = asyncio.current_task()
    assert running is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(worker().run())
            group.create_task(ProjectionWorker().run())
    except asyncio.CancelledError:
        pass
    finally:
        await close_db()


if __name__ == "__main__":
    asyncio.run(main())
