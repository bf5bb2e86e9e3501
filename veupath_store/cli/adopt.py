"""``veupath-store adopt``: the switch from the SQLAlchemy layer, and the way back."""

import asyncio
from typing import Annotated

import typer

from veupath_store.adoption import adopt, finish_adoption, plan_adoption, undo_adoption
from veupath_store.cli.adopt_output import (
    show_finished,
    show_plan,
    show_refusal,
    show_report,
    show_undone,
)
from veupath_store.cli.console import EXIT_FAILED, Json, Yes, check_can_ask, confirm, progress_bars
from veupath_store.errors import AdoptionRefusedError


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
    repeated}; with --undo {rows,
    discarded}, with --finish {dropped, bytes}.
    """
    if dry_run + undo + finish > 1:
        raise typer.BadParameter("Only one of --dry-run, --undo and --finish can be given.")
    if discard_newer and not undo:
        raise typer.BadParameter("--discard-newer goes with --undo.")
    try:
        _run(dry_run=dry_run, undo=undo, discard_newer=discard_newer, finish=finish, yes=yes, as_json=as_json)
    except AdoptionRefusedError as exc:
        show_refusal(exc)
        raise typer.Exit(EXIT_FAILED) from None


def _run(*, dry_run: bool, undo: bool, discard_newer: bool, finish: bool, yes: bool, as_json: bool) -> None:
    if dry_run:
        show_plan(asyncio.run(plan_adoption()), as_json=as_json)
    elif undo:
        confirm("The new tables are dropped and the old ones brought back. Go back?", yes=yes)
        show_undone(asyncio.run(undo_adoption(discard_newer=discard_newer)), as_json=as_json)
    elif finish:
        confirm("The old tables are dropped; there is no way back then. Drop them?", yes=yes)
        show_finished(asyncio.run(finish_adoption()), as_json=as_json)
    else:
        _adopt(yes=yes, as_json=as_json)


def _adopt(*, yes: bool, as_json: bool) -> None:
    check_can_ask(yes=yes)
    if not yes:
        plan = asyncio.run(plan_adoption())
        if plan.variant is not None:
            if not as_json:
                show_plan(plan, as_json=False)
            confirm("The application must not run now. Adopt the database?", yes=False)
    with progress_bars(shown=not as_json) as show:
        report = asyncio.run(adopt(progress=lambda now: show(now.phase, now.done, now.total)))
    show_report(report, as_json=as_json)
