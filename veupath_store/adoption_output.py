"""How ``veupath-store adopt`` shows what it found and did: tables for people, JSON for programs."""

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from veupath_store.adoption import AdoptionPlan, AdoptionProgress, AdoptionReport, FinishedAdoption, UndoneAdoption
from veupath_store.adoption.work import Progress as Tell
from veupath_store.errors import AdoptionRefusedError
from veupath_store.output import console, print_json, printable

SHOWN: Final = 20
"""Problems that are shown one by one."""

NOTHING: Final = "Nothing to do: the database has the store's schema already."


def show_plan(plan: AdoptionPlan, *, as_json: bool) -> None:
    """Print what an adoption would do."""
    if as_json:
        print_json("adopt", True, {"dry_run": True, **_plain(plan)})
    elif plan.variant is None:
        _line(NOTHING)
    else:
        _line(f"A database made by {plan.variant}, at revision {plan.revision}; {_bytes(plan.bytes)} on disk.")
        _show_rows(plan.rows, None)
        _show_problems(plan)
        _line(f"It would take about {_seconds(plan.estimate_seconds)}. Nothing was changed.")


def show_report(report: AdoptionReport, *, as_json: bool) -> None:
    """Print what an adoption did."""
    if as_json:
        print_json("adopt", True, {"dry_run": False, **_plain(report)})
    elif report.repeated:
        _line(NOTHING if report.adopted_at is None else f"{NOTHING} It was adopted at {report.adopted_at.isoformat()}.")
    else:
        _show_rows(report.rows, report.written)
        _show_problems(report)
        _line(
            f"Adopted in {_seconds(report.seconds)}. The old tables are kept in the schema veupath_legacy: "
            "'veupath-store adopt --undo' brings them back, 'veupath-store adopt --finish' drops them."
        )


def show_undone(undone: UndoneAdoption, *, as_json: bool) -> None:
    """Print what the way back did."""
    if as_json:
        print_json("adopt", True, {"undone": True, **_plain(undone)})
        return
    _show_rows(undone.rows, None)
    for table, count in undone.discarded.items():
        _line(f"discarded: {count:,} rows of {table} that were written or deleted since")
    _line("The old tables are back where they were.")


def show_finished(finished: FinishedAdoption, *, as_json: bool) -> None:
    """Print what the end dropped."""
    if as_json:
        print_json("adopt", True, {"finished": True, **_plain(finished)})
    elif finished.dropped:
        _line(f"Dropped the old tables: {_bytes(finished.bytes)} are free again. There is no way back any more.")
    else:
        _line("Nothing to do: no old tables are kept.")


def show_refusal(error: AdoptionRefusedError) -> None:
    """Print on standard error what stands in the way, a line for each."""
    lines = (f"{error.what}, and nothing was changed:", *(f"  {line}" for line in error.differences))
    sys.stderr.write("".join(f"{printable(line)}\n" for line in lines))


@contextmanager
def adoption_bar(*, shown: bool) -> Iterator[Tell]:
    """A progress bar on standard error, where that is a terminal: one line for each phase.

    Args:
        shown: Whether it is wanted.

    Yields:
        What to call with how far the adoption is.
    """
    columns = (TextColumn("{task.description:<20}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    off = not (shown and sys.stderr.isatty())
    with Progress(*columns, console=Console(stderr=True), redirect_stdout=False, disable=off) as progress:
        tasks: dict[str, Any] = {}

        def tell(now: AdoptionProgress) -> None:
            if now.phase not in tasks:
                for task in tasks.values():
                    progress.stop_task(task)
                tasks[now.phase] = progress.add_task(now.phase, total=now.total or None)
            progress.update(tasks[now.phase], completed=now.done, total=now.total or None)

        yield tell


def _show_rows(rows: dict[str, int], written: dict[str, int] | None) -> None:
    table = Table(show_header=written is not None)
    for title in ("table", "old rows", *(["new rows"] if written is not None else [])):
        table.add_column(title, justify="left" if title == "table" else "right")
    for name in [*rows, *(name for name in written or {} if name not in rows)]:
        new = [f"{written.get(name, 0):,}"] if written is not None else []
        table.add_row(name, f"{rows[name]:,}" if name in rows else "", *new)
    console().print(table)


def _show_problems(plan: AdoptionPlan) -> None:
    counts = Counter(problem.kind for problem in plan.problems)
    if counts:
        table = Table(title="what is mended", title_justify="left", show_header=False)
        table.add_column()
        table.add_column(justify="right")
        for kind, count in sorted(counts.items()):
            table.add_row(str(kind), f"{count:,}")
        console().print(table)
    for problem in plan.problems[:SHOWN]:
        where = problem.table if problem.field is None else f"{problem.table}.{problem.field}"
        _line(f"{problem.kind}  {where}  {problem.key}: {problem.mended}")
    if len(plan.problems) > SHOWN:
        _line(f"… and {len(plan.problems) - SHOWN:,} more; --json lists all")
    for difference in plan.tolerated:
        _line(f"does not matter: {difference}")


def _plain(value: Any) -> dict[str, Any]:  # noqa: ANN401 - one of the values of adoption
    return {name: it.isoformat() if isinstance(it, datetime) else it for name, it in asdict(value).items()}


def _line(line: str) -> None:
    console().print(printable(line), markup=False, highlight=False, soft_wrap=True)


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else f"{seconds / 60:.1f} min"  # noqa: PLR2004 - a minute


def _bytes(size: float) -> str:
    return f"{size / 1e6:,.1f} MB" if size < 1e9 else f"{size / 1e9:,.2f} GB"  # noqa: PLR2004 - a gigabyte
