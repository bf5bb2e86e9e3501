"""Running command lines as a deploy does: another process, with an environment of its own."""

import asyncio
import os
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

BIN = Path(sys.executable).parent
PATIENCE = 60.0


@dataclass(frozen=True)
class Finished:
    code: int
    out: str
    err: str

    def __str__(self) -> str:
        return f"exit code {self.code}\n{self.out}\n{self.err}"


class Running:
    """A process that was started."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def finished(self) -> Finished:
        async with asyncio.timeout(PATIENCE):
            out, err = await self.process.communicate()
        return Finished(self.process.returncode or 0, out.decode(), err.decode())

    async def kill(self) -> None:
        self.process.kill()
        await self.process.communicate()


@asynccontextmanager
async def started(*command: str | Path, cwd: Path, **environment: str):
    """Start a command; it is killed when the block ends before it does.

    DATABASE_URL, REDIS_URL and everything else of the store's is what the keyword arguments say, and nothing else.
    """
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("VEUPATH_STORE_", "DATABASE_", "MIGRATION_", "REDIS_", "PYTHON", "PG"))
    }
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=cwd,
        env={**inherited, "COLUMNS": "200", **environment},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield Running(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def run(*command: str | Path, cwd: Path, **environment: str) -> Finished:
    """Run a command to its end."""
    async with started(*command, cwd=cwd, **environment) as running:
        return await running.finished()
