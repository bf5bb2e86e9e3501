"""``veupath-store migrate`` and ``downgrade``."""

import asyncio
from typing import Annotated

import typer

from veupath_store.cli.console import Quiet, Yes, confirm
from veupath_store.schema.downgrades import downgrade, undoing
from veupath_store.schema.files import DeployPhase, migration_files
from veupath_store.schema.migrations import run_migrations


def migrate_command(
    *,
    phase: Annotated[
        DeployPhase,
        typer.Option(
            help="pre-deploy, before the new version starts: stop before the first migration that the old version "
            "cannot live with. post-deploy, when nothing old runs any more: apply all."
        ),
    ] = DeployPhase.POST_DEPLOY,
    quiet: Quiet = False,
) -> None:
    """Apply pending migrations under a lock, and check that the database has them afterwards.

    Safe to start on every machine of a deploy at once.
    """
    migrated = asyncio.run(run_migrations(phase=phase))
    if quiet:
        return
    for name in migrated.applied:
        typer.echo(f"applied {name}")
    for name in migrated.left:
        typer.echo(f"left for after the deploy: {name}")
    if migrated.left:
        typer.echo("The database is ready for this version. After the deploy, run 'veupath-store migrate'.")
    else:
        typer.echo("The database is at head." if migrated.applied else "Nothing to do: the database is at head.")


def downgrade_command(
    *,
    to: Annotated[str, typer.Option("--to", help="The newest migration that stays: its name or its number.")],
    yes: Yes = False,
) -> None:
    """Undo the migrations after a given one, under the same lock. What they drop is LOST with all that it holds.

    Not needed to go back to an older version of the application: that one runs on a newer database. Asks first.
    """
    names = asyncio.run(undoing(to))
    if names:
        confirm(
            f"What these migrations added is dropped, with all that was written there since: {', '.join(names)}.\n"
            "Undo them?",
            yes=yes,
        )
    downgraded = asyncio.run(downgrade(to, confirmed=None if yes else names))
    for name in downgraded.undone:
        typer.echo(f"undid {name}")
    newest = downgraded.applied[-1]
    known = migration_files()
    lacking = [name for name in known[: known.index(newest)] if name not in downgraded.applied]
    typer.echo(f"The database is at {newest}" + (f", without {', '.join(lacking)}." if lacking else "."))
