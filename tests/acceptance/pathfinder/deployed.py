"""Two web processes, each on a port of its own, and a worker or none."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import httpx

from example.deployment import ROOT, end, free_port

PATIENCE = 60.0


@dataclass
class Deployed:
    """What runs.

    Attributes:
        urls: Where the two web processes answer.
        processes: The web processes, then the worker, where there is one.
    """

    environment: Mapping[str, str]
    has_worker: bool
    urls: list[str] = field(default_factory=list)
    processes: list[asyncio.subprocess.Process] = field(default_factory=list)

    async def start(self) -> None:
        for port in (free_port(), free_port()):
            self.processes.append(await self._web(port))
            self.urls.append(f"http://127.0.0.1:{port}")
        if self.has_worker:
            self.processes.append(await self._process("-m", "tests.acceptance.pathfinder.worker"))
        for url in self.urls:
            await _until_ready(url)

    async def kill_who_answers(self) -> None:
        """The process that runs jobs dies: the worker, or the first web process. Another one is started."""
        lost = self.processes.pop() if self.has_worker else self.processes.pop(0)
        lost.send_signal(signal.SIGKILL)
        await lost.wait()
        if self.has_worker:
            self.processes.append(await self._process("-m", "tests.acceptance.pathfinder.worker"))
        else:
            self.processes.insert(0, await self._web(int(self.urls[0].rpartition(":")[2])))
            await _until_ready(self.urls[0])

    async def stop(self) -> None:
        for process in self.processes:
            await end(process)

    async def _web(self, port: int) -> asyncio.subprocess.Process:
        options = ("--port", str(port), "--timeout-graceful-shutdown", "5", "--log-level", "warning")
        return await self._process("-m", "uvicorn", "tests.acceptance.pathfinder.app:app", *options)

    async def _process(self, *arguments: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(sys.executable, *arguments, cwd=ROOT, env=dict(self.environment))


@asynccontextmanager
async def deployed(environment: Mapping[str, str], *, has_worker: bool) -> AsyncIterator[Deployed]:
    running = Deployed({**environment, "PATHFINDER_WORKER": str(int(has_worker))}, has_worker)
    try:
        await running.start()
        yield running
    finally:
        await running.stop()


@asynccontextmanager
async def browsers(running: Deployed, count: int = 1) -> AsyncIterator[list[httpx.AsyncClient]]:
    """Clients without cookies; the first is served by the first web process, the second by the second, and so on."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                httpx.AsyncClient(base_url=running.urls[n % len(running.urls)], timeout=PATIENCE)
            )
            for n in range(count)
        ]


async def _until_ready(url: str) -> None:
    async with asyncio.timeout(PATIENCE), httpx.AsyncClient() as client:
        while True:
            try:
                if (await client.get(f"{url}/readyz")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.05)
