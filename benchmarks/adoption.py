"""``python -m benchmarks.adoption``: how long the adoption of a large legacy database takes, and how much disk.

On an embedded server of its own, with its usual settings, so that what is on disk is safe there.
"""

import argparse
import asyncio
import contextlib
import json
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import asyncpg

from benchmarks.adoption_fill import fill
from tests.support.legacy.schema import schema_sql
from veupath_store import StoreSettings
from veupath_store.adoption import AdoptionProgress, adopt, finish_adoption, plan_adoption, undo_adoption
from veupath_store.servers.database_url import parse_database_url
from veupath_store.servers.embedded import start_embedded

_SAMPLE_SECONDS = 0.5
_DATABASE = "SELECT pg_database_size(current_database())"
_WAL = "SELECT sum(size)::bigint FROM pg_ls_waldir()"
_TEMPORARY = "SELECT coalesce(sum(size), 0)::bigint FROM pg_ls_tmpdir()"


@dataclass
class Measured:
    """What was seen.

    Attributes:
        rows: Legacy rows.
        problems: How many were fixed.
        fill_seconds: What making the legacy database took.
        seconds: The dry run, the adoption, the way back, and the end.
        phases: Seconds of each phase of the adoption.
        bytes: The database before, at its largest during the adoption (with temporary files), after it, and after
            the old tables were dropped; what the write-ahead log had at most; and what was estimated to be needed.
        estimate: The seconds that the dry run estimated, or without one the adoption when it had read everything.
    """

    rows: int = 0
    problems: int = 0
    fill_seconds: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)
    phases: dict[str, float] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)
    estimate: float = 0.0


class Clock:
    """Times the phases that an adoption tells, and shows them."""

    def __init__(self) -> None:
        self.phases: dict[str, float] = {}
        self._phase = "start"
        self._since = time.perf_counter()

    def __call__(self, told: AdoptionProgress) -> None:
        """Another phase, or more of the same."""
        if told.phase != self._phase:
            self.stop()
            self._phase = told.phase
            sys.stderr.write(f"{told.phase}\n")

    def stop(self) -> None:
        """The phase ends here."""
        now = time.perf_counter()
        self.phases[self._phase] = self.phases.get(self._phase, 0.0) + now - self._since
        self._since = now


@contextlib.asynccontextmanager
async def sampled(connection: Any) -> AsyncIterator[dict[str, int]]:  # noqa: ANN401 - asyncpg has no types
    """The most that the database, with its temporary files, and its log take on disk meanwhile."""
    most = {"peak": 0, "log": 0}
    ended = asyncio.Event()

    async def sample() -> None:
        while not ended.is_set():
            held = await connection.fetchval(_DATABASE) + await connection.fetchval(_TEMPORARY)
            most["peak"] = max(most["peak"], held)
            most["log"] = max(most["log"], await connection.fetchval(_WAL))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), _SAMPLE_SECONDS)

    sampling = asyncio.create_task(sample())
    try:
        yield most
    finally:
        ended.set()
        await sampling


async def measure(
    settings: StoreSettings,
    connection: Any,  # noqa: ANN401
    projections: int,
    *,
    only_adopt: bool,
) -> Measured:
    """Fill, look, adopt, go back, adopt again, finish."""
    measured = Measured()
    started = time.perf_counter()
    await connection.execute(schema_sql("alembic"))
    await fill(connection, projections)
    measured.fill_seconds = time.perf_counter() - started
    sys.stderr.write(f"filled in {measured.fill_seconds:.0f} s\n")
    measured.bytes["before"] = await connection.fetchval(_DATABASE)

    if not only_adopt:
        async with timed(measured, "dry run"):
            measured.estimate = (await plan_adoption(settings)).estimate_seconds
    clock = Clock()
    async with sampled(connection) as most, timed(measured, "adopt"):
        report = await adopt(settings, progress=clock)
    measured.rows, measured.problems = sum(report.rows.values()), len(report.problems)
    measured.estimate = measured.estimate or report.estimate_seconds
    clock.stop()
    measured.phases = clock.phases
    measured.bytes |= {**most, "after": await connection.fetchval(_DATABASE), "estimate": report.estimate_bytes}
    if not only_adopt:
        async with timed(measured, "undo"):
            await undo_adoption(settings)
        await adopt(settings)
    async with timed(measured, "finish"):
        await finish_adoption(settings)
    measured.bytes["finished"] = await connection.fetchval(_DATABASE)
    return measured


@contextlib.asynccontextmanager
async def timed(measured: Measured, what: str) -> AsyncIterator[None]:
    """The seconds that something takes."""
    started = time.perf_counter()
    yield
    measured.seconds[what] = time.perf_counter() - started
    sys.stderr.write(f"{what}: {measured.seconds[what]:.1f} s\n")


def table(measured: Measured) -> str:
    """For a page of the documentation."""
    rows = [("legacy rows", f"{measured.rows:,}"), ("problems fixed", f"{measured.problems:,}")]
    rows += [(what, f"{seconds:.1f} s") for what, seconds in measured.seconds.items()]
    rows += [("estimated", f"{measured.estimate:.1f} s")]
    rows += [("rows a second", f"{measured.rows / measured.seconds['adopt']:,.0f}")]
    rows += [(f"phase: {phase}", f"{seconds:.1f} s") for phase, seconds in measured.phases.items()]
    rows += [(f"disk: {what}", f"{size / 1e9:.2f} GB") for what, size in measured.bytes.items()]
    return "\n".join(("| what | measured |", "| --- | ---: |", *(f"| {what} | {value} |" for what, value in rows)))


async def run(projections: int, directory: Path, *, only_adopt: bool) -> Measured:
    """Start a server, measure."""
    target = start_embedded(parse_database_url(f"embedded:{directory / 'pg'}"))
    host, port = target.hosts[0]
    connection = await asyncpg.connect(host=host, port=port, user=target.user, database=target.database)
    try:
        settings = StoreSettings(database_url=f"embedded:{directory / 'pg'}")
        return await measure(settings, connection, projections, only_adopt=only_adopt)
    finally:
        await connection.close()


def main() -> None:
    """Read the options and measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.adoption", description=__doc__)
    parser.add_argument("--projections", type=int, default=100_000, help="conversations (default: %(default)s)")
    parser.add_argument("--only-adopt", action="store_true", help="no dry run, and no way back: half of the time")
    parser.add_argument("--directory", type=Path, help="where the server keeps its data (default: a temporary one)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="veupath-store-bench-", dir=options.directory)).resolve()
    try:
        measured = asyncio.run(run(options.projections, directory, only_adopt=options.only_adopt))
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    sys.stdout.write((json.dumps(asdict(measured)) if options.json else table(measured)) + "\n")


if __name__ == "__main__":
    main()
