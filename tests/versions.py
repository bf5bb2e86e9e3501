"""The versions that the suite runs on: ``python -m tests.versions lowest``, or ``newest``.

Run by the Makefile before there is an environment, so it uses nothing but the standard library.
"""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
TOOLS = ("dev", "bench")
"""Extras that are for the work on the package itself."""

_REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(?P<extras>\[[\w,-]+\])?(?:>=|==)(?P<floor>[\w.]+)[^;]*(?P<marker>;.*)?")
_PYTHON = "Programming Language :: Python :: "


def requirements() -> list[str]:
    """What the package and its extras need, as declared."""
    extras = PROJECT["optional-dependencies"]
    return [*PROJECT["dependencies"], *(item for name in extras if name not in TOOLS for item in extras[name])]


def lowest() -> list[str]:
    """Each requirement at its floor, and the tools that the tests need besides."""
    tools = [item for item in PROJECT["optional-dependencies"]["dev"] if not item.startswith(PROJECT["name"])]
    pins: dict[str, str] = {}
    for item in [*requirements(), *tools]:
        parts = _REQUIREMENT.fullmatch(item)
        if parts is None:
            raise ValueError(f"{item!r} in pyproject.toml has no floor")
        name, extras, floor, marker = parts.group("name", "extras", "floor", "marker")
        pins.setdefault(name, f"{name}{extras or ''}=={floor}{marker or ''}")
    return list(pins.values())


def pythons() -> list[tuple[int, int]]:
    """The versions of Python that the package says it supports, in order."""
    named = (item.removeprefix(_PYTHON).split(".") for item in PROJECT["classifiers"] if item.startswith(_PYTHON))
    return sorted((int(major), int(minor)) for major, minor in named)


def newest(than: tuple[int, int] = sys.version_info[:2]) -> str | None:
    """The program of the newest supported Python on this machine; ``None`` where none is newer than a given one."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    folders = [*map(Path, os.get_exec_path()), *sorted(pyenv.glob("versions/*/bin"), reverse=True)]
    for major, minor in reversed(pythons()):
        if (major, minor) <= than:
            return None
        for folder in folders:
            if _works(program := folder / f"python{major}.{minor}"):
                return str(program)
    return None


def _works(program: Path) -> bool:
    # A version manager puts programs into the path that only say that they are not chosen.
    asked = [program, "-c", "import ensurepip"]
    return program.is_file() and subprocess.run(asked, check=False, capture_output=True).returncode == 0


if __name__ == "__main__":
    sys.stdout.write("\n".join(lowest()) if sys.argv[1:] == ["lowest"] else newest() or "")
