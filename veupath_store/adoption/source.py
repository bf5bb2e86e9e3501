"""The old tables as temporary views, the same at every revision: ids are text, what a revision lacks is null.

A view follows its table to another schema, so that all that reads them need not know where the tables stand.
"""

from typing import Any, Final

from veupath_store.adoption.legacy import COLUMNS, KEYS, TABLES
from veupath_store.adoption.recognition import Recognised

PREFIX: Final = "old_"

STORED: Final = "stored_"
"""Before a column's name: a time as it is stored. Where the driver cannot hold it, the view has the adoption's time."""

TIME: Final = "timestamp with time zone"

# The last microsecond of all is what the driver reads infinity as, and writes it for.
_HELD: Final = "timestamptz '0001-01-01 00:00+00' AND timestamptz '9999-12-31 23:59:59.999998+00'"

_LACKING: Final = {
    "id": '(NULL::text COLLATE "C")',
    "boolean": "false",
    TIME: "NULL::timestamptz",
}


async def make_views(connection: Any, found: Recognised) -> None:  # noqa: ANN401 - an asyncpg connection
    """Make the views ``old_users``, …; each has the column ``place``, by which ranges of a table are read."""
    for table in TABLES:
        columns = (_column(table, name, found.revision) for name in COLUMNS[table])
        await connection.execute(
            f"CREATE TEMP VIEW {PREFIX}{table} AS SELECT ctid AS place, {', '.join(columns)} "
            f"FROM {found.schema}.{table}"
        )


async def drop_views(connection: Any) -> None:  # noqa: ANN401
    """Drop the views, which would else stay for as long as the connection."""
    await connection.execute(f"DROP VIEW {', '.join(f'pg_temp.{PREFIX}{table}' for table in TABLES)}")


async def count_rows(connection: Any) -> dict[str, int]:  # noqa: ANN401
    """How many rows each old table has. Reads all of them."""
    return {table: await connection.fetchval(f"SELECT count(*) FROM {PREFIX}{table}") for table in TABLES}


async def count_bytes(connection: Any, schema: str) -> int:  # noqa: ANN401
    """What the old tables hold on disk, indexes included."""
    size: int = await connection.fetchval(
        "SELECT sum(pg_total_relation_size(format('%s.%I', $1::text, name)::regclass))::bigint"
        " FROM unnest($2::text[]) AS name",
        schema,
        list(TABLES),
    )
    return size


def _column(table: str, name: str, revision: int) -> str:
    column = COLUMNS[table][name]
    shown = "id" if name == KEYS[table] else name
    if column.since > revision:
        lacking = f"{_LACKING[column.type]} AS {shown}"
        return f"{lacking}, {lacking.replace(shown, STORED + shown)}" if column.type == TIME else lacking
    if column.type == TIME:
        held = f"CASE WHEN {name} BETWEEN {_HELD} THEN {name} WHEN {name} IS NOT NULL THEN now() END"
        return f"{held} AS {name}, {name} AS {STORED}{name}"
    # Compared byte by byte: sorted and joined much faster so, and a column may have a collation that refuses patterns.
    is_text = column.type in ("id", "text") or column.type.startswith("character")
    return f'({name}::text COLLATE "C") AS {shown}' if is_text else f"{name} AS {shown}"
