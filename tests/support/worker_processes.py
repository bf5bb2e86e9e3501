"""Worker processes, of which some are killed or frozen."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable
from contextlib import asynccontextmanager
from itertools import count


class Workers:
    """Worker processes by their numbers, the one that runs longest first.

    Args:
        command: What Python runs for the worker of a number.
    """

    def __init__(self, command: Callable[[int], tuple[str, ...]]) -> None:
        self._command = command
        self._numbers = count()
        self.running: dict[int, asyncio.subprocess.Process] = {}
        self._frozen: dict[int, asyncio.subprocess.Process] = {}

    async def start(self) -> None:
        number = next(self._numbers)
        self.running[number] = await asyncio.create_subprocess_exec(
            sys.executable, *self._command(number), stderr=asyncio.subprocess.DEVNULL
        )

    async def replace(self, number: int) -> None:
        """Kill one, and start another."""
        process = self.running.pop(number)
        process.kill()
        await process.wait()
        await self.start()

    def freeze(self, number: int, seconds: float) -> None:
        """It sleeps in the midst of its work, with its locks, and wakes up when others have done that work."""
        self._frozen[number] = self.running.pop(number)
        self._frozen[number].send_signal(signal.SIGSTOP)
        asyncio.get_running_loop().call_later(seconds, self._wake, number)

    def _wake(self, number: int) -> None:
        process = self._frozen.pop(number)
        process.send_signal(signal.SIGCONT)
        self.running = {number: process, **self.running}

    async def all_awake(self) -> bool:
        return not self._frozen

    async def stop(self) -> set[int]:
        """End them as a deploy does; their exit codes."""
        for process in self.running.values():
            process.terminate()
        return {await process.wait() for process in self.running.values()}

    async def clean_up(self) -> None:
        for process in [*self.running.values(), *self._frozen.values()]:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


@asynccontextmanager
async def started(command: Callable[[int], tuple[str, ...]], processes: int):
    workers = Workers(command)
    try:
        for _ in range(processes):
            await workers.start()
        yield workers
    finally:
        await workers.clean_up()
