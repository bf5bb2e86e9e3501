"""What the application's role may do, and whether the one that migrates can."""

import secrets
from typing import Any, Final

from veupath_store.catalog import expected_catalog
from veupath_store.check.asking import Asked, asking, failure, warning, well
from veupath_store.check.hosts import refuses_settings
from veupath_store.check.schema import tables
from veupath_store.errors import StoreError
from veupath_store.values.check import Finding

_POOLED: Final = "MIGRATION_DATABASE_URL goes through a pooler: make it a direct one."

_WRITES: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")

# What each table needs, as pairs; a superuser has every privilege.
_LACKING: Final = """
SELECT c.relname AS name, string_agg(n.privilege, ', ' ORDER BY n.number) AS lacking
FROM unnest($2::text[], $3::text[]) WITH ORDINALITY n(name, privilege, number)
JOIN pg_class c ON c.relname = n.name AND c.relnamespace = $1::regnamespace
WHERE NOT has_table_privilege(c.oid, n.privilege)
GROUP BY 1 ORDER BY 1
"""

_ROLE: Final = """
SELECT current_user::text AS name, r.rolsuper AS is_superuser,
       has_schema_privilege($1::regnamespace, 'CREATE') AS may_create,
       (SELECT count(*) FROM pg_class c WHERE c.relnamespace = $1::regnamespace AND c.relname = ANY ($2::text[])
        AND pg_has_role(c.relowner, 'USAGE'))::int AS owned,
       (SELECT count(*) FROM pg_class c WHERE c.relnamespace = $1::regnamespace AND c.relname = ANY ($2::text[]))::int
           AS there
FROM pg_roles r WHERE r.rolname = current_user
"""

_LOCK: Final = "SELECT pg_try_advisory_xact_lock($1)"

# In the same database the lock of the other connection is to be seen.
_SEEN: Final = """
SELECT EXISTS (SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database
               WHERE d.datname = current_database() AND l.locktype = 'advisory' AND l.objsubid = 1
                 AND (l.classid::bigint << 32) | l.objid::bigint = $1) AS seen
"""


async def about_roles(asked: Asked) -> list[Finding]:
    """The application's privileges, its role, and the role that migrates."""
    if asked.schema is None:
        return []
    names = tables(expected_catalog())
    role = await asked.one(_ROLE, asked.schema, names)
    findings = [await _about_privileges(asked), _about_role(asked, role)]
    if asked.settings.migration_database_url is None:
        return [*findings, _about_one_role(asked, role)]
    return [*findings, await _about_migrating_role(asked, names)]


async def _about_privileges(asked: Asked) -> Finding:
    needs = [
        (name, privilege)
        for name in tables(expected_catalog())
        # aerich's record is read at every start, and written by whoever migrates.
        for privilege in (_WRITES[:1] if name == "aerich" else _WRITES)
    ]
    rows = await asked.fetch(_LACKING, asked.schema, *(list(column) for column in zip(*needs, strict=True)))
    if rows:
        return failure(
            "privileges",
            "The application's role lacks privileges: have the tables' owner GRANT them.",
            [f"{row['name']}: {row['lacking']}" for row in rows],
        )
    return well("privileges", "The application's role may do what it needs on each table.")


def _about_role(asked: Asked, role: Any) -> Finding:  # noqa: ANN401 - a record
    if role["is_superuser"] and asked.settings.target.embedded is None:
        return warning(
            "role", "The application's role is a superuser: give it one of its own, with the least privileges."
        )
    if role["owned"] and asked.settings.migration_database_url is not None and not role["is_superuser"]:
        return warning(
            "role",
            "The application's role owns tables, and MIGRATION_DATABASE_URL names another role: let that one own them.",
        )
    return well(
        "role", "The application's role has no more than it needs." if not role["owned"] else "One role does all."
    )


def _can_migrate(role: Any) -> bool:  # noqa: ANN401
    return bool(role["may_create"] and role["owned"] == role["there"])


def _about_one_role(asked: Asked, role: Any) -> Finding:  # noqa: ANN401
    if asked.is_pooled:
        return well(
            "migrating role", "No role migrates through a pooler; the deploy has to, with MIGRATION_DATABASE_URL."
        )
    if _can_migrate(role):
        return well("migrating role", "The application's role can migrate.")
    return well(
        "migrating role",
        "The application's role cannot migrate; the deploy has to, with the URL of a role that owns the tables.",
    )


async def _about_migrating_role(asked: Asked, names: list[str]) -> Finding:
    """Asked as that role; where it cannot be, the deploy could not migrate either."""
    name = "migrating role"
    settings = asked.settings.for_migrations().model_copy(update={"lock_timeout": asked.settings.lock_timeout})
    try:
        async with asking(settings) as migrating:
            if migrating.is_pooled:
                return failure(name, _POOLED)
            mark = secrets.randbits(62)
            await asked.one(_LOCK, mark)
            if not (await migrating.one(_SEEN, mark))["seen"]:
                return failure(
                    name, "MIGRATION_DATABASE_URL names another database than DATABASE_URL: mend one of them."
                )
            role = await migrating.one(_ROLE, asked.schema, names)
    except StoreError as exc:
        if refuses_settings(exc):
            return failure(name, _POOLED)
        return failure(name, f"MIGRATION_DATABASE_URL cannot be used: {exc}")
    if _can_migrate(role):
        return well(name, "It may create in the schema, and owns the tables.")
    return failure(name, f"It cannot migrate: GRANT CREATE ON SCHEMA {asked.schema} to it, and let it own the tables.")
