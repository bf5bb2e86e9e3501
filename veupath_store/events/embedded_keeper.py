"""``python embedded_keeper.py DIRECTORY REDIS_SERVER``: runs the server until nobody uses the directory any more.

A program of its own that imports nothing of the store: it starts in milliseconds, and outlives whoever started it.
"""

import fcntl
import subprocess
import sys
import threading
from pathlib import Path
from typing import Final

USERS: Final = "users"
START: Final = "start"
SOCKET: Final = "redis.sock"
LOG: Final = "log"

# Synchronous writes, of about 0.2 ms each: what was acknowledged survives a kill. With "everysec" the server puts off
# writes while a synchronisation is under way, and a kill takes up to two seconds of them along.
# Paths are relative to the directory in which the server is started: a long one is no longer than the others.
_OPTIONS: Final = (
    *("--port", "0", "--unixsocket", SOCKET, "--unixsocketperm", "700"),
    *("--dir", ".", "--appendonly", "yes", "--appendfsync", "always", "--save", ""),
    *("--daemonize", "no", "--loglevel", "warning", "--logfile", LOG),
)


def main(directory: Path, program: str) -> int:
    """Run the server.

    Args:
        directory: Its data directory.
        program: Its program.

    Returns:
        The server's exit code.
    """
    server = subprocess.Popen([program, *_OPTIONS], cwd=directory)  # noqa: S603 - the wheel's program
    threading.Thread(target=_stop_after_the_last_user, args=(directory, server), daemon=True).start()
    return server.wait()


def _stop_after_the_last_user(directory: Path, server: "subprocess.Popen[bytes]") -> None:
    # The lock is held until this process ends, that is, until the server has: who comes meanwhile waits for it.
    users = (directory / USERS).open("ab")
    fcntl.flock(users, fcntl.LOCK_EX)
    server.terminate()
    server.wait()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
