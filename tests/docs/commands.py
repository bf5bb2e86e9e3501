"""The commands of console blocks, run as a reader would run them."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.docs.expected import has_come, matches
from tests.docs.not_run import missing, not_run
from tests.docs.pages import Block
from tests.support.processes import interruptible

PATIENCE = 60.0
_INTERRUPTED = {0, 128 + signal.SIGINT}


@dataclass
class Command:
    """One command of a block: its line (from 1), and the lines that it is expected to print."""

    line: int
    text: str
    expected: list[str] = field(default_factory=list)


def parse(block: Block) -> list[Command]:
    """The commands of a console block."""
    commands: list[Command] = []
    for number, line in enumerate(block.text.splitlines(), 1):
        if line.startswith("$ "):
            commands.append(Command(number, line.removeprefix("$ ")))
        elif not commands:
            raise block.wrong("a console block begins with a command: '$ …'", number)
        elif commands[-1].text.endswith("\\") and not commands[-1].expected:
            commands[-1].text += f"\n{line.removeprefix('> ')}"
        else:
            commands[-1].expected.append(line)
    for command in commands:
        while command.expected and not command.expected[-1].strip():
            command.expected.pop()  # blank lines between two commands
    if not commands:
        raise block.wrong("an empty console block")
    return commands


async def run(block: Block, folder: Path, environment: Mapping[str, str]) -> list[str]:
    """Run the commands of a block; what was done about each."""
    return [await _run_one(block, command, folder, environment) for command in parse(block)]


async def _run_one(block: Block, command: Command, folder: Path, environment: Mapping[str, str]) -> str:
    try:
        elsewhere = not_run(command.text)
    except LookupError as exc:
        raise block.wrong(str(exc), command.line) from None
    if elsewhere is not None:
        if absent := missing(command.text):
            raise block.wrong(absent, command.line)
        return f"covered by {elsewhere}"
    async with _started(command.text, folder, environment) as process:
        if "^C" in command.expected:
            await _interrupt(block, command, process)
        else:
            await _finish(block, command, process)
    return "run"


class Process:
    """A command that runs, and all that it has printed so far, on standard output and standard error alike."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self._raw = b""
        self._reading = asyncio.create_task(self._read())

    @property
    def printed(self) -> str:
        return self._raw.decode(errors="replace")

    async def _read(self) -> None:
        assert self.process.stdout is not None
        while chunk := await self.process.stdout.read(65_536):
            self._raw += chunk

    async def printed_all(self, expected: list[str]) -> bool:
        """Wait until it has printed what is expected; whether it has before it ended."""
        while not has_come(expected, self.printed):
            if self._reading.done():
                return False
            await asyncio.sleep(0.01)
        return True

    async def ended(self) -> int:
        """Wait for its end, and return its exit code."""
        await self._reading
        return await self.process.wait()

    async def kill(self) -> None:
        """End it and all that it has started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        await self.ended()


@asynccontextmanager
async def _started(text: str, folder: Path, environment: Mapping[str, str]):
    """Start a command as the leader of a group of its own, as an interactive shell does."""
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", text,
        cwd=folder,
        env=_environment(folder, environment),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=interruptible,
    )  # fmt: skip
    running = Process(process)
    try:
        yield running
    finally:
        await running.kill()


def _environment(folder: Path, environment: Mapping[str, str]) -> dict[str, str]:
    ours = ("VEUPATH_STORE_", "DATABASE_", "MIGRATION_", "REDIS_", "PYTHON", "PYTEST", "PG")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**inherited, "PATH": path, "COLUMNS": "100", "PYTHONPATH": str(folder), "PYTHONUNBUFFERED": "1"} | dict(
        environment
    )


async def _finish(block: Block, command: Command, process: Process) -> None:
    code = await _ended(block, command, process, "it does not end")
    if not command.expected and code:
        raise block.wrong(f"exit code {code}:\n{process.printed}", command.line)
    if command.expected:
        _compare(block, command, command.expected, process.printed)


async def _ended(block: Block, command: Command, process: Process, otherwise: str) -> int:
    try:
        async with asyncio.timeout(PATIENCE):
            return await process.ended()
    except TimeoutError:
        raise block.wrong(f"{otherwise}:\n{process.printed}", command.line) from None


async def _interrupt(block: Block, command: Command, process: Process) -> None:
    """Wait for what is expected before `^C`, then interrupt it, and expect a clean end."""
    before = command.expected[: command.expected.index("^C")]
    after = command.expected[len(before) + 1 :]
    try:
        async with asyncio.timeout(PATIENCE):
            if not await process.printed_all(before):
                raise block.wrong(f"it ended by itself:\n{process.printed}", command.line)
    except TimeoutError:
        _compare(block, command, [*before, "..."], process.printed)
    os.killpg(process.process.pid, signal.SIGINT)
    code = await _ended(block, command, process, "it does not end when it is interrupted")
    if code not in _INTERRUPTED or "Traceback" in process.printed:
        raise block.wrong(f"no clean end, exit code {code}:\n{process.printed}", command.line)
    if after:
        _compare(block, command, [*before, *after], process.printed)


def _compare(block: Block, command: Command, expected: list[str], printed: str) -> None:
    wrong = matches(expected, printed)
    if wrong is not None:
        what = expected[wrong] if wrong < len(expected) else "nothing more"
        raise block.wrong(f"expected {what!r}; it printed:\n{printed}", command.line + min(wrong + 1, len(expected)))
