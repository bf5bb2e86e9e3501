"""``veupath-store adopt``: the switch from the SQLAlchemy layer, the way back, and what they show."""

import asyncio
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Final, TypeVar

import typer
from rich.filesize import decimal

from veupath_store.adoption import (
    AdoptionPlan,
    AdoptionReport,
    FinishedAdoption,
    UndoneAdoption,
    adopt,
    finish_adoption,
    plan_adoption,
    undo_adoption,
)
from veupath_store.cli.console import (
    EXIT_FAILED,
    Json,
    Yes,
    check_can_ask,
    confirm,
    print_json,
    print_line,
    print_table,
    printable,
    progress_bars,
)
from veupath_store.errors import AdoptionRefusedError

T = TypeVar("T", AdoptionPlan, AdoptionReport, UndoneAdoption, FinishedAdoption)

SHOWN: Final = 20
"""Problems that are shown one by one."""

NOTHING: Final = "Nothing to do: the database has the store's schema already."


def adopt_command(
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only tell what would be done. The application may run meanwhile.")
    ] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Go back to the old tables.")] = False,
    discard_newer: Annotated[
        bool, typer.Option("--discard-newer", help="With --undo: also when that loses what was written since.")
    ] = False,
    finish: Annotated[bool, typer.Option("--finish", help="Drop the old tables, and the way back with them.")] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Take over a database of PathFinder's SQLAlchemy layer: its tables become the store's.

    One transaction: afterwards the database is the new one, or as it was; running it again finishes. Stop the
    application before. The old tables are kept in the schema veupath_legacy until --finish; --undo brings them back.
    What cannot be kept as it is, is fixed and listed; --dry-run tells all of it before.

    --json prints {command, ok, dry_run, variant, revision, rows, bytes, estimate_seconds, estimate_bytes, problems:
    [{kind, table, key, field, fixed}], tolerated}, and after an adoption also {written, seconds, adopted_at,
    repeated}; with --undo {rows, discarded}, with --finish {dropped, bytes}.
    """
    if dry_run + undo + finish > 1:
        raise typer.BadParameter("Only one of --dry-run, --undo and --finish can be given.")
    if discard_newer and not undo:
        raise typer.BadParameter("--discard-newer goes with --undo.")
    try:
        if dry_run:
            _show(asyncio.run(plan_adoption()), _show_plan, as_json=as_json, dry_run=True)
        elif undo:
            confirm("The new tables are dropped and the old ones brought back. Go back?", yes=yes)
            _show(asyncio.run(undo_adoption(discard_newer=discard_newer)), _show_undone, as_json=as_json, undone=True)
        elif finish:
            confirm("The old tables are dropped; there is no way back then. Drop them?", yes=yes)
            _show(asyncio.run(finish_adoption()), _show_finished, as_json=as_json, finished=True)
        else:
            _show(_adopt(yes=yes, as_json=as_json), _show_report, as_json=as_json, dry_run=False)
    except AdoptionRefusedError as exc:
        lines = (f"{exc.what}, and nothing was changed:", *(f"  {line}" for line in exc.differences))
        sys.stderr.write("".join(f"{printable(line)}\n" for line in lines))
        raise typer.Exit(EXIT_FAILED) from None


def _adopt(*, yes: bool, as_json: bool) -> AdoptionReport:
    check_can_ask(yes=yes)
    if not yes:
        plan = asyncio.run(plan_adoption())
        if plan.variant is not None:
            if not as_json:
                _show_plan(plan)
            confirm("The application must not run now. Adopt the database?", yes=False)
    with progress_bars(shown=not as_json) as show:
        return asyncio.run(adopt(progress=lambda now: show(now.phase, now.done, now.total)))


def _show(found: T, show: Callable[[T], None], *, as_json: bool, **command: bool) -> None:
    if as_json:
        print_json("adopt", True, {**command, **asdict(found)})
    else:
        show(found)


def _show_plan(plan: AdoptionPlan) -> None:
    if plan.variant is None:
        print_line(NOTHING)
        return
    print_line(f"A database made by {plan.variant}, at revision {plan.revision}; {decimal(plan.bytes)} on disk.")
    print_table([*plan.rows.items()])
    _show_problems(plan)
    takes = f"{_seconds(plan.estimate_seconds)}, and {decimal(plan.estimate_bytes)} of disk"
    print_line(f"It would take about {takes}. Nothing was changed.")


def _show_report(report: AdoptionReport) -> None:
    if report.repeated:
        adopted = f" It was adopted at {report.adopted_at.isoformat()}." if report.adopted_at else ""
        print_line(f"{NOTHING}{adopted}")
        return
    names = [*report.rows, *(name for name in report.written if name not in report.rows)]
    rows = [(name, report.rows.get(name, ""), report.written.get(name, 0)) for name in names]
    print_table(rows, header=("table", "old rows", "new rows"))
    _show_problems(report)
    print_line(
        f"Adopted in {_seconds(report.seconds)}. The old tables are kept in the schema veupath_legacy: "
        "'veupath-store adopt --undo' brings them back, 'veupath-store adopt --finish' drops them."
    )


def _show_undone(undone: UndoneAdoption) -> None:
    print_table([*undone.rows.items()])
    for table, count in undone.discarded.items():
        print_line(f"discarded: {count:,} rows of {table} that were written or deleted since")
    print_line("The old tables are back where they were.")


def _show_finished(finished: FinishedAdoption) -> None:
    if finished.dropped:
        print_line(f"Dropped the old tables: {decimal(finished.bytes)} are free again. There is no way back any more.")
    else:
        print_line("Nothing to do: no old tables are kept.")


def _show_problems(plan: AdoptionPlan) -> None:
    counts = Counter(problem.kind for problem in plan.problems)
    if counts:
        print_table(sorted(counts.items()), title="what is fixed")
    for problem in plan.problems[:SHOWN]:
        where = problem.table if problem.field is None else f"{problem.table}.{problem.field}"
        print_line(f"{problem.kind}  {where}  {problem.key}: {problem.fixed}")
    if len(plan.problems) > SHOWN:
        print_line(f"… and {len(plan.problems) - SHOWN:,} more; --json lists all")
    for difference in plan.tolerated:
        print_line(f"does not matter: {difference}")


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else f"{seconds / 60:.1f} min"  # noqa: PLR2004 - a minute
