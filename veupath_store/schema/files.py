"""The migration files: where they are, in which order they run, and which of them wait until after a deploy.

Their order is one, everywhere: by the number that leads the name, then by the rest of it, as `aerich upgrade` has it;
never by what aerich's table says of when they ran. ``python -m veupath_store.schema.files`` prints the directory.

A file that the version before cannot live with says ``PHASE = "post-deploy"``, as one that drops a column does. All
others are pre-deploy: they only add, so that the code that still runs goes on working.
"""

import ast
import sys
from collections.abc import Iterable
from enum import StrEnum
from importlib.machinery import SourceFileLoader
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Final

from veupath_store.errors import SchemaError
from veupath_store.schema.names import APP

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
    """The names of all migrations, in their order."""
    # Not through aerich, which would change the class-wide state of `aerich.migrate.Migrate`.
    names = (path.name for path in (migrations_location() / APP).glob("*_*.py"))
    return in_order(name for name in names if number_of(name).isdecimal())


def in_order(names: Iterable[str]) -> list[str]:
    """Migrations in the order in which they run; their undoing is the reverse."""
    return sorted(names, key=position)


def position(name: str) -> tuple[int, str]:
    """What the order compares. Of two files of one number, the whole names: the timestamp, in what aerich generates."""
    number = number_of(name)
    return (int(number) if number.isdecimal() else -1, name)


def number_of(name: str) -> str:
    """The number that leads a file's name."""
    return name.partition("_")[0]


def load(name: str) -> ModuleType:
    """Import a migration file.

    Raises:
        SchemaError: It is not valid Python, as with the marks of a merge in it, or has no ``upgrade``.
    """
    loader = SourceFileLoader(Path(name).stem, str(migrations_location() / APP / name))
    module = ModuleType(loader.name)
    try:
        loader.exec_module(module)
    except SyntaxError as exc:
        raise _unreadable(name, exc) from exc
    if not hasattr(module, "upgrade"):
        raise SchemaError(f"Migration {name} has no function upgrade.")
    return module


def phase_in(source: str, name: str) -> DeployPhase:
    """When a migration runs, by its text; it is not imported.

    Raises:
        SchemaError: Its ``PHASE`` is none of the two, or it is not valid Python.
    """
    try:
        body = ast.parse(source).body
    except SyntaxError as exc:
        raise _unreadable(name, exc) from exc
    for statement in body:
        if not isinstance(statement, ast.Assign | ast.AnnAssign):
            continue
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        if CONSTANT in map(ast.unparse, targets):
            try:
                return DeployPhase(ast.literal_eval(statement.value or ""))
            except ValueError as exc:
                right = " or ".join(repr(str(phase)) for phase in DeployPhase)
                raise SchemaError(f"Migration {name}: its {CONSTANT} must be {right}.") from exc
    return DeployPhase.PRE_DEPLOY


def before_deploy(names: Iterable[str]) -> list[str]:
    """Those of some migrations that this version needs before it starts, in the same order."""
    texts = ((name, (migrations_location() / APP / name).read_text(encoding="utf-8")) for name in names)
    return [name for name, text in texts if phase_in(text, name) is DeployPhase.PRE_DEPLOY]


def _unreadable(name: str, error: SyntaxError) -> SchemaError:
    return SchemaError(f"Migration {name} is not valid Python: {error.msg}, line {error.lineno}.")


if __name__ == "__main__":
    sys.stdout.write(f"{migrations_location()}\n")
