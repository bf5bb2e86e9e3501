"""The migration files: where they are, in which order they run, and which of them wait until after a deploy.

A file that the version before cannot live with says ``PHASE = "post-deploy"``, as one that drops a column does. All
others are pre-deploy: they only add, so that the code that still runs goes on working.
"""

import ast
from collections.abc import Iterable
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import Final

from veupath_store.config import APP
from veupath_store.errors import SchemaError

CONSTANT: Final = "PHASE"
"""The name of the constant in a migration file."""


class DeployPhase(StrEnum):
    """When a migration runs: while only the old code runs, or when only the new code does."""

    PRE_DEPLOY = "pre-deploy"
    POST_DEPLOY = "post-deploy"


def migrations_location() -> Path:
    """The directory that holds ``store/``: inside an installed wheel, or at the top of a checkout.

    Raises:
        SchemaError: The files are not there.
    """
    package = Path(str(files("veupath_store")))
    for location in (package / "_migrations", package.parent / "migrations"):
        if (location / APP).is_dir():
            return location
    raise SchemaError("This installation lacks the migration files; install the wheel again.")


def migration_files() -> list[str]:
    """The names of all migrations, in the order in which they run: by the number that leads the name, as in aerich.

    Raises:
        SchemaError: The files are not there.
    """
    # Not through aerich, which would change the class-wide state of `aerich.migrate.Migrate`.
    names = [path.name for path in (migrations_location() / APP).glob("*_*.py")]
    return sorted((name for name in names if number_of(name).isdecimal()), key=lambda name: int(number_of(name)))


def number_of(name: str) -> str:
    """The number that leads a file's name."""
    return name.partition("_")[0]


def phase_of(name: str) -> DeployPhase:
    """When a migration runs. Reads the file, and does not import it.

    Raises:
        SchemaError: Its ``PHASE`` is none of the two.
    """
    return phase_in((migrations_location() / APP / name).read_text(encoding="utf-8"), name)


def phase_in(source: str, name: str) -> DeployPhase:
    """As `phase_of`, of a file's text."""
    for statement in ast.parse(source).body:
        if not isinstance(statement, ast.Assign | ast.AnnAssign):
            continue
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        if CONSTANT in map(ast.unparse, targets):
            return _phase(statement.value, name)
    return DeployPhase.PRE_DEPLOY


def _phase(value: ast.expr | None, name: str) -> DeployPhase:
    try:
        return DeployPhase(ast.literal_eval(value or ""))
    except ValueError as exc:
        right = " or ".join(repr(str(phase)) for phase in DeployPhase)
        raise SchemaError(f"Migration {name}: its {CONSTANT} must be {right}.") from exc


def before_deploy(names: Iterable[str]) -> list[str]:
    """Those of some migrations that this version needs before it starts, in the same order."""
    return [name for name in names if phase_of(name) is DeployPhase.PRE_DEPLOY]
