"""``python -m tests.lint_migrations``: rules for migration files and for SQL injection; exits with 1 on a finding.

The SQL of each migration's ``upgrade`` goes through squawk, which knows the statements that lock or rewrite a table,
or break the version of the application that is still running. The latter belong after the deploy.
"""

import asyncio
import json
import re
import runpy
import subprocess
import sys
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final
from unittest.mock import AsyncMock

from veupath_store.engine import StoreClient
from veupath_store.engine.statements import NO_STATEMENT
from veupath_store.schema.files import DeployPhase, in_order, phase_in, position

REPOSITORY: Final = Path(__file__).parents[1]
OLDEST_POSTGRESQL: Final = "15.0"

EXCLUDED: Final = {
    "prefer-text-field": "the widths are part of the documented columns, and stated once in limits.py",
    "prefer-bigint-over-int": "counters and versions; every id is a uuid or a bigint",
    "prefer-identity": "aerich's own table",
    "require-lock-timeout": "every connection of the store has one from its start, and migrate a shorter one",
}
"""Squawk's rules that are not ours, and why."""

_DROPPED: Final = ("column", "constraint", "default", "function", "not-null", "table")
AFTER_DEPLOY: Final = frozenset(
    {"adding-not-nullable-field", "renaming-column", "renaming-table", *(f"ban-drop-{what}" for what in _DROPPED)}
)
"""Squawk's rules about what only the old code needs: a post-deploy file may break them."""

NOT_IN_TRANSACTION: Final = frozenset({"require-statement-timeout", "prefer-robust-stmts"})
"""Rules that `about_concurrently` replaces: IF NOT EXISTS takes an index that a failure left invalid for done."""

_CREATES: Final = re.compile(
    r"CREATE\s+(?:UNIQUE\s+)?INDEX\s+CONCURRENTLY\s+(IF\s+NOT\s+EXISTS\s+)?(\w+)", re.IGNORECASE
)
_DROPS: Final = re.compile(r"DROP\s+INDEX\s+CONCURRENTLY\s+IF\s+EXISTS\s+(\w+)", re.IGNORECASE)

_NAME: Final = re.compile(r"(0|[1-9]\d*)_(\d{14})_\w+\.py")
_COLUMN: Final = (
    r'ALTER\s+TABLE\s+"?(\w+)"?[^;]*?\b{}\s+(?!CONSTRAINT|CHECK|PRIMARY|FOREIGN|UNIQUE|DEFAULT|NOT|IDENTITY)'
)
_ADDS: Final = re.compile(_COLUMN.format("ADD"), re.IGNORECASE)
_LOSES: Final = re.compile(_COLUMN.format("DROP"), re.IGNORECASE)

_FILTER: Final = re.compile(r"__filter(\s*=|[\"'])")


def main(arguments: Sequence[str] = ()) -> int:
    """Check the repository, or the copy of it that is given.

    Returns:
        The exit code.
    """
    root = Path(arguments[0]) if arguments else REPOSITORY
    migrations = sorted((root / "migrations" / "store").glob("*_*.py"))
    sources = sorted((root / "veupath_store").rglob("*.py"))
    findings = about_names(path.name for path in migrations) if migrations else ["migrations/store holds no migration"]
    for path in migrations:
        findings += [f"{path.name}: {finding}" for finding in about_migration(path)]
    for path in sources:
        findings += [f"{path.relative_to(root)}:{line}" for line in about_source(path)]
    for finding in findings:
        sys.stdout.write(f"{finding}\n")
    sys.stdout.write(f"{len(migrations)} migration(s) and {len(sources)} module(s): {len(findings)} finding(s)\n")
    return 1 if findings else 0


def about_names(names: Iterable[str]) -> list[str]:
    """What is wrong with the names of all files together, which are the order in which they run.

    A file that was merged late takes the next free number: some database may have the later ones already, and would run
    them in another order than the rest.
    """
    ordered = in_order(names)
    findings = [f"{name}: its name must be N_YYYYMMDDHHMMSS_what.py" for name in ordered if not _NAME.fullmatch(name)]
    if not findings:
        for before, name in pairwise(["-1_00000000000000_none.py", *ordered]):
            findings += [f"{name}: {finding}" for finding in about_neighbours(before, name)]
    return findings


def about_neighbours(before: str, name: str) -> list[str]:
    """What is wrong with two files that follow each other."""
    findings = []
    missing = range(position(before)[0] + 1, position(name)[0])
    if position(before)[0] == position(name)[0]:
        findings.append(f"{before} has the same number: what was merged later takes the next free one")
    if missing:
        findings.append(
            f"no file has the number {', '.join(map(str, missing))}: another branch's may come in before it"
        )
    if name.split("_")[1] <= before.split("_")[1]:
        findings.append(f"{before} is before it and is not older: what was merged later takes the next free number")
    return findings


def about_migration(path: Path) -> list[str]:
    """What is wrong with one migration file."""
    module = runpy.run_path(str(path))
    findings = []
    if not module.get("MODELS_STATE"):
        findings.append("MODELS_STATE is missing: `aerich migrate` would compare the models with themselves")
    if not isinstance(module.get("RUN_IN_TRANSACTION"), bool):
        findings.append("RUN_IN_TRANSACTION is missing: `aerich upgrade -i` would decide it")
    phase = phase_in(path.read_text(encoding="utf-8"), path.name)
    return [*findings, *about_downgrade(module), *about_upgrade(module, phase)]


def about_upgrade(module: dict[str, Any], phase: DeployPhase) -> list[str]:
    """What is wrong with the way forward."""
    in_transaction = bool(module.get("RUN_IN_TRANSACTION", True))
    allowed = AFTER_DEPLOY if phase is DeployPhase.POST_DEPLOY else frozenset()
    statements = statements_of(module["upgrade"])
    findings = about_concurrently(statements)
    if NO_STATEMENT.fullmatch(statements[-1]):
        findings.append(
            "upgrade gives no SQL: fill in what `aerich migrate --empty` made, or return the last statement"
        )
    script = ";".join(statements)
    for table in sorted({*_ADDS.findall(script)} & {*_LOSES.findall(script)}):
        findings.append(f"{table} gets a column and loses one: of a rename aerich makes this, which loses the content")
    for sql in statements:
        findings += about_sql(sql, in_transaction, allowed if in_transaction else allowed | NOT_IN_TRANSACTION)
    return findings


def about_downgrade(module: dict[str, Any]) -> list[str]:
    """What is wrong with the way back."""
    statements = statements_of(module["downgrade"]) if "downgrade" in module else [""]
    if not statements[-1].strip():
        return ["downgrade is empty: `aerich downgrade` would refuse"]
    if any("CONCURRENTLY" in sql.upper() for sql in statements):
        return ["downgrade uses CONCURRENTLY: aerich runs it in a transaction, which CONCURRENTLY refuses"]
    return []


def about_concurrently(statements: Sequence[str]) -> list[str]:
    """Indexes that a second run, after one that was cut off, would leave invalid."""
    findings, dropped = [], set[str]()
    for sql in statements:
        for lenient, name in _CREATES.findall(sql):
            if lenient or name not in dropped:
                findings.append(
                    f"index {name}: await DROP INDEX CONCURRENTLY IF EXISTS first, and CREATE it without IF"
                )
        dropped.update(_DROPS.findall(sql))
    return findings


def statements_of(direction: Callable[[AsyncMock], Awaitable[str]]) -> list[str]:
    """The SQL of one direction of a migration, call by call; last what it returns to aerich."""
    database = AsyncMock(StoreClient)
    database.execute_query.return_value, database.execute_query_dict.return_value = (0, []), []

    async def run() -> str:
        return await direction(database)

    returned = asyncio.run(run())
    return [*(call.args[0] for call in database.method_calls), returned]


def about_sql(sql: str, in_transaction: bool, allowed: Collection[str] = ()) -> list[str]:
    """What squawk has to say, without `EXCLUDED` and what else is allowed."""
    command = [
        str(Path(sys.executable).parent / "squawk"),
        f"--pg-version={OLDEST_POSTGRESQL}",
        *(f"--exclude={rule}" for rule in (*EXCLUDED, *allowed)),
        "--assume-in-transaction" if in_transaction else "--no-assume-in-transaction",
        "--reporter=json",
        "--stdin-filepath=upgrade.sql",
    ]
    finished = subprocess.run(command, input=sql, capture_output=True, text=True, check=False)
    if finished.returncode not in (0, 1) or not finished.stdout:
        return [f"squawk failed: {finished.stderr.strip()}"]
    found: list[dict[str, Any]] = json.loads(finished.stdout)
    return [f"line {item['line'] + 1} of its SQL: {item['rule_name']}: {item['message']}" for item in found]


def about_source(path: Path) -> list[str]:
    """Where a module uses Tortoise's ``__filter`` of JSON fields."""
    return [
        f"{number}: __filter pastes its JSON keys into the SQL unescaped; use __contains"
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if _FILTER.search(line)
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
