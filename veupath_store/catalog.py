"""A database's catalog as plain data: an object's kind and name, and its definition as the server writes it.

Two databases have the same schema when their catalogs are equal. Objects that belong to an extension are left out,
and so is the order of columns, which a later migration cannot choose. Reading takes no privilege.

The catalog that a database at head has comes with the migrations, in ``catalog.json``. PostgreSQL 15 and 18 write
every definition alike, which a test holds on each server that it meets.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol, TypeAlias

from veupath_store.migration_files import migrations_location

Catalog: TypeAlias = dict[str, str]

FILE: Final = "catalog.json"


class Reader(Protocol):
    """What a catalog is read with, as an asyncpg connection."""

    async def fetch(self, query: str, *values: Any) -> Sequence[Any]:  # noqa: ANN401 - a statement's arguments
        """Run a query; its rows."""


_NO_EXTENSION: Final = """
    NOT EXISTS (SELECT FROM pg_depend d
                WHERE d.classid = '{catalog}'::regclass AND d.objid = {oid} AND d.deptype = 'e')
"""

_TABLES: Final = """
    SELECT c.relname AS name,
           concat_ws(' ', CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table' WHEN 'v' THEN 'view'
                                         WHEN 'm' THEN 'materialized view' ELSE 'foreign table' END,
                     CASE c.relpersistence WHEN 'u' THEN 'unlogged' END,
                     CASE WHEN c.relrowsecurity THEN 'row level security' END,
                     array_to_string(c.reloptions, ', '),
                     CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END) AS definition
    FROM pg_class c WHERE c.relnamespace = $1::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
"""

_COLUMNS: Final = """
    SELECT c.relname || '.' || a.attname AS name,
           concat_ws(' ', format_type(a.atttypid, a.atttypmod),
                     CASE WHEN a.attcollation <> t.typcollation THEN 'COLLATE ' || a.attcollation::regcollation END,
                     CASE WHEN a.attnotnull THEN 'NOT NULL' ELSE 'NULL' END,
                     CASE a.attidentity WHEN 'a' THEN 'IDENTITY ALWAYS' WHEN 'd' THEN 'IDENTITY BY DEFAULT' END,
                     CASE a.attgenerated WHEN '' THEN 'DEFAULT' ELSE 'GENERATED' END
                         || ' ' || pg_get_expr(d.adbin, d.adrelid)) AS definition
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE c.relnamespace = $1::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
      AND a.attnum > 0 AND NOT a.attisdropped
"""

# From PostgreSQL 18 on NOT NULL is a constraint too (contype n); the column says it already.
_CONSTRAINTS: Final = """
    SELECT c.relname || '.' || k.conname AS name, pg_get_constraintdef(k.oid) AS definition
    FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
    WHERE c.relnamespace = $1::regnamespace AND k.contype <> 'n'
"""

_INDEXES: Final = """
    SELECT i.indexrelid::regclass::text AS name,
           pg_get_indexdef(i.indexrelid) || CASE WHEN i.indisvalid THEN '' ELSE ' INVALID' END AS definition
    FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid WHERE c.relnamespace = $1::regnamespace
"""

_TRIGGERS: Final = """
    SELECT c.relname || '.' || t.tgname AS name,
           pg_get_triggerdef(t.oid)
               || CASE t.tgenabled WHEN 'O' THEN '' ELSE ' enabled ' || t.tgenabled::text END AS definition
    FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
    WHERE c.relnamespace = $1::regnamespace AND NOT t.tgisinternal
"""

_FUNCTIONS: Final = """
    SELECT p.oid::regprocedure::text AS name, pg_get_functiondef(p.oid) AS definition
    FROM pg_proc p WHERE p.pronamespace = $1::regnamespace AND p.prokind IN ('f', 'p')
"""

_SEQUENCES: Final = """
    SELECT c.relname AS name,
           concat_ws(' ', format_type(s.seqtypid, NULL), 'START', s.seqstart, 'INCREMENT', s.seqincrement,
                     'MIN', s.seqmin, 'MAX', s.seqmax, CASE WHEN s.seqcycle THEN 'CYCLE' END,
                     'OWNED BY ' || (SELECT d.refobjid::regclass || '.' || a.attname FROM pg_depend d
                                     JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
                                     WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                                       AND d.deptype IN ('a', 'i'))) AS definition
    FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid WHERE c.relnamespace = $1::regnamespace
"""

_TYPES: Final = """
    SELECT t.typname AS name,
           coalesce((SELECT 'enum ' || string_agg(quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder)
                     FROM pg_enum e WHERE e.enumtypid = t.oid),
                    'domain ' || format_type(t.typbasetype, t.typtypmod)) AS definition
    FROM pg_type t WHERE t.typnamespace = $1::regnamespace AND t.typtype IN ('e', 'd')
"""

# The kind, its query, and the system catalog and the column by which an extension would own the object.
_KINDS: Final = (
    ("table", _TABLES, "pg_class", "c.oid"),
    ("column", _COLUMNS, "pg_class", "c.oid"),
    ("constraint", _CONSTRAINTS, "pg_class", "c.oid"),
    ("index", _INDEXES, "pg_class", "c.oid"),
    ("trigger", _TRIGGERS, "pg_class", "c.oid"),
    ("function", _FUNCTIONS, "pg_proc", "p.oid"),
    ("sequence", _SEQUENCES, "pg_class", "c.oid"),
    ("type", _TYPES, "pg_type", "t.oid"),
)


async def read_catalog(connection: Reader, schema: str = "public") -> Catalog:
    """Everything that is defined in one schema of the connected database. Eight reads.

    Args:
        connection: An asyncpg connection, or what else can fetch rows.
        schema: The schema's name, quoted where it needs that.

    Returns:
        ``{"column users.id": "uuid NOT NULL", …}``, sorted. White space is evened out, for function bodies, and the
        schema's own name is left out.
    """
    catalog: Catalog = {}
    for kind, query, system_catalog, oid in _KINDS:
        owned = _NO_EXTENSION.format(catalog=system_catalog, oid=oid)
        for row in await connection.fetch(f"{query} AND {owned}", schema):
            name, definition = (row[column].replace(f"{schema}.", "") for column in ("name", "definition"))
            catalog[f"{kind} {name}"] = " ".join(definition.split())
    return dict(sorted(catalog.items()))


def expected_catalog() -> Catalog:
    """The catalog of a database at head."""
    catalog: Catalog = json.loads((migrations_location() / FILE).read_text(encoding="utf-8"))
    return catalog


def differences(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """What distinguishes two catalogs, for people to read: one entry for each object; empty when they are equal."""
    return [
        f"{name}\n    {one.get(name, '(missing)')}\n    {other.get(name, '(missing)')}"
        for name in sorted(one.keys() | other.keys())
        if one.get(name) != other.get(name)
    ]
