"""``python -m benchmarks.scale``: does a call take longer when the tables hold a thousand times more rows?

The calls of ``python -m benchmarks`` are measured while the rows of other users grow from a thousand to a million;
`benchmarks.growth` tells which. What the users that are asked own stays the same. Raw asyncpg is measured beside ours,
in turns: what slows in both is the server's work, and what in ours alone is ours.

A call that slows by more than half from the smallest size to the largest is named, with the plans of its statements.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from benchmarks.__main__ import database, is_asked
from benchmarks.explained import explained
from benchmarks.growth import Growth, begin, counted, grow
from benchmarks.hand_log import Logged
from benchmarks.heavy import HEAVY_WORKLOADS, ByCommonTag, NoTable
from benchmarks.machine import described
from benchmarks.rounds import LEAST, Measured, WrongResultError, measure
from benchmarks.variants import Opened, opened
from benchmarks.workload import Variant, Workload
from benchmarks.workloads import WORKLOADS
from benchmarks.world import World
from veupath_store import StoreSettings, UnavailableError

SECONDS: Final = 60.0
"""For all calls at one size, the making of the rows aside."""

ALLOWED: Final = 1.5
"""How much longer a call may take at the largest size than at the smallest."""

CALM: Final = 1.2
"""How much longer a statement without a table may take: more, and the machine was too busy for a verdict."""

_WIDTH: Final = 140


@dataclass
class Line:
    """One call at all sizes.

    Attributes:
        workload: Its name.
        medians: Seconds of ours and of raw asyncpg, by size.
        plans: The plans of its statements at the largest size, where it slowed.
        refused: Why there is no figure, by size: it took longer than the store lets a statement take.
    """

    workload: str
    medians: dict[Variant, dict[int, float]] = field(default_factory=lambda: {Variant.RAW: {}, Variant.OURS: {}})
    plans: list[str] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)

    def growth(self, variant: Variant = Variant.OURS) -> float | None:
        """How much longer it takes at its largest size than at its smallest; ``None`` with one size only."""
        times = self.medians[variant]
        return times[max(times)] / times[min(times)] if len(times) > 1 else None

    @property
    def slows(self) -> bool:
        """Whether that is more than is allowed."""
        return bool(self.refused) or (self.growth() or 0) > ALLOWED

    def add(self, rows: int, measured: Measured) -> None:
        """Take the medians at one size."""
        for variant, medians in self.medians.items():
            median = measured.median(variant)
            if median is not None:
                medians[rows] = median


@dataclass
class Scaled:
    """What one run measured.

    Attributes:
        lines: The calls.
        counts: Rows of each table, and bytes, by size.
        filled: Seconds that the making of the rows took, by size.
        machine: On what.
    """

    lines: dict[str, Line] = field(default_factory=dict)
    counts: dict[int, dict[str, Any]] = field(default_factory=dict)
    filled: dict[int, float] = field(default_factory=dict)
    machine: str = ""

    @property
    def is_doubtful(self) -> bool:
        """Whether a statement that reads no table slowed, too: then the machine was busy."""
        line = self.lines.get(NoTable.name)
        return line is not None and (line.growth() or 0) > CALM


def chosen(growth: Growth, rows: int, world: World, only: Sequence[str] | None) -> list[tuple[type[Workload], World]]:
    """The calls that are measured at a size, and what they know of the data."""
    usual: tuple[type[Workload], ...] = (NoTable, *WORKLOADS, ByCommonTag)
    kinds = [(kind, world) for kind in usual]
    if growth.heavy_users(rows):
        heavy = World(replace(world.sizes, conversations=growth.heavy_conversations))
        kinds += [(kind, heavy) for kind in HEAVY_WORKLOADS]
    return [(kind, known) for kind, known in kinds if is_asked(kind.name, only)]


async def run(
    settings: StoreSettings,
    growth: Growth,
    *,
    only: Sequence[str] | None = None,
    seconds: float = SECONDS,
    least: int = LEAST,
    console: Console | None = None,
) -> Scaled:
    """Fill a migrated, empty database step by step, and measure at each.

    Args:
        settings: The database.
        growth: How far.
        only: Calls that have one of these in their names; all by default.
        seconds: For all calls at one size.
        least: Rounds of each at least.
        console: Where to say how far it is.

    Raises:
        WrongResultError: Raw asyncpg does something else than ours.
    """
    console = console or Console(quiet=True)
    done, before, world = Scaled(), 0, World(growth.world)
    for rows in growth.rows:
        console.print(f"making {rows:,} rows", style="dim")
        await _fill(settings, growth, world, done, before=before, rows=rows)
        asked = chosen(growth, rows, world, only)
        for redis_url in dict.fromkeys((None, settings.redis_url)):
            kinds = [it for it in asked if issubclass(it[0], Logged) == (redis_url is not None)]
            # Opened anew at each size, as by a process that has just been deployed; with the log for what needs it.
            configured = settings.model_copy(update={"redis_url": redis_url})
            async with opened(configured, (Variant.RAW, Variant.OURS)) as all_:
                workloads = [all_.made(kind, known) for kind, known in kinds]
                for workload in workloads:
                    console.print(workload.name, style="dim")
                    await _measure(all_, workload, done, rows=rows, budget=seconds / len(asked), least=least)
                if rows == growth.rows[-1]:
                    await _explain(all_, workloads, done)
        before = rows
    return done


async def _fill(settings: StoreSettings, growth: Growth, world: World, done: Scaled, *, before: int, rows: int) -> None:
    started = time.perf_counter()
    async with opened(settings.model_copy(update={"redis_url": None})) as all_:
        if not before:
            await begin(all_.connection, world)
        await grow(all_.connection, growth, world, before, rows)
        done.filled[rows] = time.perf_counter() - started
        done.counts[rows], done.machine = await counted(all_.connection), await described(all_.connection)


async def _measure(all_: Opened, workload: Workload, done: Scaled, *, rows: int, budget: float, least: int) -> None:
    line = done.lines.setdefault(workload.name, Line(workload.name))
    try:
        line.add(rows, await measure(all_, workload, budget, least))
    except UnavailableError as exc:
        line.refused[rows] = str(exc)


async def _explain(all_: Opened, workloads: Sequence[Workload], done: Scaled) -> None:
    for workload in workloads:
        line = done.lines[workload.name]
        if line.slows:
            line.plans = await explained(all_, workload)


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--only", action="append", metavar="NAME", help="what has this in its name; several times: any")
    parser.add_argument("--rows", type=int, nargs="+", default=list(Growth().rows), help="the sizes (default: all)")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for one size (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--charts", type=Path, metavar="DIRECTORY", help="write charts there, as SVG")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables into this page")
    return parser.parse_args(arguments)


def main() -> int:
    """Measure, and tell. 1 when raw asyncpg and ours differ; slowness is no failure."""
    from benchmarks.scale_report import as_json, as_markdown, show  # noqa: PLC0415 - it needs this module

    asked = options()
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    growth = Growth(rows=tuple(sorted(asked.rows)))
    try:
        with database() as settings:
            work = run(settings, growth, only=asked.only, seconds=asked.seconds, console=console)
            scaled = asyncio.run(work)
    except WrongResultError as exc:
        sys.stderr.write(f"{exc}\n")
        return 1
    show(console, scaled)
    if asked.json:
        asked.json.write_text(json.dumps(as_json(scaled), indent=1) + "\n")
    if asked.markdown:
        from benchmarks.page import replace_block  # noqa: PLC0415

        replace_block(asked.markdown, "make bench-scale", as_markdown(scaled))
    if asked.charts:
        from benchmarks.scale_chart import draw  # noqa: PLC0415 - needs an extra

        draw(scaled, asked.charts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
