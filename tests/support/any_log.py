"""The servers that an event log may be on, looked at from beside it."""

from contextlib import contextmanager
from typing import NamedTuple
from uuid import uuid4

from tests.support.redis_servers import client, new_prefix, remove_keys
from veupath_store.config import StoreSettings
from veupath_store.events.memory import MemoryServer, forget_server, server_named


class AnyLog(NamedTuple):
    """Where a log is, and a client of one's own."""

    url: str
    prefix: str
    beside: object

    @property
    def settings(self) -> StoreSettings:
        return StoreSettings(database_url="postgresql://nowhere/store", redis_url=self.url, log_prefix=self.prefix)


class BesideMemory:
    """What tests ask of a Redis client, asked of a server in memory."""

    def __init__(self, server: MemoryServer) -> None:
        self._server = server

    def execute_command(self, *command):
        return self._server.answer([command])[0]

    def scan_iter(self, match: str):
        return self.execute_command("SCAN", 0, "MATCH", match)[1]

    def exists(self, name: str) -> bool:
        return bool(self.scan_iter(name))

    def xrange(self, name: str):
        found = self.execute_command("XRANGE", name, "-", "+")
        return [(position, dict(zip(fields[::2], fields[1::2], strict=True))) for position, fields in found]


@contextmanager
def memory_log():
    name = uuid4().hex
    yield AnyLog(f"memory:{name}", "test:", BesideMemory(server_named(name)))
    forget_server(name)


@contextmanager
def redis_log(url: str):
    prefix = new_prefix()
    with client(url) as beside:
        yield AnyLog(url, prefix, beside)
    remove_keys(url, prefix)
