"""What the application's role may do, and whether the one that migrates can."""

import secrets
from typing import Any, Final

from veupath_store.check.hosts import refuses_settings
from veupath_store.check.probe import Probe, failure, ok, probing, verdict, warning
from veupath_store.errors import StoreError
from veupath_store.schema.catalog import expected_catalog, expected_tables, names_of
from veupath_store.values.check import Finding

_POOLED: Final = "MIGRATION_DATABASE_URL goes through a pooler: make it a direct one."

_WRITES: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")

# What each table needs, as pairs; a superuser has every privilege.
_LACKING: Final = """
SELECT format('GRANT %s ON %s TO %I;', string_agg(n.privilege, ', ' ORDER BY n.number), c.oid::regclass, current_user)
       AS statement
FROM unnest($2::text[], $3::text[]) WITH ORDINALITY n(name, privilege, number)
JOIN pg_class c ON c.relname = n.name AND c.relnamespace = $1::regnamespace
WHERE NOT has_table_privilege(c.oid, n.privilege)
GROUP BY c.oid ORDER BY 1
"""

_ROLE: Final = """
SELECT r.rolsuper AS is_superuser,
       EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = $1::regnamespace AND c.relname = ANY ($2::text[])
               AND pg_has_role(c.relowner, 'USAGE')) AS owns_tables
FROM pg_roles r WHERE r.rolname = current_user
"""

# What keeps a role from migrating, as the statements that let it. aerich's table may be another application's.
_CANNOT_MIGRATE: Final = """
WITH t AS (SELECT *, oid::regclass AS name FROM pg_class
           WHERE relnamespace = $1::regnamespace AND relname = ANY ($2::text[]) AND NOT pg_has_role(relowner, 'USAGE'))
SELECT format('GRANT USAGE, CREATE ON SCHEMA %s TO %I;', $1, current_user) AS statement
WHERE NOT has_schema_privilege($1::regnamespace, 'CREATE')
UNION ALL
SELECT format('ALTER TABLE %s OWNER TO %I;', name, current_user) FROM t WHERE relname <> 'aerich'
UNION ALL
SELECT format('ALTER FUNCTION %s OWNER TO %I;', oid::regprocedure, current_user) FROM pg_proc
WHERE pronamespace = $1::regnamespace AND proname || '()' = ANY ($3::text[]) AND NOT pg_has_role(proowner, 'USAGE')
UNION ALL
SELECT format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO %I;', name, current_user) FROM t
WHERE relname = 'aerich' AND NOT (has_table_privilege(oid, 'SELECT') AND has_table_privilege(oid, 'INSERT')
                                  AND has_table_privilege(oid, 'UPDATE') AND has_table_privilege(oid, 'DELETE'))
UNION ALL
SELECT format('GRANT USAGE ON SEQUENCE %s TO %I;', pg_get_serial_sequence(name::text, 'id'), current_user)
FROM t JOIN pg_attribute a ON a.attrelid = t.oid AND a.attname = 'id' AND a.attidentity = ''
WHERE relname = 'aerich' AND NOT has_sequence_privilege(pg_get_serial_sequence(name::text, 'id'), 'USAGE')
"""

_LOCK: Final = "SELECT pg_try_advisory_xact_lock($1)"

# In the same database the lock of the other connection is to be seen.
_SEEN: Final = """
SELECT EXISTS (SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database
               WHERE d.datname = current_database() AND l.locktype = 'advisory' AND l.objsubid = 1
                 AND (l.classid::bigint << 32) | l.objid::bigint = $1) AS seen
"""


async def about_roles(probe: Probe) -> list[Finding]:
    """The application's privileges, its role, and the role that migrates."""
    if probe.schema is None:
        return []
    role = await probe.one(_ROLE, probe.schema, expected_tables())
    migrates_itself = probe.settings.migration_database_url is None
    return [
        await _about_privileges(probe),
        _about_role(probe, role),
        await (_about_one_role(probe) if migrates_itself else _about_migrating_role(probe)),
    ]


async def _about_privileges(probe: Probe) -> Finding:
    needs = [
        (name, privilege)
        for name in expected_tables()
        # aerich's record is read at every start, and written by whoever migrates.
        for privilege in (_WRITES[:1] if name == "aerich" else _WRITES)
    ]
    rows = await probe.fetch(_LACKING, probe.schema, *(list(column) for column in zip(*needs, strict=True)))
    message = "The application's role lacks privileges; as the tables' owner:"
    fine = "The application's role may do what it needs on each table."
    return verdict("privileges", [row["statement"] for row in rows], message, fine)


def _about_role(probe: Probe, role: Any) -> Finding:  # noqa: ANN401 - a record
    if role["is_superuser"] and probe.settings.target.embedded is None:
        return warning(
            "role", "The application's role is a superuser: give it one of its own, with the least privileges."
        )
    if role["owns_tables"] and probe.settings.migration_database_url is not None and not role["is_superuser"]:
        return warning(
            "role",
            "The application's role owns tables, and MIGRATION_DATABASE_URL names another role: let that one own them.",
        )
    return ok(
        "role", "One role does all." if role["owns_tables"] else "The application's role has no more than it needs."
    )


async def _cannot_migrate(probe: Probe, schema: str) -> list[str]:
    expected = expected_catalog()
    names = (names_of(kind, expected) for kind in ("table", "function"))
    return [row["statement"] for row in await probe.fetch(_CANNOT_MIGRATE, schema, *names)]


async def _about_one_role(probe: Probe) -> Finding:
    if probe.is_pooled:
        return ok(
            "migrating role", "No role migrates through a pooler; the deploy has to, with MIGRATION_DATABASE_URL."
        )
    if await _cannot_migrate(probe, str(probe.schema)):
        return ok(
            "migrating role",
            "The application's role cannot migrate; the deploy has to, with the URL of a role that owns the tables.",
        )
    return ok("migrating role", "The application's role can migrate.")


async def _about_migrating_role(probe: Probe) -> Finding:
    """Probe as that role; where it cannot be, the deploy could not migrate either."""
    settings = probe.settings.for_migrations().model_copy(update={"lock_timeout": probe.settings.lock_timeout})
    try:
        async with probing(settings) as migrating:
            return await _about_migrating(probe, migrating)
    except StoreError as exc:
        message = _POOLED if refuses_settings(exc) else f"MIGRATION_DATABASE_URL cannot be used: {exc}"
        return failure("migrating role", message)


async def _about_migrating(probe: Probe, migrating: Probe) -> Finding:
    name = "migrating role"
    if migrating.is_pooled:
        return failure(name, _POOLED)
    mark = secrets.randbits(62)
    await probe.one(_LOCK, mark)
    if not (await migrating.one(_SEEN, mark))["seen"]:
        return failure(name, "MIGRATION_DATABASE_URL names another database than DATABASE_URL: correct one of them.")
    if migrating.schema != probe.schema:
        schemas = f"Its schema is {migrating.schema or 'none'}, and the application's {probe.schema}"
        return failure(name, f"{schemas}: set its search_path.")
    statements = await _cannot_migrate(migrating, str(probe.schema))
    message = "It cannot migrate; as a superuser, or as the role that owns them now:"
    return verdict(name, statements, message, "It may create in the schema, and owns the tables.")
