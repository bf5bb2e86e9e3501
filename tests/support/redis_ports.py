"""Redis servers on ports of their own: masters, replicas, Sentinels, clusters, servers with TLS."""

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
import redis

from tests.support.redis_servers import PATIENCE, RedisProcess

_HIGHEST = 55_535
"""A cluster listens on the port that is 10,000 above as well."""


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return port if port <= _HIGHEST else free_port()


def program_with_tls() -> str:
    """An installed server that speaks TLS; the wheels' do not. Without one the test is skipped."""
    tried = (os.environ.get("TEST_REDIS_SERVER"), shutil.which("redis-server"), shutil.which("valkey-server"))
    for found in (*filter(None, tried), "/usr/bin/redis-server"):
        if Path(found).exists() and _takes_tls(found):
            return found
    pytest.skip("no Redis with TLS is installed, and those of the wheels have none")


def _takes_tls(found: str) -> bool:
    """Whether it complains of a missing certificate, and not of the option."""
    command = [found, "--port", "0", "--tls-port", "1"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    return "tls-cert-file" in said.stdout + said.stderr


class RedisOnPort(RedisProcess):
    """A server on 127.0.0.1, without persistence. Options are those of its configuration file."""

    def __init__(self, *options: str, sentinel: bool = False, found: str | None = None) -> None:
        self.port = free_port()
        lines = [*(() if sentinel else ('save ""', "repl-diskless-sync-delay 0")), *options]
        if not any(line.startswith("tls-port") for line in lines):
            lines.append(f"port {self.port}")
        conf = "\n".join(line.format(port=self.port) for line in lines)
        super().__init__(*(("--sentinel",) if sentinel else ()), conf=conf, found=found)

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"redis://{self.place}/0"

    def client(self, **options) -> redis.Redis:
        return redis.Redis(host="127.0.0.1", port=self.port, socket_timeout=PATIENCE, **options)

    def answers(self) -> bool:
        """Whether it listens; it may want TLS, or a password."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


class Watched:
    """A master and a replica, and Sentinels that watch them and fail over within a second or two."""

    service = "pathfinder-log"

    def __init__(self, sentinels: int = 3, options: tuple[str, ...] = (), own: tuple[str, ...] = ()) -> None:
        self.servers = [RedisOnPort(*options)]
        self.servers.append(RedisOnPort(f"replicaof 127.0.0.1 {self.servers[0].port}", *options))
        quorum = sentinels // 2 + 1
        auth = [f"sentinel auth-pass {self.service} {line.split()[1]}" for line in options if "requirepass" in line]
        watching = (
            f"sentinel monitor {self.service} 127.0.0.1 {self.servers[0].port} {quorum}",
            f"sentinel down-after-milliseconds {self.service} 400",
            f"sentinel failover-timeout {self.service} 2000",
            *auth,
            *own,
        )
        self.sentinels = [RedisOnPort(*watching, sentinel=True) for _ in range(sentinels)]

    @property
    def places(self) -> str:
        return ",".join(sentinel.place for sentinel in self.sentinels)

    @property
    def url(self) -> str:
        return f"redis+sentinel://{self.places}/{self.service}/0"

    def settle(self, password: str | None = None) -> None:
        """Wait until the Sentinels know the replica and each other."""
        deadline = time.monotonic() + PATIENCE
        for sentinel in self.sentinels:
            while not self._is_settled(sentinel, password):
                assert time.monotonic() < deadline, "the Sentinels do not find each other"
                time.sleep(0.05)

    def _is_settled(self, sentinel: RedisOnPort, password: str | None) -> bool:
        with sentinel.client(password=password) as asked:
            state = asked.sentinel_master(self.service)
        return (state["num-slaves"], state["num-other-sentinels"]) == (1, len(self.sentinels) - 1)

    def close(self) -> None:
        for server in (*self.sentinels, *self.servers):
            server.close()
