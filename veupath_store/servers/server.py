"""An embedded server: a real server from a wheel, on a data directory of yours, for development.

Every process that uses it holds a shared lock on the file ``.users`` in the directory. Beside the server runs its
keeper (`keeper`), which waits for that lock alone, and gets it when the last user has ended, however it ended;
then it stops the server. The program is started without a shell, in its directory: any path will do.
"""

import fcntl
import hashlib
import logging
import os
import pwd
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Final

from veupath_store.errors import ConfigurationError, UnavailableError
from veupath_store.servers import keeper
from veupath_store.servers.inherited import in_forked_child

logger: logging.Logger = logging.getLogger("veupath_store.servers")

START_LOCK: Final = ".start"
_PATIENCE: Final = 10.0
"""Seconds that the server has to start listening. Loading its data is waited for twice as long again."""
_STOPPING: Final = 60.0
"""Seconds to wait for another process that starts or stops the server."""
_LONGEST_SOCKET: Final = 100
"""Bytes of a socket's path; the operating systems take 103 to 107."""


@dataclass
class _Process:
    """What this process uses."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    joined: dict[Path, int] = field(default_factory=dict)
    """By data directory: the descriptor that holds the shared lock until this process ends."""


_process: Final = _Process()


@in_forked_child
def _leave_to_parent() -> None:
    """The parent's locks are not the child's, which would keep the servers up after the parent's end."""
    for descriptor in _process.joined.values():
        os.close(descriptor)
    _process.lock, _process.joined = threading.Lock(), {}  # a thread that is not here may hold the parent's lock


class EmbeddedServer(ABC):
    """A server on one data directory, an absolute path, which is made when it is not there."""

    name: ClassVar[str]
    socket: ClassVar[str]
    """Its file's name in the directory."""
    refuses_root: ClassVar[bool] = False

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @abstractmethod
    def command(self) -> list[str]:
        """The program, and its arguments; refuses where the wheel is not installed."""

    @abstractmethod
    def is_ready(self, path: Path) -> bool:
        """Whether the server that listens on a socket has loaded its data: until then it refuses all requests."""

    def check(self) -> None:  # noqa: B027 - for those that have something to check
        """Refuse a directory that holds something else than the server's data."""

    def prepare(self) -> None:  # noqa: B027 - for those that do not make their data by themselves
        """Make the data of a new directory."""

    def join(self) -> Path:
        """Start the server, or join it when another process started it. Blocks meanwhile.

        The server listens on a socket only, never on the network. It stops when the last process that uses it ends,
        however that ends; its data stay.

        Returns:
            The directory in which its socket is; where its path is too long for a socket, a link to it.

        Raises:
            ConfigurationError: The wheel is not installed, or the server does not start on that directory.
            UnavailableError: Another process is starting or stopping the server, and takes too long.
        """
        command = self.command()
        try:
            with _process.lock:
                self._make_directory(Path(command[0]))
                self.check()
                if self.directory not in _process.joined:
                    _process.joined[self.directory] = self._locked(keeper.USERS, fcntl.LOCK_SH)
                reached = self._reached()
                with self._starting():
                    if not _listens(reached / self.socket):
                        self.prepare()
                        self._start(command, reached / self.socket)
        except OSError as exc:
            raise ConfigurationError(
                f"The embedded {self.name} cannot use its directory {self.directory}: {exc.strerror}."
            ) from exc
        return reached

    def leave(self, *, wait: bool = False) -> None:
        """No longer use the server in this process.

        Args:
            wait: Whether to return only when the server has ended, as it does after its last user. Where others go on
                using it, that is an `UnavailableError`.
        """
        with _process.lock:
            descriptor = _process.joined.pop(self.directory, None)
            if descriptor is not None:
                os.close(descriptor)
        if wait and self.directory.exists():
            self.wait_for_end()

    def wait_for_end(self) -> None:
        """Wait until no process of the server is left."""
        os.close(self._locked(keeper.LOG, fcntl.LOCK_EX))

    def _make_directory(self, program: Path) -> None:
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        owner, this = self.directory.stat().st_uid, os.geteuid()
        if this not in (0, owner):
            raise ConfigurationError(
                f"The directory {self.directory} of the embedded {self.name} belongs to {_user(owner)}, and "
                f"this process runs as {_user(this)}. Name another PATH after embedded:, or run as its owner."
            )
        if owner == 0 and self.refuses_root:
            nobody = pwd.getpwnam("nobody")
            os.chown(self.directory, nobody.pw_uid, nobody.pw_gid)
            owner = nobody.pw_uid
        if this == 0 and owner != 0:
            for path in (self.directory, program):
                _let_others_through(path)

    def _locked(self, name: str, kind: int) -> int:
        """Lock one of the server's files, and wait for a keeper that is just stopping the server."""
        descriptor = keeper.open_file(self.directory, name)
        deadline = time.monotonic() + _STOPPING
        while True:
            try:
                fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    os.close(descriptor)
                    raise UnavailableError(
                        f"Another process is using, starting or stopping the embedded {self.name}."
                    ) from None
                time.sleep(0.01)
            else:
                return descriptor

    @contextmanager
    def _starting(self) -> Iterator[None]:
        descriptor = self._locked(START_LOCK, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # not by closing alone: a child forked meanwhile has it open, too
            os.close(descriptor)

    def _reached(self) -> Path:
        if len(os.fsencode(self.directory / self.socket)) <= _LONGEST_SOCKET:
            return self.directory
        identity = hashlib.sha256(os.fsencode(self.directory)).hexdigest()[:16]
        link = Path(tempfile.gettempdir()) / f"veupath-store-{os.geteuid()}-{identity}"
        try:
            link.symlink_to(self.directory)
        except FileExistsError:
            if link.lstat().st_uid != os.geteuid() or link.readlink() != self.directory:
                raise ConfigurationError(f"{link} is in the way: it must be a link to {self.directory}.") from None
        return link

    def _start(self, command: list[str], path: Path) -> None:
        process = subprocess.Popen(  # noqa: S603 - our own file, and the wheel's program
            [sys.executable, "-E", "-S", keeper.__file__, str(self.directory), *command],
            env={**os.environ, "LC_ALL": "C"},  # whatever locale the environment names, it need not be there
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # an interrupt from the keyboard is for the application
        )
        threading.Thread(target=process.wait, daemon=True, name="embedded server").start()  # no zombie, no warning
        deadline = time.monotonic() + _PATIENCE
        while not (_listens(path) and self.is_ready(path)):
            # A server that finds its data broken may listen first and end then.
            if process.poll() is not None or (time.monotonic() > deadline and not _listens(path)):
                raise ConfigurationError(
                    f"The embedded {self.name} does not start on {self.directory}; "
                    f"its file '{keeper.LOG}' there says why."
                )
            if time.monotonic() > 2 * _PATIENCE + deadline:
                return  # it loads very much: requests are refused for now, and say so
            time.sleep(0.01)


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(os.fspath(path))
        except (FileNotFoundError, ConnectionRefusedError, ConnectionResetError):
            return False
        except TimeoutError:
            return True  # it does not accept, being frozen or overrun; a second one would not be better
    return True


def _let_others_through(path: Path) -> None:
    """Let the server's user pass the directories above a path."""
    for above in path.parents:
        if not above.stat().st_mode & stat.S_IXOTH:
            logger.info("%s may be searched by all users now: the embedded server cannot run as root", above)
            above.chmod(above.stat().st_mode | stat.S_IXOTH)


def _user(uid: int) -> str:
    try:
        return f"{pwd.getpwuid(uid).pw_name} (user id {uid})"
    except KeyError:
        return f"user id {uid}"
