"""What a database's catalog says of the old tables, and of what stands in the way of an adoption."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from veupath_store.adoption.legacy import SCHEMA, TABLES, VERSION_TABLE
from veupath_store.schema.catalog import expected_catalog, expected_tables, names_of

_HERE: Final = """
SELECT coalesce(quote_ident(current_schema()), 'public') AS schema, quote_ident(session_user) AS role,
       pg_backend_pid() AS pid"""

# SET ROLE wants SET from PostgreSQL 16 on, and MEMBER before, which USAGE brings. The way back goes without it.
_TABLES: Final = """
SELECT c.relname AS name, c.relkind::text AS kind, c.relpersistence::text AS persistence,
       c.relrowsecurity AS guarded, quote_ident(pg_get_userbyid(c.relowner)) AS owner,
       pg_has_role(c.relowner, 'USAGE')
           AND pg_has_role(c.relowner, CASE WHEN current_setting('server_version_num')::int < 160000 THEN 'MEMBER'
                                            ELSE 'SET' END) AS reachable,
       EXISTS (SELECT FROM pg_inherits i WHERE c.oid IN (i.inhrelid, i.inhparent)) AS inherits
FROM pg_class c WHERE c.relnamespace = to_regnamespace($1) AND c.relname = ANY ($2::text[])
  AND c.relkind IN ('r', 'p', 'v', 'm', 'f') ORDER BY c.relname"""

_ELSEWHERE: Final = """
SELECT quote_ident(n.nspname) AS schema FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relname = ANY ($2::text[]) AND c.relkind = 'r' AND n.oid IS DISTINCT FROM to_regnamespace($1)
GROUP BY n.nspname HAVING count(*) = cardinality($2::text[]) ORDER BY 1 LIMIT 1"""

# Each: whether it is so, and what to say of it. Asked as the role that will own the new tables.
_PLACE: Final = f"""
SELECT message FROM (VALUES
    (to_regnamespace('{SCHEMA}') IS NOT NULL,
     'Schema {SCHEMA} is there already, without the record of an adoption: rename or drop it'),
    (current_setting('server_encoding') <> 'UTF8',
     format('The database''s encoding is %s: restore a dump of it into one WITH ENCODING ''UTF8''',
            current_setting('server_encoding'))),
    (NOT has_database_privilege(current_database(), 'CREATE'),
     format('The role may not make a schema: GRANT CREATE ON DATABASE %I TO %I', current_database(), current_user)),
    (NOT has_database_privilege(current_database(), 'TEMPORARY'),
     format('The role may not make temporary tables: GRANT TEMPORARY ON DATABASE %I TO %I', current_database(),
            current_user)),
    (NOT has_schema_privilege(to_regnamespace($1), 'CREATE'),
     format('The role may not create in schema %1$s: GRANT CREATE ON SCHEMA %1$s TO %2$I', $1, current_user))
) AS checks(found, message) WHERE found"""

# Names that the store's own relations and functions need, and that something else has. Indexes and row types of the
# old tables go with them; what is generated for an array gives its name up.
_TAKEN: Final = """
WITH wanted AS (SELECT name FROM unnest($3::text[]) AS name)
SELECT CASE c.relkind WHEN 'i' THEN 'An index' WHEN 'I' THEN 'An index' WHEN 'S' THEN 'A sequence'
                      WHEN 'v' THEN 'A view' WHEN 'c' THEN 'A type' ELSE 'A table' END AS kind, c.relname AS name
FROM pg_class c JOIN wanted w ON w.name = c.relname
WHERE c.relnamespace = $1::regnamespace AND c.relname <> ALL ($2::text[])
  AND NOT EXISTS (SELECT FROM pg_index i JOIN pg_class t ON t.oid = i.indrelid
                  WHERE i.indexrelid = c.oid AND t.relname = ANY ($2::text[]))
UNION ALL
SELECT 'A type', t.typname FROM pg_type t JOIN wanted w ON w.name = t.typname
WHERE t.typnamespace = $1::regnamespace AND t.typrelid = 0 AND t.typelem = 0
UNION ALL
SELECT 'A function', p.proname || '()' FROM pg_proc p JOIN wanted w ON w.name = p.proname || '()'
WHERE p.pronamespace = $1::regnamespace
ORDER BY 1, 2"""

# What refers to the old tables by more than their names would go with them: `follows`. What the new ones would lack
# without harm to a row does not; then `remedy` is what to run after the adoption.
_DEPENDENT: Final = """
WITH old AS (
    SELECT c.oid, c.relname, c.relacl, c.relowner FROM pg_class c
    WHERE c.relnamespace = $1::regnamespace AND c.relname = ANY ($2::text[])
), dependent AS (
    SELECT DISTINCT d.classid, d.objid, old.relname, CASE
        WHEN v.relkind IN ('v', 'm') THEN pg_describe_object('pg_class'::regclass, v.oid, 0)
        ELSE pg_describe_object(d.classid, d.objid, 0) END AS what
    FROM old JOIN pg_type t ON t.typrelid = old.oid
    JOIN pg_depend d ON (d.refclassid, d.refobjid) IN (('pg_class'::regclass, old.oid), ('pg_type'::regclass, t.oid))
    LEFT JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
    LEFT JOIN pg_class v ON v.oid = r.ev_class
)
SELECT true AS follows, format('%s depends on %s', what, relname) AS what, 'drop it, and make it again after' AS remedy
FROM dependent
WHERE classid IN ('pg_rewrite'::regclass, 'pg_proc'::regclass, 'pg_policy'::regclass)
   OR classid = 'pg_trigger'::regclass AND NOT (SELECT t.tgisinternal FROM pg_trigger t WHERE t.oid = objid)
   OR classid = 'pg_constraint'::regclass
      AND (SELECT k.contype = 'f' AND k.conrelid <> ALL (SELECT oid FROM old) FROM pg_constraint k WHERE k.oid = objid)
   OR classid = 'pg_class'::regclass AND (SELECT r.relkind IN ('r', 'p', 'f') FROM pg_class r WHERE r.oid = objid)
UNION ALL
SELECT true, format('Publication %I has %s', p.pubname, old.relname),
       CASE WHEN a.puballtables THEN format('DROP PUBLICATION %I', p.pubname)
            WHEN EXISTS (SELECT FROM pg_publication_rel r WHERE r.prpubid = a.oid AND r.prrelid = old.oid)
            THEN format('ALTER PUBLICATION %I DROP TABLE %s', p.pubname, old.relname)
            ELSE format('ALTER PUBLICATION %I DROP TABLES IN SCHEMA %I', p.pubname, p.schemaname) END
       || ', and publish the new tables after'
FROM pg_publication_tables p JOIN pg_publication a USING (pubname)
JOIN old ON old.oid = format('%I.%I', p.schemaname, p.tablename)::regclass
UNION ALL
SELECT true, format('%s has a security label of %s', labelled.what, l.provider),
       format('SECURITY LABEL FOR %I ON %s IS NULL, and label the new one after', l.provider, labelled.what)
FROM pg_seclabel l JOIN old ON l.classoid = 'pg_class'::regclass AND l.objoid = old.oid
LEFT JOIN pg_attribute a ON a.attrelid = l.objoid AND a.attnum = l.objsubid
CROSS JOIN LATERAL (SELECT CASE WHEN a.attnum IS NULL THEN format('TABLE %s', old.relname)
                                ELSE format('COLUMN %s.%I', old.relname, a.attname) END AS what) labelled
UNION ALL
SELECT false, format('%s is not made for the new %s', what, relname), 'make it again after'
FROM dependent WHERE classid = 'pg_statistic_ext'::regclass
UNION ALL
SELECT DISTINCT false, format('The comments on %s are not copied', old.relname), format('COMMENT ON TABLE %s', relname)
FROM pg_description c JOIN old ON c.classoid = 'pg_class'::regclass AND c.objoid = old.oid
UNION ALL
SELECT false, format('The grants to %s are not copied', grantee),
       format('GRANT %s ON ALL TABLES IN SCHEMA %s TO %s', string_agg(DISTINCT privilege, ', '), $1, grantee)
FROM (SELECT CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END AS grantee,
             g.privilege_type AS privilege
      FROM old, LATERAL (
          SELECT x.* FROM aclexplode(old.relacl) x
          UNION ALL SELECT x.* FROM pg_attribute a, aclexplode(a.attacl) x WHERE a.attrelid = old.oid
      ) g WHERE g.grantee <> old.relowner) AS granted
GROUP BY grantee
ORDER BY 1, 2"""

_VERSIONS: Final = "SELECT version_num AS revision FROM {schema}.alembic_version ORDER BY 1"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where new tables would be made, and the old tables that stand there. Names are quoted where they need that."""

    schema: str
    """The first of the search path."""
    role: str
    """That has connected."""
    is_direct: bool
    """Whether nothing like a PgBouncer is in between."""
    tables: dict[str, Any]
    """The old ones by their names, and that of Alembic's version."""
    elsewhere: str | None
    """Another schema that has the old tables."""


def new_tables() -> list[str]:
    """The store's own tables, without aerich's."""
    return [name for name in expected_tables() if name != "aerich"]


async def read_place(connection: Any) -> Place:  # noqa: ANN401 - an asyncpg connection, which has no types
    """Look for the old tables where new ones would be made."""
    here = await connection.fetchrow(_HERE)
    rows = await connection.fetch(_TABLES, here["schema"], [*TABLES, VERSION_TABLE])
    return Place(
        schema=here["schema"],
        role=here["role"],
        # A pooler has its own process ids for its clients.
        is_direct=connection.get_server_pid() == here["pid"],
        tables={row["name"]: row for row in rows},
        elsewhere=await connection.fetchval(_ELSEWHERE, here["schema"], list(TABLES)),
    )


async def versions(connection: Any, place: Place) -> list[str] | None:  # noqa: ANN401
    """What Alembic's table says; ``None`` where there is none."""
    if VERSION_TABLE not in place.tables:
        return None
    return [row["revision"] for row in await connection.fetch(_VERSIONS.format(schema=place.schema))]


async def dependent(connection: Any, schema: str) -> list[Any]:  # noqa: ANN401
    """What would follow the old tables, or what the new ones would lack."""
    rows: list[Any] = await connection.fetch(_DEPENDENT, schema, [*TABLES, VERSION_TABLE])
    return rows


async def obstacles(connection: Any, schema: str) -> list[str]:  # noqa: ANN401
    """Privileges that are missing, of the role that will own the new tables, and names that are taken."""
    taken = await connection.fetch(_TAKEN, schema, [*TABLES, VERSION_TABLE], list(_names()))
    return [
        *(row["message"] for row in await connection.fetch(_PLACE, schema)),
        *(f"{row['kind']} named {row['name']} exists: rename or drop it" for row in taken),
    ]


def _names() -> Iterable[str]:
    """The names that the store's own relations and functions need."""
    expected = expected_catalog()
    yield from expected_tables()
    yield from (name.partition(".")[2] for name in names_of("index", expected))
    yield from names_of("function", expected)
