"""What the command line can do. Imported by `veupath_store.cli` only, because it needs the extra ``cli``."""

from typing import Annotated

import typer

from veupath_store import __version__
from veupath_store.cli.adopt import adopt_command
from veupath_store.cli.check import check_command
from veupath_store.cli.console import EXIT_CODES, fail
from veupath_store.cli.migrate import downgrade_command, migrate_command
from veupath_store.cli.projections import projections
from veupath_store.errors import StoreError

application: typer.Typer = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="markdown",
    epilog=EXIT_CODES,
)
application.add_typer(projections, name="projections")
application.command("migrate", epilog=EXIT_CODES)(migrate_command)
application.command("downgrade", epilog=EXIT_CODES)(downgrade_command)
application.command("check", epilog=EXIT_CODES)(check_command)
application.command("adopt", epilog=EXIT_CODES)(adopt_command)


def run() -> None:
    """Run the command that the process's arguments name."""
    try:
        application()
    except StoreError as exc:
        fail(str(exc))


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"veupath-store {__version__}")
        raise typer.Exit


@application.callback()
def root(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    """The persistence layer of PathFinder. DATABASE_URL says where the database is, REDIS_URL where the log is."""
