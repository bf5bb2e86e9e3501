"""How ``veupath-store projections`` shows what it found: tables and details for people, JSON for programs."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, Final

from pydantic import BaseModel
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from veupath_store.output import console, print_json, printable
from veupath_store.values import (
    FieldDifference,
    LagReport,
    LagState,
    LogProblem,
    RebuildReport,
    StreamLag,
    StreamRebuild,
    StreamVerification,
    VerifyOutcome,
    VerifyReport,
)

SHOWN: Final = 20
"""Conversations of which details are shown."""

HIDDEN: Final = frozenset({"name", "plan"})
"""Columns whose content is research content."""

_NOT_IN_OLD_LOGS: Final = frozenset({"updated_at", "wdk_event_id"})
"""Columns that an adopted row has from elsewhere: the SQLAlchemy layer took the time, and kept no claim, by itself."""

_FOUND: Final = {LagState.STUCK, LagState.AHEAD}
_URGENCY: Final = {state: order for order, state in enumerate((LagState.AHEAD, LagState.STUCK, LagState.BEHIND))}


def show_lag(report: LagReport, *, as_json: bool, quiet: bool) -> bool:
    """Print what `Projector.lag` found.

    Returns:
        Whether all is well: nothing is stuck or ahead.
    """
    well = not any(report.counts.get(state) for state in _FOUND)
    lagging = sorted(report.lagging, key=lambda one: (_URGENCY.get(one.state, len(_URGENCY)), -one.seconds))
    if as_json:
        print_json("lag", well, {**_plain(report), "lagging": [_plain(one) for one in lagging]})
    elif not (quiet and well):
        totals = {"events not folded in": report.events, "logs still to be removed": report.removals}
        _print_table("lag", report.counts, {**totals, "oldest event, in seconds": round(report.seconds)})
        _print_details([_lagging(one)] for one in lagging)
    return well


def show_verify(report: VerifyReport, *, values: bool, as_json: bool, quiet: bool) -> bool:
    """Print what `Projector.verify` found.

    Args:
        report: What it found.
        values: Whether names and plans are shown.
        as_json: Whether to print JSON.
        quiet: Whether to print only findings.

    Returns:
        Whether all is well: every row is proven.
    """
    well = not report.suspects
    if as_json:
        suspects = [
            {**_plain(one), "differences": [_as_json(difference, values) for difference in one.differences]}
            for one in report.suspects
        ]
        print_json("verify", well, {**_plain(report), "suspects": suspects})
    elif not (quiet and well):
        _print_table("verify", report.counts, {"events folded": report.events})
        _print_details(_suspect(one, values) for one in report.suspects)
    return well


def show_rebuild(report: RebuildReport, *, as_json: bool, quiet: bool) -> bool:
    """Print what `Projector.rebuild` did.

    Returns:
        Whether all is well: nothing was refused.
    """
    well = not report.refused
    if as_json:
        print_json("rebuild", well, _plain(report))
    elif not (quiet and well):
        skipped = sum(len(problems) for problems in report.problems.values())
        _print_table("rebuild", report.counts, {"events folded": report.events, "events skipped": skipped})
        refused = {one.stream_id for one in report.refused}
        others = {stream_id: found for stream_id, found in report.problems.items() if stream_id not in refused}
        _print_details(
            [
                *(_refused(one) for one in report.refused),
                *([f"{stream_id}  events skipped", *_problems(found)] for stream_id, found in others.items()),
            ]
        )
    return well


@contextmanager
def progress_bar(title: str, total: int, *, shown: bool) -> Iterator[Callable[[int], None]]:
    """A progress bar on standard error, where that is a terminal.

    Args:
        title: What goes on.
        total: How many conversations there are.
        shown: Whether it is wanted.

    Yields:
        What to call with the number of conversations that were done.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    off = not (shown and sys.stderr.isatty())
    with Progress(*columns, console=Console(stderr=True), redirect_stdout=False, disable=off) as progress:
        task = progress.add_task(title, total=total)
        yield lambda count: progress.advance(task, count)


def _plain(report: BaseModel) -> dict[str, Any]:
    return report.model_dump(mode="json")


def _as_json(difference: FieldDifference, values: bool) -> dict[str, Any]:
    if difference.column in HIDDEN and not values:
        return {"column": difference.column, "differs": _sizes(difference)}
    return _plain(difference)


def _print_table(title: str, counts: Mapping[Any, int], totals: Mapping[str, int]) -> None:
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for state, count in sorted(counts.items(), key=lambda pair: _order(pair[0])):
        table.add_row(str(state), f"{count:,}")
    table.add_row("conversations", f"{sum(counts.values()):,}", end_section=True)
    for what, number in totals.items():
        table.add_row(what, f"{number:,}")
    console().print(table)


def _order(state: StrEnum) -> int:
    return list(type(state)).index(state)


def _print_details(details: Iterable[list[str]]) -> None:
    """Print what is to be said of each conversation, of the first `SHOWN`."""
    every, shown = list(details), console()
    for lines in every[:SHOWN]:
        for number, line in enumerate(lines):
            shown.print(("  " if number else "") + printable(line), markup=False, highlight=False, soft_wrap=True)
    if len(every) > SHOWN:
        shown.print(f"… and {len(every) - SHOWN} more; --json lists all", markup=False, highlight=False)


def _lagging(one: StreamLag) -> str:
    if one.state is LagState.AHEAD:
        return f"{one.stream_id}  ahead: the row has seen {one.position}, the log ends at {one.newest or 'nothing'}"
    return f"{one.stream_id}  {one.state}: {one.events:,} event(s), the oldest {one.seconds:,.0f} s ago"


def _suspect(one: StreamVerification, values: bool) -> list[str]:
    shown = (f"{difference.column}: {_compared(difference, values)}" for difference in one.differences)
    return [f"{one.stream_id}  {one.outcome}{_explained(one)}", *shown, *_problems(one.problems)]


def _explained(one: StreamVerification) -> str:
    """Of a row whose log has no beginning, as that of an adopted conversation: whether the log explains it."""
    if one.outcome is not VerifyOutcome.INCOMPLETE:
        return ""
    unexplained = [it.column for it in one.differences if it.column not in _NOT_IN_OLD_LOGS]
    if not unexplained:
        return ": the log has no beginning, and what it holds explains the row"
    return f": the log has no beginning, and what it holds does not explain {', '.join(unexplained)}"


def _refused(one: StreamRebuild) -> list[str]:
    return [f"{one.stream_id}  refused: {one.outcome}", *_problems(one.problems)]


def _problems(problems: Iterable[LogProblem]) -> list[str]:
    every = [f"entry {problem.position} ({problem.type}) was skipped: {problem.reason}" for problem in problems]
    return every if len(every) <= SHOWN else [*every[:SHOWN], f"… and {len(every) - SHOWN} more"]


def _compared(difference: FieldDifference, values: bool) -> str:
    if difference.column in HIDDEN and not values:
        return f"differs ({_sizes(difference)})"
    stored, folded = _plain(difference)["stored"], _plain(difference)["folded"]
    return f"stored {json.dumps(stored, ensure_ascii=False)}, folded {json.dumps(folded, ensure_ascii=False)}"


def _sizes(difference: FieldDifference) -> str:
    """How large both are, stored / folded, and nothing of what they hold."""
    (kind, size, unit), (other, other_size, _) = _size(difference.stored), _size(difference.folded)
    if kind == other:
        return (
            f"{kind} of {size} / {other_size} {unit}" if kind == "text" else f"{kind} with {size} / {other_size} {unit}"
        )
    return f"{kind} / {other}"


def _size(value: Any) -> tuple[str, int, str]:  # noqa: ANN401 - a column's value
    if isinstance(value, str):
        return "text", len(value), "characters"
    if isinstance(value, dict):
        return "object", len(value), "keys"
    return ("null" if value is None else type(value).__name__), 0, ""
