"""What the demo prints: sentences and tables that read well in 100 columns, with or without colours."""

from collections.abc import Iterable, Sequence
from typing import Final
from uuid import UUID

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDTH: Final = 100


class Show:
    """The stage."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or _console()
        self._scene = 0

    def scene(self, title: str) -> None:
        """Announce a scene."""
        self._scene += 1
        self._console.print()
        self._console.print(Text(f"{self._scene}. {title}", style="bold cyan"))

    def heading(self, title: str) -> None:
        """Announce what is no scene."""
        self._console.print()
        self._console.print(Text(title, style="bold cyan"))

    def say(self, sentence: str, style: str = "") -> None:
        """Print a sentence."""
        self._console.print(Text(sentence, style=style))

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]], whole: Sequence[str] = ()) -> None:
        """Print a table; a column whose name begins with ``#`` holds numbers, and one of `whole` is never wrapped."""
        table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
        for name in columns:
            number = name.startswith("#")
            table.add_column(
                name.removeprefix("#"),
                justify="right" if number else "left",
                overflow="fold",
                no_wrap=name in whole,
            )
        for row in rows:
            table.add_row(*(Text(_cell(value)) for value in row))
        self._console.print(table)


def _console() -> Console:
    console = Console(highlight=False)
    # A pipe has no width of its own, and longer lines than these are hard to read.
    console.width = min(WIDTH, console.width) if console.is_terminal else WIDTH
    return console


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.2f}"
    if isinstance(value, UUID):
        return str(value)[:8]
    return "-" if value is None else str(value)
