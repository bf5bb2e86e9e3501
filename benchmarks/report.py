"""What was measured, for people and as JSON."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks.log_cost import GOAL, LogCost
from benchmarks.mixed import NAME, Concurrency
from benchmarks.rounds import Measured
from benchmarks.workload import Variant

TITLES: Final = {
    Variant.RAW: "raw asyncpg",
    Variant.TORTOISE: "Tortoise",
    Variant.ALCHEMY: "SQLAlchemy",
    Variant.OURS: "ours",
}
LOG_COST: Final = "writes with an event log and without"
_NONE: Final = "-"


@dataclass(frozen=True)
class Results:
    """What one run measured."""

    measured: Sequence[Measured] = ()
    mixed: Mapping[Variant, Concurrency] = field(default_factory=dict)
    machine: str = ""
    log_costs: Sequence[LogCost] = ()


def show(console: Console, results: Results) -> None:
    """The tables, and why a variant was left out."""
    measured, mixed = results.measured, results.mixed
    for table in _tables(results):
        console.print(table)
    for one in measured:
        for variant, reason in one.workload.missing.items():
            console.print(f"- {one.workload.name}, {TITLES[variant]}: {reason}", style="dim")
    if not any(Variant.ALCHEMY in one.seconds for one in measured) and Variant.ALCHEMY not in mixed:
        console.print("- SQLAlchemy was not measured: it is not installed ('make bench' installs it)", style="dim")


def _tables(results: Results) -> list[Table]:
    """Those that have something to say."""
    return [
        *([_calls(results.measured)] if results.measured else ()),
        *([_log_costs(results.log_costs)] if results.log_costs else ()),
        *([_concurrency(results.mixed)] if results.mixed else ()),
        *([_memory(results.measured)] if any(one.peaks for one in results.measured) else ()),
    ]


def _log_costs(costs: Sequence[LogCost]) -> Table:
    table = Table(
        title=f"Microseconds of {LOG_COST}, median", caption="The log is written in the background meanwhile."
    )
    table.add_column("")
    for heading in ("without", "with", "with/without", "sent"):
        table.add_column(heading, justify="right")
    for cost in costs:
        table.add_row(
            cost.name,
            _microseconds(cost.median(with_log=False)),
            _microseconds(cost.median(with_log=True)),
            _marked(cost.ratio, GOAL, at_most=True),
            str(len(cost.statements[True])),
        )
    return table


def _calls(measured: Sequence[Measured]) -> Table:
    table = Table(
        title="Microseconds of a call, median",
        caption="In brackets: the goal, and whether it is reached. Sent: statements of ours.",
    )
    table.add_column("", no_wrap=True)
    for heading in (*TITLES.values(), "ours/raw", "SQLAlchemy/ours", "sent"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in measured:
        table.add_row(
            one.workload.name,
            *(_microseconds(one.median(variant)) for variant in TITLES),
            _marked(one.ratio(Variant.OURS, Variant.RAW), one.workload.raw_goal, at_most=True),
            _marked(one.ratio(Variant.ALCHEMY, Variant.OURS), one.workload.alchemy_goal, at_most=False),
            str(one.statements),
        )
    return table


def _concurrency(mixed: Mapping[Variant, Concurrency]) -> Table:
    table = Table(title=NAME)
    table.add_column("")
    for heading in ("calls/s", "p50 ms", "p99 ms", "connections", "peak KiB"):
        table.add_column(heading, justify="right")
    for variant, title in TITLES.items():
        seen = mixed.get(variant)
        figures = (
            [_NONE] * 5
            if seen is None
            else [
                f"{seen.throughput:,.0f}",
                f"{seen.percentile(50) * 1e3:.1f}",
                f"{seen.percentile(99) * 1e3:.1f}",
                str(seen.connections),
                _kib(seen.peak),
            ]
        )
        table.add_row(title, *figures)
    return table


def _memory(measured: Sequence[Measured]) -> Table:
    table = Table(
        title="KiB that one call holds at most", caption="What Python allocates; without the driver's buffers."
    )
    table.add_column("")
    for heading in TITLES.values():
        table.add_column(heading, justify="right")
    for one in measured:
        if one.peaks:
            table.add_row(one.workload.name, *(_kib(one.peaks.get(variant)) for variant in TITLES))
    return table


def _kib(count: int | None) -> str:
    return _NONE if count is None else f"{count / 1024:,.0f}"


def _microseconds(seconds: float | None) -> str:
    return _NONE if seconds is None else f"{seconds * 1e6:,.0f}"


def _marked(ratio: float | None, goal: float, *, at_most: bool) -> str:
    """A ratio, its goal, and by a word, not by colour alone, whether it is reached."""
    if ratio is None:
        return _NONE
    reached = ratio <= goal if at_most else ratio >= goal
    sign, word, colour = "≤" if at_most else "≥", "ok" if reached else "no", "green" if reached else "red"
    return f"{ratio:.2f} ({sign}{goal:g} [{colour}]{word}[/{colour}])"


def as_json(results: Results) -> dict[str, Any]:
    """The same, and every goal, for comparing two runs."""
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "workloads": [_entry(one) for one in results.measured],
        "with_log_by_without": {cost.name: cost.ratio for cost in results.log_costs},
        "concurrent": {
            variant.value: {
                "calls_per_second": round(seen.throughput),
                "p50_ms": round(seen.percentile(50) * 1e3, 2),
                "p99_ms": round(seen.percentile(99) * 1e3, 2),
                "connections": seen.connections,
                "peak_kib": round(seen.peak / 1024),
            }
            for variant, seen in results.mixed.items()
        },
    }


def _entry(one: Measured) -> dict[str, Any]:
    medians = {variant.value: one.median(variant) for variant in Variant}
    return {
        "name": one.workload.name,
        "median_us": {name: None if value is None else round(value * 1e6, 1) for name, value in medians.items()},
        "calls": {variant.value: len(times) for variant, times in one.seconds.items()},
        "peak_kib": {variant.value: round(peak / 1024) for variant, peak in one.peaks.items()},
        "rounds": one.rounds,
        "statements": one.statements,
        "ours_by_raw": one.ratio(Variant.OURS, Variant.RAW),
        "ours_by_raw_goal": one.workload.raw_goal,
        "alchemy_by_ours": one.ratio(Variant.ALCHEMY, Variant.OURS),
        "alchemy_by_ours_goal": one.workload.alchemy_goal,
    }


def as_markdown(results: Results) -> str:
    """The tables of a page, and which goals were missed."""
    tables = (f"{table.title}:\n\n{_markdown(table)}" for table in _tables(results))
    return "\n\n".join([f"On {results.machine}.", *tables, _missed(results)])


def _missed(results: Results) -> str:
    """The goals that were missed, in a line each."""
    lines = [
        f"- {cost.name}: {cost.ratio:.2f} times as long with a log, not {GOAL:g}"
        for cost in results.log_costs
        if cost.ratio > GOAL
    ]
    for one in results.measured:
        raw, alchemy = one.ratio(Variant.OURS, Variant.RAW), one.ratio(Variant.ALCHEMY, Variant.OURS)
        if raw is not None and raw > one.workload.raw_goal:
            lines.append(f"- {one.workload.name}: {raw:.2f} times raw asyncpg, not {one.workload.raw_goal:g}")
        if alchemy is not None and alchemy < one.workload.alchemy_goal:
            goal = one.workload.alchemy_goal
            lines.append(f"- {one.workload.name}: {alchemy:.2f} times faster than SQLAlchemy, not {goal:g}")
    return "\n".join([f"Goals that were missed in this run, {len(lines)}:", "", *lines]) if lines else "All goals met."


def _markdown(table: Table) -> str:
    columns = [[Text.from_markup(str(cell)).plain for cell in column.cells] for column in table.columns]
    headings = [str(column.header) for column in table.columns]
    rows = [headings, ["---", *["---:"] * (len(headings) - 1)], *(list(row) for row in zip(*columns, strict=True))]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
