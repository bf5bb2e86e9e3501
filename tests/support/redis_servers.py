"""The Redis servers that tests talk to."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from veupath_store.servers.redis import server_program
from veupath_store.servers.urls import EMBEDDED_PREFIX

PATIENCE = 20.0


def program() -> str:
    """The server that tests start: the wheel's, or another version's that TEST_REDIS_SERVER names."""
    return os.environ.get("TEST_REDIS_SERVER") or server_program()


def client(url: str) -> redis.Redis:
    """A client of one's own, beside the store's."""
    return redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), socket_timeout=PATIENCE)


class RedisProcess:
    """A server of one's own in a folder of its own, to be tormented. It starts where it is made.

    Args:
        arguments: Those of its command line, `conf` being its configuration file.
        conf: That file's lines.
        found: The program, where it is not the one that tests use.
    """

    url: str

    def __init__(self, *arguments: str, conf: str = "", found: str | None = None) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="veupath-store-test-")).resolve()
        (self.path / "conf").write_text(conf)
        self._command = [found or program(), "conf", "--logfile", "log", *arguments]
        self.start()

    def start(self) -> None:
        """Start the server, and wait until it has loaded its data."""
        self.process = subprocess.Popen(self._command, cwd=self.path, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + PATIENCE
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise TimeoutError((self.path / "log").read_text())
            time.sleep(0.01)

    def answers(self) -> bool:
        with self.client() as connection:
            try:
                return bool(connection.ping())
            except redis.RedisError:
                return False

    def client(self) -> redis.Redis:
        return client(self.url)

    def kill(self) -> None:
        """End the server at once; what it acknowledged is in its file."""
        self.process.kill()
        self.process.wait(PATIENCE)

    @contextmanager
    def down(self):
        """The server is killed, and started again afterwards."""
        self.kill()
        try:
            yield
        finally:
            self.start()

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    @contextmanager
    def frozen(self):
        """The server is alive and does nothing, as behind a dead network or on a full disk."""
        self.freeze()
        try:
            yield
        finally:
            self.thaw()

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self.path, ignore_errors=True)


class PrivateRedis(RedisProcess):
    """It listens on a socket, and keeps its data from one start to the next."""

    def __init__(self) -> None:
        lines = "port 0", "unixsocket redis.sock", "appendonly yes", "appendfsync always", 'save ""', "loglevel warning"
        super().__init__(conf="\n".join(lines))

    @property
    def url(self) -> str:
        return f"unix://{self.path}/redis.sock"

    @contextmanager
    def configured(self, **options: str):
        """The server with other options, until the block ends."""
        with self.client() as beside:
            before = {name: beside.config_get(name)[name] for name in options}
            for name, value in options.items():
                beside.config_set(name, value)
            try:
                yield
            finally:
                if "requirepass" in options:
                    beside.execute_command("AUTH", options["requirepass"])
                for name, value in before.items():
                    beside.config_set(name, value)

    def copy(self) -> Path:
        """A copy of what the server has on disk, for `set_back`."""
        copied = Path(tempfile.mkdtemp(dir=self.path, prefix="copy-"))
        _copy_files(self.path, copied)
        return copied

    def set_back(self, copied: Path) -> None:
        """Have the server hold what it held then, as after a restore."""
        self.kill()
        _copy_files(copied, self.path)
        self.start()


def _copy_files(source: Path, target: Path) -> None:
    """The append-only file, or from version 7 on the directory of several."""
    for found in source.glob("appendonly*"):
        if found.is_dir():
            shutil.rmtree(target / found.name, ignore_errors=True)
            shutil.copytree(found, target / found.name)
        else:
            shutil.copy(found, target)


class RunningRedis:
    """The server that REDIS_URL names: nothing is started, and nothing is removed but what tests made."""

    def __init__(self, url: str) -> None:
        assert not url.startswith(EMBEDDED_PREFIX), "REDIS_URL names a running server for tests"
        self.url = url

    def close(self) -> None:
        pass


def new_prefix() -> str:
    return f"veupath_store_test_{os.getpid()}_{uuid4().hex[:12]}:"


def remove_keys(url: str, prefix: str) -> None:
    """Remove the keys that begin so. The server may hold others', and is never flushed."""
    with client(url) as connection:
        for key in connection.scan_iter(match=f"{prefix}*", count=1_000):
            connection.unlink(key)
