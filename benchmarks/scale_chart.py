"""The charts of ``make bench-scale``: a line for each call, a few calls in each chart."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.chart import options, write
from benchmarks.scale import Line, Scaled
from benchmarks.scale_report import label
from benchmarks.workload import Variant

_GROUPS: Final = {
    "scale-heavy": ("A user with 20,000 conversations", ("heavy user",)),
    "scale-jobs": ("Background jobs", ("operation:", "sweep")),
    "scale-lists": ("Lists", ("sidebar", "control sets", "experiment summaries")),
    "scale-bulk": ("Bulk work", ("WDK sync", "prune", "purge", "chat turn", "rebuild", "experiment save")),
    "scale-single": ("One user, one conversation", ("",)),
}
"""Title, and how the names of its calls begin, by file; a call is in the first that takes it."""

_MARKS: Final = tuple(factor * 10**power / 1_000 for power in range(1, 8) for factor in (1, 2, 5))


def draw(scaled: Scaled, directory: Path) -> list[Path]:
    """Write the charts, as SVG without scripts.

    Args:
        scaled: What was measured.
        directory: Where to; it is made when it is not there.

    Returns:
        The files: none of a group without a call.
    """
    written, left = [], list(scaled.lines.values())
    for name, (title, beginnings) in _GROUPS.items():
        lines = [line for line in left if line.workload.startswith(beginnings) and line.medians[Variant.OURS]]
        left = [line for line in left if line not in lines]
        if lines:
            written.append(directory / f"{name}.svg")
            _draw(scaled, lines, title, written[-1])
    return written


def _draw(scaled: Scaled, lines: Sequence[Line], title: str, path: Path) -> None:
    import pygal  # noqa: PLC0415 - an extra

    chart = pygal.Line(
        width=1000,
        height=470 + 8 * len(lines),
        stroke_style={"width": 2},
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
