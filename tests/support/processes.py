"""Running command lines as a deploy does: another process, with an environment of its own."""

import asyncio
import os
import pty
import signal
import sys
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

BIN = Path(sys.executable).parent
PATIENCE = 60.0


@dataclass(frozen=True)
class Finished:
    code: int
    out: str
    err: str

    def __str__(self) -> str:
        return f"exit code {self.code}\n{self.out}\n{self.err}"


def interruptible() -> None:
    """In a new process: listen to SIGINT, also where this one was started in the background and ignores it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Running:
    """A process that was started."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def finished(self, within: float = PATIENCE) -> Finished:
        async with asyncio.timeout(within):
            out, err = await self.process.communicate()
        return Finished(self.process.returncode or 0, (out or b"").decode(), (err or b"").decode())

    async def kill(self) -> None:
        self.process.kill()
        await self.process.communicate()


def started(*command: str | Path, cwd: Path, **environment: str):
    """Start a command; it is killed when the block ends before it does.

    DATABASE_URL, REDIS_URL and everything else of the store's is what the keyword arguments say, and nothing else.
    """
    return _started(command, cwd, environment, stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE)


@asynccontextmanager
async def _started(command, cwd, environment, **streams):
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("VEUPATH_STORE_", "DATABASE_", "MIGRATION_", "REDIS_", "PYTHON", "PG"))
    }
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=cwd,
        env={**inherited, "COLUMNS": "200", **environment},
        stdout=asyncio.subprocess.PIPE,
        preexec_fn=interruptible,
        **streams,
    )
    try:
        yield Running(process)
    finally:
        if process.returncode is None:
            # Its children would hold the pipes, and be waited for.
            for child in psutil.Process(process.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    child.kill()
            process.kill()
            await process.communicate()


async def run(*command: str | Path, cwd: Path, **environment: str) -> Finished:
    """Run a command to its end."""
    async with started(*command, cwd=cwd, **environment) as running:
        return await running.finished()


async def run_at_terminal(*command: str | Path, cwd: Path, typed: bytes = b"", **environment: str) -> Finished:
    """Run a command whose standard input and standard error are a terminal; `Finished.err` is what it showed.

    What is typed waits in the terminal from the beginning.
    """
    ours, theirs = pty.openpty()
    os.write(ours, typed)
    reading = asyncio.create_task(asyncio.to_thread(_shown, ours))
    try:
        async with _started(command, cwd, environment, stdin=theirs, stderr=theirs) as running:
            os.close(theirs)
            finished = await running.finished()
        return replace(finished, err=await reading)
    finally:
        await asyncio.wait({reading})
        os.close(ours)


def _shown(terminal: int) -> str:
    """All that is written to a terminal until nobody has it open any more."""
    shown = b""
    while True:
        try:
            shown += os.read(terminal, 65_536)
        except OSError:
            return shown.decode()
