"""The Python of the pages, as a type checker reads it: make lint.

python -m tests.docs.typed    # mypy --strict and pyright on every page, then how much of the package has types

A block with a title is the file that it says. All others of a page are one file, in one ``async`` function: neither
checker has ``await`` at top level. Each line has the number that it has on the page.

As in a project that depends on the store: neither pydantic's plugin nor this repository's settings.
"""

import json
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.docs.pages import REPOSITORY, Page, pages

COMPLETENESS = 0.98
"""The share of the package's public names whose type a checker knows without inferring it, at least."""

_WHOLE = "page.py"
_FUNCTION = "async def page() -> None:"


def written(page: Page, folder: Path) -> list[Path]:
    """Write the Python of a page.

    Returns:
        The files.
    """
    blocks = [block for block in page.blocks if block.language == "python"]
    lines: dict[Path, list[str]] = {}
    for block in blocks:
        path, indent = (folder / block.title, "") if block.title else (folder / _WHOLE, " " * 4)
        file = lines.setdefault(path, [])
        file += [""] * (block.line - len(file))
        if not block.title and _FUNCTION not in file:
            file[-1] = _FUNCTION
        file += [f"{indent}{line}".rstrip() for line in block.text.splitlines()]
    for path, file in lines.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(file) + "\n", "utf-8")
    return [*lines]


def mypy(folder: Path, files: Iterable[Path]) -> list[str]:
    """What ``mypy --strict`` says of the files of one page."""
    cache = f"--cache-dir={REPOSITORY / '.mypy_cache' / 'pages'}"
    plain = ("--no-error-summary", "--no-color-output")
    options = ["--strict", "--explicit-package-bases", "--config-file=", cache, *plain]
    names = [str(file.relative_to(folder)) for file in files]
    return _run([sys.executable, "-m", "mypy", *options, *names], folder).stdout.splitlines()


def pyright(folder: Path, roots: Iterable[Path]) -> list[str]:
    """What pyright says of the files below some folders, each with its own top level."""
    environments = [{"root": str(root.relative_to(folder))} for root in roots]
    (folder / "pyrightconfig.json").write_text(json.dumps({"executionEnvironments": environments}), "utf-8")
    return _diagnostics(_run([*_PYRIGHT, "--outputjson", "."], folder).stdout, folder)


def _diagnostics(printed: str, top: Path) -> list[str]:
    report = json.loads(printed)
    if not report["summary"]["filesAnalyzed"]:
        raise RuntimeError("pyright has found no file to check")
    return [
        f"{Path(it['file']).relative_to(top)}:{it['range']['start']['line'] + 1}: {it['message']} [{it.get('rule')}]"
        for it in report["generalDiagnostics"]
    ]


def completeness() -> tuple[float, list[str]]:
    """The share of the package's public names whose type is known, and those whose is not."""
    with tempfile.TemporaryDirectory() as place:
        # As it is installed from a wheel: where the package is part of the project, its py.typed does not count.
        (Path(place) / "site").mkdir()
        (Path(place) / "site" / "veupath_store").symlink_to(REPOSITORY / "veupath_store")
        (Path(place) / "project").mkdir()
        options = ["--verifytypes", "veupath_store", "--ignoreexternal", "--outputjson"]
        done = _run([*_PYRIGHT, *options], Path(place) / "project", PYTHONPATH=str(Path(place) / "site"))
    report = json.loads(done.stdout)["typeCompleteness"]
    unknown = [it["name"] for it in report["symbols"] if it["isExported"] and not it["isTypeKnown"]]
    return report["completenessScore"], unknown


_PYRIGHT = [sys.executable, "-m", "pyright"]


def _run(command: list[str], folder: Path, **more: str) -> "subprocess.CompletedProcess[str]":
    # pyright asks the first Python of the path where packages are; it is not to look for a newer version of itself.
    path = f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1", **more}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode not in {0, 1}:
        raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def mistakes(checked: Iterable[Page]) -> list[str]:
    """What the two say of some pages, each line with its page and its number there."""
    with tempfile.TemporaryDirectory() as place, ThreadPoolExecutor() as pool:
        top = Path(place).resolve()
        folders = {re.sub(r"\W", "_", page.name): page for page in checked}
        files = {name: written(page, top / name) for name, page in folders.items()}
        used = [name for name in folders if files[name]]
        by_pyright = pool.submit(pyright, top, [top / name for name in used])
        found = [f"{name}/{line}" for name in used for line in mypy(top / name, files[name])]
        return [_on_page(line, folders) for line in [*found, *by_pyright.result()]]


def _on_page(line: str, folders: dict[str, Page]) -> str:
    """``README_md/page.py:46: …`` as ``README.md:46: …``."""
    folder, _, rest = line.partition("/")
    return f"{folders[folder].name}:{rest.partition(':')[2]}"


def programs() -> list[str]:
    """What pyright says of the demo and the example; mypy reads them with the package."""
    return _diagnostics(_run([*_PYRIGHT, "--outputjson"], REPOSITORY).stdout, REPOSITORY)


def main() -> int:
    """Print what is wrong.

    Returns:
        The exit code.
    """
    with ThreadPoolExecutor() as pool:
        of_programs, of_package = pool.submit(programs), pool.submit(completeness)
        found = mistakes(pages()) + of_programs.result()
        share, unknown = of_package.result()
    if share < COMPLETENESS:
        found += [f"no known type: {name}" for name in unknown]
        found.append(f"{share:.1%} of the package's public names have a known type, not {COMPLETENESS:.0%}")
    sys.stdout.writelines(f"{line}\n" for line in found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
