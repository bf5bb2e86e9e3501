"""``python keeper.py DIRECTORY COMMAND…``: runs a server until no process uses its directory any more.

A separate program that imports nothing of the store: it starts in milliseconds, and outlives whoever started it.
"""

import fcntl
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Final

USERS: Final = ".users"
LOG: Final = "log"


def main(directory: Path, command: list[str]) -> int:
    """Run the server, as the owner of its directory and in it, and return its exit code."""
    log = open_file(directory, LOG)
    fcntl.flock(log, fcntl.LOCK_SH)  # inherited by the server: whoever gets it alone knows that the server has ended
    server = subprocess.Popen(  # noqa: S603 - the wheel's program
        command, cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **owner(directory)
    )
    threading.Thread(target=_stop_after_the_last_user, args=(directory, server), daemon=True).start()
    return server.wait()


def _stop_after_the_last_user(directory: Path, server: "subprocess.Popen[bytes]") -> None:
    # The lock is held until this process ends, that is, until the server has: who comes meanwhile waits for it.
    fcntl.flock(open_file(directory, USERS), fcntl.LOCK_EX)
    server.send_signal(signal.SIGINT)  # PostgreSQL would wait for its clients after SIGTERM
    server.send_signal(signal.SIGCONT)  # one that was stopped hears nothing else
    server.wait()


def open_file(directory: Path, name: str) -> int:
    """Open one of the server's files to append to or to lock, or make it, as the owner of the directory."""
    descriptor = os.open(directory / name, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if os.geteuid() == 0:
        os.fchown(descriptor, directory.stat().st_uid, directory.stat().st_gid)
    return descriptor


def owner(directory: Path) -> dict[str, Any]:
    """The arguments of `subprocess.Popen` that run a program as the owner of a directory, where that is to be said."""
    if os.geteuid() != 0:
        return {}
    found = directory.stat()
    return {"user": found.st_uid, "group": found.st_gid, "extra_groups": []}


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
