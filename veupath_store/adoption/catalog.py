"""What a database's catalog says of the old tables, read as plain rows."""

from dataclasses import dataclass
from typing import Any, Final

from veupath_store.adoption.legacy import SCHEMA, TABLES, VERSION_TABLE
from veupath_store.catalog import expected_catalog

_PLACE: Final = """
SELECT current_schema() AS schema, current_setting('server_encoding') AS encoding,
       has_database_privilege(current_database(), 'CREATE') AS may_create,
       to_regnamespace($1) IS NOT NULL AS kept"""

_TABLES: Final = """
SELECT c.relname AS name, c.relkind::text AS kind, c.relpersistence::text AS persistence,
       c.relrowsecurity AS guarded, pg_has_role(c.relowner, 'USAGE') AS owned,
       EXISTS (SELECT FROM pg_inherits i WHERE c.oid IN (i.inhrelid, i.inhparent)) AS inherits
FROM pg_class c WHERE c.relnamespace = $1::regnamespace AND c.relname = ANY ($2::text[])
  AND c.relkind IN ('r', 'p', 'v', 'm', 'f')"""

_COLUMNS: Final = """
SELECT c.relname AS table, a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type,
       NOT a.attnotnull AS nullable, a.attgenerated <> '' OR a.attidentity <> '' AS made,
       pg_get_expr(d.adbin, d.adrelid) AS default
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE c.relnamespace = $1::regnamespace AND c.relname = ANY ($2::text[]) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY c.relname, a.attnum"""

_NAMES: Final = """
(SELECT array_agg(a.attname::text ORDER BY listed.place) FROM unnest({numbers}) WITH ORDINALITY AS listed(number, place)
 JOIN pg_attribute a ON a.attrelid = {table} AND a.attnum = listed.number)"""

_CONSTRAINTS: Final = f"""
SELECT c.relname AS table, k.conname AS name, k.contype::text AS type, k.confdeltype::text AS deletes,
       k.confrelid::regclass::text AS refers, k.convalidated AS valid,
       {_NAMES.format(numbers="k.conkey", table="k.conrelid")} AS columns
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
WHERE c.relnamespace = $1::regnamespace AND c.relname = ANY ($2::text[]) AND k.contype <> 'n'
ORDER BY c.relname, k.conname"""

_INDEXES: Final = f"""
SELECT c.relname AS table, i.indexrelid::regclass::text AS name, i.indisunique AS unique, i.indisvalid AS valid,
       i.indpred IS NOT NULL AS partial, i.indexprs IS NOT NULL AS computed,
       {_NAMES.format(numbers="i.indkey::int2[]", table="i.indrelid")} AS columns
FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
WHERE c.relnamespace = $1::regnamespace AND c.relname = ANY ($2::text[]) AND NOT i.indisprimary
  AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x'))
ORDER BY c.relname, 2"""

# What would follow the tables to another schema, or stand in the way of dropping or renaming anything.
_FOREIGN: Final = """
SELECT format('trigger %s on %s', t.tgname, c.relname) AS what FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
WHERE c.relnamespace = $1::regnamespace AND c.relname = ANY ($2::text[]) AND NOT t.tgisinternal
UNION ALL
SELECT format('policy %s on %s', p.polname, c.relname) FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid
WHERE c.relnamespace = $1::regnamespace AND c.relname = ANY ($2::text[])
UNION ALL
SELECT format('rule %s on %s', r.rulename, c.relname) FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class
WHERE c.relnamespace = $1::regnamespace AND c.relname = ANY ($2::text[]) AND c.relkind = 'r'
UNION ALL
SELECT DISTINCT format('view %s reads %s', v.oid::regclass, c.relname)
FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid JOIN pg_class v ON v.oid = r.ev_class
JOIN pg_class c ON c.oid = d.refobjid
WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass AND v.oid <> c.oid
  AND v.relnamespace IS DISTINCT FROM pg_my_temp_schema()
  AND c.relnamespace = $1::regnamespace AND c.relname = ANY ($2::text[])
UNION ALL
SELECT format('foreign key %s of %s refers to %s', k.conname, k.conrelid::regclass, c.relname)
FROM pg_constraint k JOIN pg_class c ON c.oid = k.confrelid JOIN pg_class o ON o.oid = k.conrelid
WHERE k.contype = 'f' AND c.relnamespace = $1::regnamespace AND c.relname = ANY ($2::text[])
  AND NOT (o.relnamespace = c.relnamespace AND o.relname = ANY ($2::text[]))
ORDER BY 1"""

# Names that the new tables and indexes need, and that something else has.
_TAKEN: Final = """
SELECT format('%s', c.relname) AS name FROM pg_class c
WHERE c.relnamespace = $1::regnamespace AND c.relname = ANY ($3::text[]) AND c.relname <> ALL ($2::text[])
  AND NOT EXISTS (SELECT FROM pg_index i JOIN pg_class t ON t.oid = i.indrelid
                  WHERE i.indexrelid = c.oid AND t.relname = ANY ($2::text[]))
UNION ALL
SELECT format('%s()', p.proname) FROM pg_proc p
WHERE p.pronamespace = $1::regnamespace AND p.proname || '()' = ANY ($3::text[])
ORDER BY 1"""

_VERSIONS: Final = "SELECT version_num AS revision FROM {schema}.alembic_version ORDER BY 1"

_OURS: Final = """
SELECT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = to_regclass('users') AND a.attname = 'id'
               AND a.atttypid = 'uuid'::regtype) AND to_regclass('aerich') IS NOT NULL AS ours"""


@dataclass(frozen=True, kw_only=True)
class Found:
    """Everything that recognition looks at."""

    schema: str
    place: Any
    tables: dict[str, Any]
    columns: list[Any]
    constraints: list[Any]
    indexes: list[Any]
    foreign: list[str]
    taken: list[str]
    versions: list[str] | None


def new_tables() -> list[str]:
    """The store's own tables, without aerich's."""
    names = (name for kind, _, name in (entry.partition(" ") for entry in expected_catalog()) if kind == "table")
    return [name for name in names if name != "aerich"]


async def is_store(connection: Any) -> bool:  # noqa: ANN401 - an asyncpg connection, which has no types
    """Whether the store's own tables stand where its connections look."""
    return bool(await connection.fetchval(_OURS))


async def read(connection: Any, names: list[str]) -> Found:  # noqa: ANN401
    """Look at the old tables where new ones would be made. About ten small reads.

    Args:
        connection: An asyncpg connection.
        names: The names that the store's own objects need.
    """
    place = await connection.fetchrow(_PLACE, SCHEMA)
    schema = await connection.fetchval("SELECT quote_ident($1)", place["schema"] or "public")
    own, all_of_them = list(TABLES), [*TABLES, VERSION_TABLE]
    tables = {row["name"]: row for row in await connection.fetch(_TABLES, schema, all_of_them)}
    versions = None
    if VERSION_TABLE in tables:
        versions = [row["revision"] for row in await connection.fetch(_VERSIONS.format(schema=schema))]
    return Found(
        schema=schema,
        place=place,
        tables=tables,
        columns=await connection.fetch(_COLUMNS, schema, own),
        constraints=await connection.fetch(_CONSTRAINTS, schema, own),
        indexes=await connection.fetch(_INDEXES, schema, own),
        foreign=[row["what"] for row in await connection.fetch(_FOREIGN, schema, all_of_them)],
        taken=[row["name"] for row in await connection.fetch(_TAKEN, schema, all_of_them, names)],
        versions=versions,
    )
