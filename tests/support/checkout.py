"""Copies of the repository's own files, which a test may change."""

import json
import shutil
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
FILES = ("pyproject.toml", "README.md", "CHANGELOG.md", "Makefile", "tortoise_config.py")
DIRECTORIES = ("veupath_store", "migrations")


def copy_repository(to: Path) -> Path:
    """What a clone of the repository would hold, tests aside; with compiled files, so that a process starts soon."""
    to.mkdir()
    for name in FILES:
        if (REPOSITORY / name).exists():
            shutil.copy(REPOSITORY / name, to)
    for name in DIRECTORIES:
        shutil.copytree(REPOSITORY / name, to / name)
    return to


def write_migration(
    migrations: Path,
    name: str,
    upgrade: str,
    downgrade: str = "SELECT 1",
    *,
    in_transaction: bool = True,
    first: str = "SELECT 1",
    phase: str | None = None,
) -> str:
    """Add a migration that runs this SQL.

    Args:
        migrations: The directory that holds ``store/``.
        name: The file's name without its suffix, ``95_more``: a number that no file of the store will have for long.
        upgrade: The SQL that it returns to aerich.
        downgrade: The same, for the way back.
        in_transaction: Its ``RUN_IN_TRANSACTION``.
        first: SQL that it runs itself before, in a call of its own, as CONCURRENTLY wants.
        phase: Its ``PHASE``, if it says one.
    """
    (migrations / "store" / f"{name}.py").write_text(
        (f"PHASE = {str(phase)!r}\n" if phase else "") + f"RUN_IN_TRANSACTION = {in_transaction}\n\n\n"
        f"async def upgrade(db):\n    await db.execute_script({first!r})\n    return {upgrade!r}\n\n\n"
        f"async def downgrade(db):\n    return {downgrade!r}\n"
    )
    return f"{name}.py"


def add_to_catalog(migrations: Path, *names: str) -> None:
    """Make objects the store's own, as a release does that adds them: it writes its catalog anew."""
    path = migrations / "catalog.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | dict.fromkeys(names, "made by a test")))
