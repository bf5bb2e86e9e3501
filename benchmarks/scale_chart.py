"""The charts of ``make bench-scale``: a line for each call, a few calls in each chart."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.chart import options, write
from benchmarks.scale import Line, Scaled
from benchmarks.scale_report import label
from benchmarks.workload import Variant

_GROUPS: Final = (
    ("scale-fast", "Calls of less than a millisecond", 1e-3),
    ("scale-medium", "Calls of one to five milliseconds", 5e-3),
    ("scale-bulk", "Bulk work", float("inf")),
)
"""File, title, and how long a call takes at most at the smallest size."""

_MARKS: Final = tuple(factor * 10**power / 1_000 for power in range(1, 8) for factor in (1, 2, 5))


def draw(scaled: Scaled, directory: Path) -> list[Path]:
    """Write the charts, as SVG without scripts.

    Args:
        scaled: What was measured.
        directory: Where to; it is made when it is not there.

    Returns:
        The files: none of a group without a call.
    """
    written, shortest = [], 0.0
    for name, title, longest in _GROUPS:
        lines = [line for line in scaled.lines.values() if shortest <= _first(line) < longest]
        if lines:
            path = directory / f"{name}.svg"
            _draw(scaled, lines, title, path)
            written.append(path)
        shortest = longest
    return written


def _first(line: Line) -> float:
    times = line.medians[Variant.OURS]
    return times[min(times)] if times else -1.0


def _draw(scaled: Scaled, lines: Sequence[Line], title: str, path: Path) -> None:
    import pygal  # noqa: PLC0415 - an extra

    chart = pygal.Line(
        width=1000,
        height=460 + 12 * len(lines),
        x_title="conversations of other users",
        y_title="milliseconds of a call, median (logarithmic)",
        legend_at_bottom_columns=3,
        **options(title),
    )
    chart.x_labels = [label(rows) for rows in scaled.counts]
    values = []
    for line in lines:
        times = line.medians[Variant.OURS]
        points = [times[rows] * 1e3 if rows in times else None for rows in scaled.counts]
        values += [point for point in points if point]
        chart.add(line.workload, points)
    low, high = min(values), max(values)
    chart.range = (low / 1.5, high * 1.5)
    chart.y_labels = [mark for mark in _MARKS if low / 1.6 <= mark <= high * 1.6]
    write(chart, path)
