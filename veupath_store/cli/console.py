"""What the commands share: exit codes, options, questions, and printing for people and for programs."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Any, Final, NoReturn, TypeAlias

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

EXIT_FAILED: Final = 1
EXIT_FINDINGS: Final = 3
EXIT_INTERRUPTED: Final = 130
EXIT_CODES: Final = (
    f"Exit codes: 0 all is well; {EXIT_FAILED} the command could not do its work, and says why; 2 the command line is "
    f"wrong; {EXIT_FINDINGS} there are findings; {EXIT_INTERRUPTED} interrupted, and what was done stays."
)
"""Of all commands; those that have findings say in their descriptions what these are."""

Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print one JSON document, and nothing else.")]
Quiet: TypeAlias = Annotated[bool, typer.Option("--quiet", "-q", help="Print only what is not well.")]
Yes: TypeAlias = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; needed without a terminal.")]

ShowProgress: TypeAlias = Callable[[str, int, int], None]
"""Called with a phase of the work, how much of it is done, and how much it has; 0 where that is not known."""


def fail(message: str, code: int = EXIT_FAILED) -> NoReturn:
    """End the command with a message on standard error."""
    typer.echo(message, err=True)
    sys.exit(code)


def check_can_ask(*, yes: bool) -> None:
    """Refuse a command line without ``--yes`` where there is no terminal."""
    if not (yes or sys.stdin.isatty()):
        raise typer.BadParameter("Nobody can be asked without a terminal: give --yes.")


def confirm(question: str, *, yes: bool) -> None:
    """Ask, and end the command unless the answer is yes."""
    check_can_ask(yes=yes)
    if not yes:
        typer.confirm(question, abort=True, err=True)


@contextmanager
def progress_bars(*, shown: bool) -> Iterator[ShowProgress]:
    """A progress bar for each phase, on standard error where that is a terminal and they are wanted."""
    columns = (TextColumn("{task.description:<20}"), BarColumn(), MofNCompleteColumn())
    remaining = TimeRemainingColumn(elapsed_when_finished=True)
    off = not (shown and sys.stderr.isatty())
    with Progress(*columns, remaining, console=Console(stderr=True), redirect_stdout=False, disable=off) as progress:
        tasks: dict[str, TaskID] = {}

        def show(phase: str, done: int, total: int) -> None:
            if phase not in tasks:
                for task in tasks.values():
                    progress.stop_task(task)
                tasks[phase] = progress.add_task(phase, total=total or None)
            progress.update(tasks[phase], completed=done, total=total or None)

        yield show


def print_json(command: str, ok: bool, report: Mapping[str, Any]) -> None:
    """Print one document: of which command, whether all is well, and what else it holds."""
    # ASCII only, so that no encoding of the output can refuse it, and no terminal act on it.
    sys.stdout.write(json.dumps({"command": command, "ok": ok, **report}, default=datetime.isoformat) + "\n")


def print_table(*sections: Sequence[tuple[Any, ...]], title: str | None = None, header: Sequence[str] = ()) -> None:
    """Print rows of a name and numbers, with a rule between sections."""
    table = Table(*header, title=title, title_justify="left", show_header=bool(header))
    for rows in sections:
        for row in rows:
            table.add_row(*(f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row))
        table.add_section()
    for column in table.columns[1:]:
        column.justify = "right"
    console().print(table)


def print_line(line: str) -> None:
    """Print a line as it is, without line breaks and terminal codes that it may hold."""
    console().print(printable(line), markup=False, highlight=False, soft_wrap=True)


def console() -> Console:
    """Standard output, which takes every character."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")  # a locale without the characters of a name
    return Console()


def printable(line: str) -> str:
    """Without line breaks and terminal codes, which an event's type or the name of an object may hold."""
    return "".join(character if character.isprintable() else f"\\u{ord(character):04x}" for character in line)
