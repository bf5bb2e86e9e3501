"""A bar chart of the ratios to raw asyncpg."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.report import TITLES
from benchmarks.rounds import Measured
from benchmarks.workload import Variant

_MARKS: Final = (0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000)


def draw(measured: Sequence[Measured], path: Path) -> None:
    """Write an SVG without scripts. pygal draws it: pure Python of half a megabyte.

    Args:
        measured: What to draw; the first is at the top.
        path: Where to.
    """
    import pygal  # noqa: PLC0415 - an extra
    from pygal.style import CleanStyle  # noqa: PLC0415

    chart = pygal.HorizontalBar(
        title="Time of a call as a multiple of raw asyncpg's (logarithmic; less is better)",
        logarithmic=True,
        js=(),
        height=90 + 42 * len(measured),
        width=1100,
        legend_at_bottom=True,
        truncate_label=-1,
        truncate_legend=-1,
        style=CleanStyle(title_font_size=16, label_font_size=12, legend_font_size=13),
    )
    rows = list(reversed(measured))
    chart.x_labels = [one.workload.name for one in rows]
    ratios = {
        variant: [one.ratio(variant, Variant.RAW) for one in rows]
        for variant in (Variant.ALCHEMY, Variant.TORTOISE, Variant.OURS)
    }
    for variant, bars in ratios.items():
        chart.add(TITLES[variant], bars)
    most = max((bar for bars in ratios.values() for bar in bars if bar), default=1)
    chart.y_labels = [mark for mark in _MARKS if mark <= 2 * most]
    path.write_bytes(chart.render())
