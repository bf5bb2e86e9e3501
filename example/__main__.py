"""``python -m example``: the application on embedded servers, until Ctrl-C; with ``--show`` a tour in the terminal."""

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Final

from example.deployment import deployment
from example.tour import tour
from veupath_store import StoreSettings, close_db, init_db

DATA: Final = Path(__file__).parents[1] / ".demo"
JOB_WORKERS: Final = 2


def main() -> int:
    """Run the application.

    Returns:
        The exit code: 0 when all went as promised.
    """
    parser = argparse.ArgumentParser(prog="python -m example", description="A small application on the store.")
    parser.add_argument("--port", type=int, default=8000, help="where the page is (default: 8000)")
    parser.add_argument("--show", action="store_true", help="disturb it, show what comes of that, and end")
    arguments = parser.parse_args()
    environment = _environment()
    try:
        return asyncio.run(tour(environment) if arguments.show else _serve(environment, arguments.port))
    except KeyboardInterrupt:
        return 130


def _environment() -> dict[str, str]:
    """Embedded servers, for what DATABASE_URL and REDIS_URL do not name."""
    if os.environ.get("DATABASE_URL"):
        return {} if os.environ.get("REDIS_URL") else {"REDIS_URL": f"embedded:{DATA / 'example-log'}"}
    return {"DATABASE_URL": f"embedded:{DATA / 'pg'}", "REDIS_URL": f"embedded:{DATA / 'pg-log'}"}


async def _serve(environment: dict[str, str], port: int) -> int:
    os.environ.update(environment)
    await init_db(create_schema=True, settings=StoreSettings())  # keeps the embedded servers up meanwhile, too
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        async with deployment(environment, workers=JOB_WORKERS, port=port) as running:
            print(f"Open {running.url}/ in a browser. Ctrl-C ends it.", flush=True)  # noqa: T201 - its user reads it
            await stop.wait()
    finally:
        await close_db()
    return 0


if __name__ == "__main__":
    sys.exit(main())
