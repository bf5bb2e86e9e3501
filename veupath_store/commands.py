"""What the command line can do. Imported by `veupath_store.cli` only, because it needs the extra ``cli``."""

import asyncio
from typing import Annotated

import typer

from veupath_store.migrations import migrate
from veupath_store.projection_commands import projections

application = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False, rich_markup_mode="markdown"
)
application.add_typer(projections, name="projections")


@application.callback()
def root() -> None:
    """The persistence layer of PathFinder. DATABASE_URL says where the database is, REDIS_URL where the log is."""


@application.command("migrate")
def migrate_command(
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing when all is well.")] = False,
) -> None:
    """Apply pending migrations under a lock, and check that the database is at head afterwards.

    Safe to start on every machine of a deploy at once. Exits with 0 when the database is at head, 1 otherwise.
    """
    applied = asyncio.run(migrate())
    if quiet:
        return
    for name in applied:
        typer.echo(f"applied {name}")
    typer.echo("The database is at head." if applied else "Nothing to do: the database is at head.")
