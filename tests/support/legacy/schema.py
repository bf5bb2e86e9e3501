"""The legacy schema: two variants, four revisions. Alembic's is made of the other's, and of its later steps."""

import re
from itertools import product
from pathlib import Path

VARIANTS = ("alembic", "create_all")
REVISIONS = ("6986444486d4", "87d93def2ccd", "a3f1b2c4d5e6", "b4e2f3a5d6c7")
NEWEST = REVISIONS[-1]
KINDS = tuple(product(VARIANTS, REVISIONS))
"""Every variant at every revision."""

TABLES = ("users", "control_sets", "experiments", "gene_sets", "streams", "stream_projections", "operations")
KEYS = {**dict.fromkeys(TABLES, "id"), "stream_projections": "stream_id", "operations": "operation_id"}
"""The primary key of each table."""

SINCE = {
    ("streams", "experiment_id"): 1,
    ("stream_projections", "gene_set_id"): 2,
    ("stream_projections", "gene_set_auto_imported"): 2,
    ("stream_projections", "dismissed_at"): 3,
}
"""Columns that are not of the first revision, and the place of theirs."""

_HERE = Path(__file__).parent
_REFERENCES = ("id", "user_id", "stream_id", "operation_id")
_DEFAULTS = {"varchar": "''", "json": "'[]'", "integer": "0", "boolean": "false"}
_OBJECTS = ("data", "plan")


def schema_sql(variant: str, revision: str = NEWEST) -> str:
    """The statements that make the schema."""
    if variant == "create_all":
        return "\n".join(_lines(revision))
    steps = re.split(r"-- revision [0-9a-f]{12}\n", (_HERE / "alembic.sql").read_text())[1:]
    return "\n".join([*map(_as_alembic, _lines(REVISIONS[0])), *steps[: REVISIONS.index(revision) + 1]])


def _lines(revision: str) -> list[str]:
    """The lines of create_all.sql that a revision has: one that ends with another is of that one and later ones."""
    lines = [line.partition(" -- ") for line in (_HERE / "create_all.sql").read_text().splitlines()]
    return [line for line, _, since in lines if not since or REVISIONS.index(since) <= REVISIONS.index(revision)]


def _as_alembic(line: str) -> str:
    """A line as Alembic's first migration had it: a column may be null, and has a default of the server."""
    column, required, rest = line.partition(" NOT NULL")
    if not (required and line.startswith("    ")):
        return line
    name, kind = column.split()
    if rest.startswith(" DEFAULT") or name in _REFERENCES:
        return column + rest
    default = "'{}'" if name in _OBJECTS else _DEFAULTS[kind.partition("(")[0]]
    return f"{column} DEFAULT {default}{rest}"
