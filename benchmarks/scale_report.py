"""What ``make bench-scale`` measured: for people, as JSON, and as the tables of a page."""

import platform
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from benchmarks.scale import ALLOWED, Line, Scaled
from benchmarks.workload import Variant

_NONE: Final = "-"
DOUBT: Final = "The machine was busy: a statement that reads no table slowed, too. Repeat it before quoting a figure."


def show(console: Console, scaled: Scaled) -> None:
    """A table, and the plans of what slowed."""
    table = Table(
        title="Microseconds of a call of ours, median, by the conversations of other users",
        caption=f"Growth: the largest size by the smallest; of more than {ALLOWED:g} it is told why. "
        "Raw: the growth of raw asyncpg in the same rounds.",
    )
    for heading in _headings(scaled):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for line in scaled.lines.values():
        table.add_row(*_cells(scaled, line), style="red" if line.slows else None)
    console.print(table)
    console.print(_filled(scaled), style="dim")
    if scaled.is_doubtful:
        console.print(DOUBT, style="bold")
    for line in scaled.lines.values():
        for rows, reason in line.refused.items():
            console.print(f"{line.workload} at {label(rows)}: {reason}", style="bold")
        for plan in line.plans:
            console.print(f"{line.workload} slows: {_times(line.growth())} times", style="bold")
            console.print(plan, markup=False, highlight=False)


def as_json(scaled: Scaled) -> dict[str, Any]:
    """The same, for comparing two runs."""
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "sizes": [
            {"rows": rows, "filled_seconds": round(scaled.filled[rows], 1), **counts}
            for rows, counts in scaled.counts.items()
        ],
        "workloads": [
            {
                "name": line.workload,
                "median_us": {
                    variant.value: {str(rows): round(seconds * 1e6, 1) for rows, seconds in medians.items()}
                    for variant, medians in line.medians.items()
                },
                "growth": line.growth(),
                "growth_raw": line.growth(Variant.RAW),
                "slows": line.slows,
                "refused": line.refused,
                "plans": line.plans,
            }
            for line in scaled.lines.values()
        ],
    }


def as_markdown(scaled: Scaled) -> str:
    """The table of a page, with a word about the rows."""
    headings = _headings(scaled)
    rows = [headings, ["---", *["---:"] * (len(headings) - 1)], *(_cells(scaled, it) for it in scaled.lines.values())]
    slow = [line.workload for line in scaled.lines.values() if line.slows]
    verdict = f"More than {ALLOWED:g} times slower: {', '.join(slow)}." if slow else f"None grows {ALLOWED:g} times."
    verdict = f"{DOUBT} {verdict}" if scaled.is_doubtful else verdict
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return (
        f"On {scaled.machine}.\n\nMicroseconds of a call of ours, median:\n\n{table}\n\n{verdict} {_filled(scaled)}\n"
    )


def label(rows: int) -> str:
    """A size in few characters."""
    for unit, letter in ((1_000_000, "M"), (1_000, "k")):
        if rows >= unit and rows % unit == 0:
            return f"{rows // unit} {letter}"
    return str(rows)


def _headings(scaled: Scaled) -> list[str]:
    return ["", *(label(rows) for rows in scaled.counts), "growth", "raw"]


def _cells(scaled: Scaled, line: Line) -> list[str]:
    ours = line.medians[Variant.OURS]
    times = [
        f"{ours[rows] * 1e6:,.0f}" if rows in ours else "refused" if rows in line.refused else _NONE
        for rows in scaled.counts
    ]
    return [line.workload, *times, _times(line.growth()), _times(line.growth(Variant.RAW))]


def _times(growth: float | None) -> str:
    return _NONE if growth is None else f"{growth:.2f}"


def _filled(scaled: Scaled) -> str:
    rows, counts = next(reversed(scaled.counts.items()))
    tables = ", ".join(f"{count:,} {table}" for table, count in counts.items() if table != "bytes")
    seconds = sum(scaled.filled.values())
    return f"At {label(rows)}: {tables}; {counts['bytes'] / 1e9:.1f} GB. The rows were made in {seconds:,.0f} seconds."
