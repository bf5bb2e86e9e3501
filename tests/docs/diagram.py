"""The entity diagram of docs/data-model.md, made from the catalog of a migrated database.

python -m tests.docs.diagram    # put it into the page: make diagram
"""

import re
from pathlib import Path
from typing import NamedTuple

from tests.docs.pages import REPOSITORY
from tests.support.databases import fetch
from tests.write_catalog import of_migrated

PAGE = REPOSITORY / "docs" / "data-model.md"
_FENCE = re.compile(r"(?<=^```mermaid\n).*?(?=^```$)", re.MULTILINE | re.DOTALL)

_COLUMNS = """
SELECT c.relname AS table_name, a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type,
       a.attnotnull AS required
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND c.relname <> 'aerich'
  AND a.attnum > 0 AND NOT a.attisdropped
  AND a.attgenerated = '' AND a.atttypid <> 'timestamptz'::regtype
ORDER BY c.oid, a.attnum"""

# Expression columns of an index have no attribute, and are no key.
_UNIQUE = """
SELECT c.relname AS table_name, i.indisprimary AS is_primary, pg_get_expr(i.indpred, i.indrelid) AS predicate,
       ARRAY (SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey))
           AS columns
FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
WHERE c.relnamespace = 'public'::regnamespace AND i.indisunique AND c.relname <> 'aerich'"""

_FOREIGN = """
SELECT c.relname AS child, p.relname AS parent, k.confdeltype::text AS on_delete,
       ARRAY (SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = k.conrelid AND a.attnum = ANY (k.conkey))
           AS columns
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_class p ON p.oid = k.confrelid
WHERE c.relnamespace = 'public'::regnamespace AND k.contype = 'f'
ORDER BY p.oid, c.oid, k.conname"""

_TYPES = {"character varying": "varchar", "boolean": "bool", "integer": "int"}
_ON_DELETE = {"c": "deleted with it", "n": "set to null", "a": "refused", "r": "refused", "d": "set to its default"}


class Tables(NamedTuple):
    """What the diagram shows, as rows of the catalog."""

    columns: list
    unique: list
    foreign: list


async def read(url: str) -> Tables:
    """Read the catalog."""
    return Tables(*[await fetch(url, query) for query in (_COLUMNS, _UNIQUE, _FOREIGN)])


def draw(tables: Tables) -> str:
    """The diagram, as mermaid reads it."""
    lines = ["erDiagram"]
    for table in dict.fromkeys(row["table_name"] for row in tables.columns):
        lines.append(f"    {table} {{")
        lines += [f"        {_column(tables, row)}" for row in tables.columns if row["table_name"] == table]
        lines.append("    }")
    lines += [f"    {_relation(tables, row)}" for row in tables.foreign]
    return "\n".join(lines) + "\n"


def _column(tables: Tables, row) -> str:
    kind = row["type"].partition("(")
    written = _TYPES.get(kind[0], kind[0]) + "".join(kind[1:])
    keys = _keys(tables, row["table_name"], row["name"])
    return " ".join(part for part in (written, row["name"], keys, "" if row["required"] else '"may be null"') if part)


def _keys(tables: Tables, table: str, column: str) -> str:
    unique = [row for row in tables.unique if row["table_name"] == table and column in row["columns"]]
    found = []
    if any(row["is_primary"] for row in unique):
        found.append("PK")
    if any(row["child"] == table and column in row["columns"] for row in tables.foreign):
        found.append("FK")
    if any(not row["is_primary"] and column == _subject(row) for row in unique):
        found.append("UK")
    return ", ".join(found)


def _subject(key) -> str | None:
    """The column that is unique, by itself or within its owner and site; none where only some rows count."""
    others = [column for column in key["columns"] if column not in {"user_id", "site_id", "id"}]
    if len(others) != 1 or key["predicate"] not in {None, f"({others[0]} IS NOT NULL)"}:
        return None
    return others[0]


def _relation(tables: Tables, row) -> str:
    own = [column for column in row["columns"] if column != "user_id"] or row["columns"]
    required = {(column["table_name"], column["name"]): column["required"] for column in tables.columns}
    parent_side = "||" if all(required[row["child"], column] for column in own) else "|o"
    one = any(
        key["table_name"] == row["child"] and not key["predicate"] and set(key["columns"]) <= set(row["columns"])
        for key in tables.unique
    )
    label = f"{', '.join(own)}: {_ON_DELETE[row['on_delete']]}"
    return f'{row["parent"]} {parent_side}--{"o|" if one else "o{"} {row["child"]} : "{label}"'


def written(page: str, diagram: str) -> str:
    """A page with this diagram in it."""
    return _FENCE.sub(lambda _: diagram, page)


def diagram_of(page: str) -> str:
    """The diagram that a page shows."""
    (found,) = _FENCE.findall(page)
    return found


def main(page: Path = PAGE) -> None:
    """Put the diagram into the page."""
    diagram = draw(of_migrated(read))
    page.write_text(written(page.read_text("utf-8"), diagram), "utf-8")


if __name__ == "__main__":
    main()
