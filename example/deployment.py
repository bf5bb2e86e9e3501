"""The processes of a deployment on this machine: web workers behind one port, and job workers."""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
PATIENCE: Final = 30.0
"""Seconds for a process to start, or to end after it was asked to."""

CLOSING: Final = "10"
"""Seconds that requests may take after a web worker was told to end."""


READY: Final = "60"
"""Seconds that a new web worker may take to start, on a busy machine; else the old one would stay."""


class Deployment:
    """What runs, and how to disturb it.

    Attributes:
        url: Where the application answers.
        web: The process that keeps the web workers alive.
        workers: The job workers.
    """

    def __init__(self, environment: Mapping[str, str], log: Path | None = None) -> None:
        self._environment = {**os.environ, **environment}
        self._log = log
        self.url = ""
        self.web: asyncio.subprocess.Process | None = None
        self.workers: list[asyncio.subprocess.Process] = []

    async def start_web(self, port: int = 0, workers: int = 2) -> asyncio.subprocess.Process:
        """Start the web workers, and wait until the port answers."""
        port = port or free_port()
        patience = ("--timeout-graceful-shutdown", CLOSING, "--timeout-worker-healthcheck", READY)
        options = ("--workers", str(workers), "--port", str(port), *patience)
        self.web = await self._start("-m", "uvicorn", "example.app:app", *options, "--log-level", "warning")
        self.url = f"http://127.0.0.1:{port}"
        await _until_it_listens(port, self.web)
        return self.web

    async def start_worker(self) -> asyncio.subprocess.Process:
        """Start one more job worker."""
        worker = await self._start("-m", "example.worker")
        self.workers.append(worker)
        return worker

    async def stop(self) -> None:
        """Ask all processes to end, and wait until they have."""
        processes = [process for process in (*self.workers, self.web) if process is not None]
        for process in processes:
            await end(process)

    async def _start(self, *arguments: str) -> asyncio.subprocess.Process:
        if self._log is None:
            return await asyncio.create_subprocess_exec(sys.executable, *arguments, cwd=ROOT, env=self._environment)
        with self._log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                sys.executable, *arguments, cwd=ROOT, env=self._environment, stdout=log, stderr=log
            )


@asynccontextmanager
async def deployment(
    environment: Mapping[str, str], *, workers: int = 1, port: int = 0, log: Path | None = None
) -> AsyncIterator[Deployment]:
    """Two web workers and some job workers, which end with the block.

    Args:
        environment: ``DATABASE_URL`` and the like, beside this process's own.
        workers: Job workers.
        port: The port; 0 for one that is free.
        log: A file for what the processes write; ``None`` for this process's own output.
    """
    deployed = Deployment(environment, log)
    try:
        await deployed.start_web(port)
        for _ in range(workers):
            await deployed.start_worker()
        yield deployed
    finally:
        await deployed.stop()


async def end(process: asyncio.subprocess.Process, how: signal.Signals = signal.SIGTERM) -> None:
    """End a process; one that does not listen is killed."""
    if process.returncode is not None:
        return
    process.send_signal(how)
    try:
        async with asyncio.timeout(PATIENCE):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def free_port() -> int:
    """A port of this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def _until_it_listens(port: int, process: asyncio.subprocess.Process) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            if process.returncode is not None or time.monotonic() > deadline:
                raise RuntimeError("the web workers did not start") from None
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return
