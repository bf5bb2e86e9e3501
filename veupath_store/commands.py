"""What the command line can do. Imported by `veupath_store.cli` only, because it needs the extra ``cli``."""

import asyncio
import sys
from typing import Annotated

import typer

from veupath_store import adoption_command
from veupath_store.check_command import EXIT_CODES, check_command
from veupath_store.downgrades import downgrade, target_of, undoing
from veupath_store.migration_files import DeployPhase
from veupath_store.migrations import run_migrations
from veupath_store.projection_commands import projections

application = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False, rich_markup_mode="markdown"
)
application.add_typer(projections, name="projections")
application.command("check", epilog=EXIT_CODES)(check_command)
application.command("adopt", epilog=adoption_command.EXIT_CODES)(adoption_command.adopt_command)


@application.callback()
def root() -> None:
    """The persistence layer of PathFinder. DATABASE_URL says where the database is, REDIS_URL where the log is."""


@application.command("migrate")
def migrate_command(
    *,
    phase: Annotated[
        DeployPhase,
        typer.Option(
            help="pre-deploy, before the new version starts: stop before the first migration that the old version "
            "cannot live with. post-deploy, when nothing old runs any more: apply all."
        ),
    ] = DeployPhase.POST_DEPLOY,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing when all is well.")] = False,
) -> None:
    """Apply pending migrations under a lock, and check that the database has them afterwards.

    Safe to start on every machine of a deploy at once. Exits with 0 when the database has what was asked for, 1
    otherwise.
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


@application.command("downgrade")
def downgrade_command(
    *,
    to: Annotated[str, typer.Option("--to", help="The newest migration that stays: its name or its number.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; needed without a terminal.")] = False,
) -> None:
    """Undo the migrations after a given one, under the same lock. What they drop is LOST with all that it holds.

    Not needed to go back to an older version of the application: that one runs on a newer database. Asks first.
    Exits with 0 when the database is there, 1 otherwise.
    """
    names = asyncio.run(undoing(to))
    if names and not yes:
        _confirm(names)
    for name in asyncio.run(downgrade(to)):
        typer.echo(f"undid {name}")
    typer.echo(f"The database is at {target_of(to)}.")


def _confirm(names: list[str]) -> None:
    if not sys.stdin.isatty():
        raise typer.BadParameter("Undoing migrations needs --yes where nobody can be asked.")
    typer.confirm(
        f"What these migrations added is dropped, with all that was written there since: {', '.join(names)}.\n"
        "Undo them?",
        abort=True,
        err=True,
    )
