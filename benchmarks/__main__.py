"""``python -m benchmarks``: the store beside raw asyncpg, plain Tortoise and the SQLAlchemy layer that it replaces.

All four do the same work in one process, in turns, on one database of their own that is made and dropped: on the
server that DATABASE_URL names, or else on an embedded one. Before anything is measured, each is seen to return the same
values and to leave the same rows as ours. What the event log has a part in is measured last, with one: in the Redis
that REDIS_URL names, under keys of its own that are removed, or else in an embedded one.

Plain Tortoise runs in a Tortoise context of its own beside the store's, on Tortoise's own asyncpg backend, with the
store's models.
"""

import argparse
import asyncio
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from rich.console import Console

from benchmarks import log_cost, mixed
from benchmarks.hand_log import Logged
from benchmarks.machine import described
from benchmarks.page import replace_block
from benchmarks.report import LOG_COST, Results, as_json, as_markdown, show
from benchmarks.rounds import LEAST, Measured, WrongResultError, measure
from benchmarks.variants import opened
from benchmarks.workload import Variant, Workload
from benchmarks.workloads import WORKLOADS
from benchmarks.world import Sizes, World, fill
from veupath_store import StoreSettings
from veupath_store.integrations.testing.place import Place

SECONDS: Final = 200.0
"""For all of it, the making of the data aside."""

LOG_ROUNDS: Final = 5
"""Turns of the writes with and without an event log."""

_WIDTH: Final = 140
"""Columns of the tables where they are not shown at a terminal."""


async def run(
    settings: StoreSettings,
    sizes: Sizes,
    chosen: Sequence[type[Workload]],
    *,
    seconds: float = SECONDS,
    least: int = LEAST,
    with_mixed: bool = True,
    log_rounds: int = 0,
    console: Console | None = None,
) -> Results:
    """Fill a migrated, empty database, and measure on it.

    Args:
        settings: The database.
        sizes: How much data.
        chosen: What to measure.
        seconds: For all of it.
        least: Rounds of each at least.
        with_mixed: Whether to let many callers run at once, too.
        log_rounds: How often writes are compared with and without a log, which must be configured then.
        console: Where to say how far it is.

    Raises:
        WrongResultError: A variant does something else than ours.
    """
    console = console or Console(quiet=True)
    world, measured, concurrency = World(sizes), list[Measured](), dict[Variant, mixed.Concurrency]()
    budget = seconds / len(WORKLOADS)
    async with opened(settings.model_copy(update={"redis_url": None})) as all_:
        console.print("making the data", style="dim")
        machine = await described(all_.connection)
        await fill(all_.connection, world)
        for kind in without_log(chosen):
            console.print(kind.name, style="dim")
            measured.append(await measure(all_, all_.made(kind, world), budget, least))
        if with_mixed:
            concurrency = await mixed.measure(all_, world)
    if logged := with_log(chosen):
        async with opened(settings) as all_:
            for kind in logged:
                console.print(kind.name, style="dim")
                measured.append(await measure(all_, all_.made(kind, world), budget, least))
    costs = list[log_cost.LogCost]()
    if log_rounds:
        console.print(LOG_COST, style="dim")
        costs = await log_cost.measure(settings, world, log_rounds)
    return Results(measured, concurrency, machine, costs)


def with_log(kinds: Sequence[type[Workload]]) -> list[type[Workload]]:
    """Those that need an event log."""
    return [kind for kind in kinds if issubclass(kind, Logged)]


def without_log(kinds: Sequence[type[Workload]]) -> list[type[Workload]]:
    """Those that are measured without one: with it, ours would do more than the others."""
    return [kind for kind in kinds if not issubclass(kind, Logged)]


@contextmanager
def database() -> Iterator[StoreSettings]:
    """A migrated, empty database and an empty log, dropped afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="veupath-store-bench-")).resolve()
    redis_url = os.environ.get("REDIS_URL") or None
    place = Place(directory, os.environ.get("DATABASE_URL") or None, redis_url)
    prefix = f"{directory.name}:"
    try:
        server = place.server()
        name = server.create()
        try:
            server.migrate(name)
            log = place.log(prefix) if redis_url else f"embedded:{directory / 'redis'}"
            yield StoreSettings(
                database_url=server.url(name),
                redis_url=log,
                log_prefix=prefix,
                migration_database_url=None,
            )
        finally:
            if redis_url:
                place.forget_log(redis_url, prefix)
            server.drop(name)
            place.leave(server)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    usual = Sizes()
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", action="append", metavar="NAME", help="what has this in its name; several times: any")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for all of it (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--chart", type=Path, metavar="FILE", help="write a bar chart there, as SVG")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables into this page")
    for name in ("users", "conversations", "control_sets", "operations", "purged"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=getattr(usual, name), help="%(default)s")
    return parser.parse_args(arguments)


def main() -> int:
    """Measure, and tell. 1 when a variant is wrong; slowness is no failure."""
    asked = options()
    names = ("users", "conversations", "control_sets", "operations", "purged")
    sizes = replace(Sizes(), **{name: getattr(asked, name) for name in names})
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    chosen = [kind for kind in WORKLOADS if is_asked(kind.name, asked.only)]
    with_mixed = is_asked(mixed.NAME, asked.only)
    try:
        with database() as settings:
            work = run(
                settings,
                sizes,
                chosen,
                seconds=asked.seconds,
                with_mixed=with_mixed,
                log_rounds=LOG_ROUNDS if is_asked(LOG_COST, asked.only) else 0,
                console=console,
            )
            results = asyncio.run(work)
    except WrongResultError as exc:
        sys.stderr.write(f"{exc}\n")
        return 1
    show(console, results)
    if asked.json:
        asked.json.write_text(json.dumps(as_json(results), indent=1) + "\n")
    if asked.markdown:
        replace_block(asked.markdown, "make bench", as_markdown(results))
    if asked.chart:
        from benchmarks.chart import draw  # noqa: PLC0415 - needs an extra

        draw(results.measured, asked.chart)
    return 0


def is_asked(name: str, only: Sequence[str] | None) -> bool:
    """Whether ``--only`` names it, or nothing."""
    return not only or any(part.lower() in name.lower() for part in only)


if __name__ == "__main__":
    sys.exit(main())
