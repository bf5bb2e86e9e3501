"""A database's catalog as plain data: an object's kind and name, and its definition.

Two databases have the same schema when their catalogs are equal. Definitions are the server's own, because those
say all that an object is, also what only a newer server knows; PostgreSQL 15 and 18 write them alike, which a test
holds on each server that it meets. What depends on how a database came to be is evened out: dump and restore, the
order of columns, the schema's name. Left out are what an operator may choose (storage parameters, tablespaces,
statistics targets, comments, replica identity), what belongs to an extension, and all of aerich's table but the names
of its columns, because another application's aerich may have made it.

The catalog that a database at head has comes with the migrations, in ``catalog.json``.
"""

import json
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from veupath_store.schema.files import migrations_location

Catalog: TypeAlias = dict[str, str]

Fetch: TypeAlias = Callable[..., Awaitable[Sequence[Any]]]
"""What runs a query with its values and gives its rows, as ``fetch`` of an asyncpg connection does."""

FILE: Final = "catalog.json"

INVALID: Final = " INVALID"
"""What the definition of an index ends with that a failed CREATE INDEX CONCURRENTLY left."""


# From PostgreSQL 18 on NOT NULL is a constraint too (contype n); the column says it already.
_CATALOG: Final = """
WITH owned_by_extension AS MATERIALIZED (SELECT classid, objid FROM pg_depend WHERE deptype = 'e'),
c AS (
    SELECT * FROM pg_class WHERE relnamespace = $1::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f')
    AND (tableoid, oid) NOT IN (TABLE owned_by_extension)
)
SELECT 'table ' || c.relname AS name,
       concat_ws(' ', CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table' WHEN 'v' THEN 'view'
                                     WHEN 'm' THEN 'materialized view' ELSE 'foreign table' END,
                 CASE c.relpersistence WHEN 'u' THEN 'unlogged' END,
                 CASE WHEN c.relrowsecurity THEN 'row level security' END,
                 (SELECT 'rules' FROM pg_rewrite r WHERE r.ev_class = c.oid AND r.rulename <> '_RETURN' LIMIT 1))
           AS definition
FROM c
UNION ALL
SELECT 'column ' || c.relname || '.' || a.attname,
       CASE c.relname WHEN 'aerich' THEN 'any' ELSE
           concat_ws(' ', format_type(a.atttypid, a.atttypmod),
                     CASE WHEN a.attcollation <> t.typcollation THEN 'COLLATE ' || a.attcollation::regcollation END,
                     CASE WHEN a.attnotnull THEN 'NOT NULL' ELSE 'NULL' END,
                     CASE a.attidentity WHEN 'a' THEN 'IDENTITY ALWAYS' WHEN 'd' THEN 'IDENTITY BY DEFAULT' END,
                     CASE a.attgenerated WHEN '' THEN 'DEFAULT' WHEN 's' THEN 'GENERATED' ELSE 'GENERATED VIRTUAL' END
                         || ' ' || pg_get_expr(d.adbin, d.adrelid)) END
FROM c JOIN pg_attribute a ON a.attrelid = c.oid JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attnum > 0 AND NOT a.attisdropped
UNION ALL
SELECT 'constraint ' || c.relname || '.' || k.conname, pg_get_constraintdef(k.oid)
FROM c JOIN pg_constraint k ON k.conrelid = c.oid WHERE k.contype <> 'n' AND c.relname <> 'aerich'
UNION ALL
SELECT 'index ' || c.relname || '.' || x.relname,
       regexp_replace(pg_get_indexdef(x.oid), ' WITH [(][^)]*[)]', '') || CASE WHEN i.indisvalid THEN '' ELSE $2 END
FROM c JOIN pg_index i ON i.indrelid = c.oid JOIN pg_class x ON x.oid = i.indexrelid WHERE c.relname <> 'aerich'
UNION ALL
SELECT 'trigger ' || c.relname || '.' || t.tgname,
       pg_get_triggerdef(t.oid) || CASE t.tgenabled WHEN 'O' THEN '' ELSE ' enabled ' || t.tgenabled::text END
FROM c JOIN pg_trigger t ON t.tgrelid = c.oid WHERE NOT t.tgisinternal
UNION ALL
SELECT format('function %s(%s)', p.proname, pg_get_function_identity_arguments(p.oid)), pg_get_functiondef(p.oid)
FROM pg_proc p WHERE p.pronamespace = $1::regnamespace AND p.prokind IN ('f', 'p')
AND (p.tableoid, p.oid) NOT IN (TABLE owned_by_extension)
"""

# What the server writes for IN (…) on a varchar is another tree when it is read again, as by a restore: the cast of
# the list has become one of each element. Nothing else changes (measured: PostgreSQL 15, 18, from 15 to 18).
_ELEMENT: Final = r"\(('(?:[^']|'')*'::character varying)\)::text"
_LIST: Final = re.compile(rf"ARRAY\[{_ELEMENT}(?:, {_ELEMENT})*\]")


async def read_catalog(fetch: Fetch, schema: str = "public") -> Catalog:
    """Everything that is defined in one schema of the connected database. One read, which takes no privilege.

    Returns:
        ``{"column users.id": "uuid NOT NULL", …}``, sorted. White space is evened out, for function bodies, and the
        schema's own name, which is given quoted where it needs that, is left out.
    """
    rows = await fetch(_CATALOG, schema, INVALID)
    own = re.compile(rf'(?<![\w"]){re.escape(schema)}\.')
    plain = sorted((row["name"], own.sub("", row["definition"])) for row in rows)
    return {name: as_written(" ".join(definition.split())) for name, definition in plain}


def as_written(definition: str) -> str:
    """A definition that was restored from a dump, as the server wrote it before the dump."""
    return _LIST.sub(lambda found: f"(ARRAY[{', '.join(re.findall(_ELEMENT, found[0]))}])::text[]", definition)


def expected_catalog() -> Catalog:
    """The catalog of a database at head."""
    catalog: Catalog = json.loads((migrations_location() / FILE).read_text(encoding="utf-8"))
    return catalog


def expected_tables() -> list[str]:
    """The tables that a database at head has, aerich's among them."""
    return names_of("table", expected_catalog())


def names_of(kind: str, catalog: Iterable[str]) -> list[str]:
    """The names of a catalog's objects of one kind; an index's begins with its table's."""
    return [name.partition(" ")[2] for name in catalog if name.startswith(f"{kind} ")]


def differences(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """What distinguishes two catalogs, for people to read: one entry for each object; empty when they are equal."""
    return [
        f"{name}\n    {one.get(name, '(missing)')}\n    {other.get(name, '(missing)')}"
        for name in sorted(one.keys() | other.keys())
        if one.get(name) != other.get(name)
    ]
