"""The legacy schema: two variants, four revisions, in plain SQL."""

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
_LATER = re.compile(r"-- ([0-9a-f]{12})$")


def schema_sql(variant: str, revision: str = NEWEST) -> str:
    """The statements that make the schema."""
    if variant == "alembic":
        steps = re.split(r"-- revision [0-9a-f]{12}\n", (_HERE / "alembic.sql").read_text())
        return "".join(steps[1 : REVISIONS.index(revision) + 2])
    return "\n".join(line for line in (_HERE / "create_all.sql").read_text().splitlines() if _there(line, revision))


def _there(line: str, revision: str) -> bool:
    since = _LATER.search(line)
    return since is None or REVISIONS.index(since[1]) <= REVISIONS.index(revision)
