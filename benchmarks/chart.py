"""Charts: how they look, and the bar chart of ``make bench``."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.report import TITLES
from benchmarks.rounds import Measured
from benchmarks.workload import Variant

COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d00", "#56b4e9", "#6a3d9a", "#555555", "#b2182b")
"""Told apart by most people who do not see all colours, and on white by everybody."""

_MARKS: Final = (0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000)
_COMMENT: Final = re.compile(rb"<!--.*?-->", re.DOTALL)


def options(title: str) -> dict[str, Any]:
    """What all charts have in common: no scripts, and a white ground of their own, for pages light or dark."""
    from pygal.style import Style  # noqa: PLC0415 - an extra

    style = Style(
        background="#ffffff",
        plot_background="#ffffff",
        foreground="#222222",
        foreground_strong="#111111",
        foreground_subtle="#bbbbbb",
        guide_stroke_color="#dddddd",
        major_guide_stroke_color="#bbbbbb",
        font_family="sans-serif",
        title_font_size=16,
        label_font_size=12,
        major_label_font_size=12,
        legend_font_size=13,
        opacity="1",
        stroke_opacity="1",
        colors=COLOURS,
    )
    return {
        "title": title,
        "logarithmic": True,
        "js": (),
        "legend_at_bottom": True,
        "truncate_label": -1,
        "truncate_legend": -1,
        "style": style,
        "disable_xml_declaration": False,
    }


def write(chart: Any, path: Path) -> None:  # noqa: ANN401 - pygal ships no types
    """Write an SVG that differs from the last one by its figures only: no date, no random id."""
    chart.uuid = path.stem
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_COMMENT.sub(b"", chart.render()).strip() + b"\n")


def draw(measured: Sequence[Measured], path: Path) -> None:
    """Draw the ratios to raw asyncpg. pygal does it: pure Python of half a megabyte.

    Args:
        measured: What to draw; the first is at the top.
        path: Where to.
    """
    import pygal  # noqa: PLC0415 - an extra

    chart = pygal.HorizontalBar(
        height=90 + 42 * len(measured),
        width=1100,
        **options("Time of a call as a multiple of raw asyncpg's (logarithmic; less is better)"),
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
    write(chart, path)
