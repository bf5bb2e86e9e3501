"""A copy of a checkout in which defects can be planted, with an environment whose package is that copy."""

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

PATIENCE = 120
_LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "dist")


class Checkout:
    """The copy.

    Args:
        original: The checkout, with its ``.venv``.
        directory: Where to put it.

    Attributes:
        package: The package in it.
    """

    def __init__(self, original: Path, directory: Path) -> None:
        self._root = directory / "checkout"
        self.package = self._root / "veupath_store"
        shutil.copytree(original, self._root, ignore=_LEFT_OUT)
        beside = original.parent / "shared"
        if beside.exists():
            (directory / "shared").symlink_to(beside)
        self._environment(original / ".venv", self._root / ".venv")

    def run(self, arguments: Sequence[str]) -> tuple[int, str]:
        """Run its tests, as far as pytest's arguments say: the exit code and the output."""
        named = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST"))}
        command = [self._root / ".venv" / "bin" / "python", "-m", "pytest", "-p", "no:cacheprovider"]
        # A test that waits for ever ends its process.
        command += ["-o", f"faulthandler_timeout={PATIENCE}", "-o", "faulthandler_exit_on_timeout=true", *arguments]
        process = subprocess.Popen(
            command, cwd=self._root, env=named, text=True, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            output, _ = process.communicate()
        finally:
            if process.poll() is None:
                # Its workers, too: they are of its group.
                os.killpg(process.pid, signal.SIGTERM)
                process.communicate()
            # The servers of one that ended at once, as where a test has no end.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        return process.returncode, output

    def forget_examples(self) -> None:
        """Have Hypothesis begin anew, not with what failed for another reason."""
        shutil.rmtree(self._root / ".hypothesis", ignore_errors=True)

    def _environment(self, theirs: Path, ours: Path) -> None:
        """The same libraries and scripts, and the copy where the package was."""
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", ours], check=True)
        libraries = Path(sysconfig.get_path("purelib", "venv", {"base": str(theirs)}))
        here = Path(sysconfig.get_path("purelib", "venv", {"base": str(ours)}))
        for entry in libraries.iterdir():
            if entry.suffix != ".pth":
                (here / entry.name).symlink_to(entry)
        (here / "package.pth").write_text(f"{self._root}\n")
        for script in (theirs / "bin").iterdir():
            if not script.is_symlink() and script.read_bytes()[:2] == b"#!":
                _copy_script(script, ours / "bin" / script.name, theirs, ours)
            elif not (ours / "bin" / script.name).exists():
                (ours / "bin" / script.name).symlink_to(script)


def _copy_script(script: Path, copy: Path, theirs: Path, ours: Path) -> None:
    """A script that runs with our interpreter instead of theirs."""
    copy.write_text(script.read_text().replace(str(theirs), str(ours)))
    copy.chmod(0o755)
