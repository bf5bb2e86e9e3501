"""How ``veupath-store adopt`` shows what it found and did: tables for people, JSON for programs."""

import sys
from collections import Counter
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

from veupath_store.adoption import AdoptionPlan, AdoptionReport, FinishedAdoption, UndoneAdoption
from veupath_store.cli.console import print_json, print_line, print_table, printable
from veupath_store.errors import AdoptionRefusedError

SHOWN: Final = 20
"""Problems that are shown one by one."""

NOTHING: Final = "Nothing to do: the database has the store's schema already."


def show_plan(plan: AdoptionPlan, *, as_json: bool) -> None:
    """Print what an adoption would do."""
    if as_json:
        print_json("adopt", True, {"dry_run": True, **_plain(plan)})
    elif plan.variant is None:
        print_line(NOTHING)
    else:
        print_line(f"A database made by {plan.variant}, at revision {plan.revision}; {_bytes(plan.bytes)} on disk.")
        _show_rows(plan.rows, None)
        _show_problems(plan)
        takes = f"{_seconds(plan.estimate_seconds)}, and {_bytes(plan.estimate_bytes)} of disk"
        print_line(f"It would take about {takes}. Nothing was changed.")


def show_report(report: AdoptionReport, *, as_json: bool) -> None:
    """Print what an adoption did."""
    if as_json:
        print_json("adopt", True, {"dry_run": False, **_plain(report)})
    elif report.repeated:
        adopted = f" It was adopted at {report.adopted_at.isoformat()}." if report.adopted_at else ""
        print_line(f"{NOTHING}{adopted}")
    else:
        _show_rows(report.rows, report.written)
        _show_problems(report)
        print_line(
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
        print_line(f"discarded: {count:,} rows of {table} that were written or deleted since")
    print_line("The old tables are back where they were.")


def show_finished(finished: FinishedAdoption, *, as_json: bool) -> None:
    """Print what the end dropped."""
    if as_json:
        print_json("adopt", True, {"finished": True, **_plain(finished)})
    elif finished.dropped:
        print_line(f"Dropped the old tables: {_bytes(finished.bytes)} are free again. There is no way back any more.")
    else:
        print_line("Nothing to do: no old tables are kept.")


def show_refusal(error: AdoptionRefusedError) -> None:
    """Print on standard error what stands in the way, a line for each."""
    lines = (f"{error.what}, and nothing was changed:", *(f"  {line}" for line in error.differences))
    sys.stderr.write("".join(f"{printable(line)}\n" for line in lines))


def _show_rows(rows: dict[str, int], written: dict[str, int] | None) -> None:
    if written is None:
        print_table([*rows.items()])
        return
    names = [*rows, *(name for name in written if name not in rows)]
    print_table(
        [(name, rows.get(name, ""), written.get(name, 0)) for name in names], header=("table", "old rows", "new rows")
    )


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


def _plain(value: Any) -> dict[str, Any]:  # noqa: ANN401 - one of the values of adoption
    return {name: it.isoformat() if isinstance(it, datetime) else it for name, it in asdict(value).items()}


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else f"{seconds / 60:.1f} min"  # noqa: PLR2004 - a minute


def _bytes(size: float) -> str:
    return f"{size / 1e6:,.1f} MB" if size < 1e9 else f"{size / 1e9:,.2f} GB"  # noqa: PLR2004 - a gigabyte
