"""Whether the schema is what this version needs: migrations, drift, indexes, statistics."""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from veupath_store.catalog import expected_catalog, read_catalog
from veupath_store.check.asking import Asked, failure, warning, well
from veupath_store.config import APP
from veupath_store.errors import ConfigurationError
from veupath_store.migration_files import before_deploy, migration_files
from veupath_store.values.check import Finding

MIGRATE: Final = "run 'veupath-store migrate'"

SHOWN: Final = 300
"""Characters that are shown of a definition: a function's body may be long."""

BIG: Final = 16 * 1024 * 1024
"""Bytes from which on a table without statistics is worth a warning."""

_ON: Final = re.compile(r"CREATE (?:UNIQUE )?INDEX .*? ON (?:ONLY )?(\S+) ")


async def about_schema(asked: Asked) -> list[Finding]:
    """The migrations; at head, also whether the tables are what the migrations made."""
    if asked.schema is None:
        return [failure("migrations", "The role sees no schema: GRANT USAGE ON SCHEMA to it, or set its search_path.")]
    applied = await _applied(asked)
    findings = [_about_migrations(applied)]
    if set(migration_files()) == applied:
        findings += _about_drift(await read_catalog(asked, asked.schema))
    else:
        findings.append(warning("schema", "Not compared: the database is not at the head of this version."))
    return [*findings, *await _about_indexes(asked), *await _about_statistics(asked), _about_extensions()]


async def _applied(asked: Asked) -> set[str]:
    if not (await asked.one("SELECT to_regclass('aerich') IS NOT NULL AS there"))["there"]:
        return set()
    try:
        return {row["version"] for row in await asked.fetch("SELECT version FROM aerich WHERE app = $1", APP)}
    except ConfigurationError as exc:
        raise ConfigurationError("The role may not read the table aerich: GRANT SELECT ON it.") from exc


def _about_migrations(applied: set[str]) -> Finding:
    known = migration_files()
    pending = [name for name in known if name not in applied]
    unknown = sorted(applied - set(known))
    needed = before_deploy(pending)
    if needed:
        return failure(
            "migrations", f"{len(needed)} migration(s) that this version needs are pending: {MIGRATE}.", needed
        )
    if unknown:
        return warning(
            "migrations",
            f"The database is ahead: {len(unknown)} migration(s) are of a newer version. Deploy that version, or leave "
            "it: this one runs on it.",
            unknown,
        )
    if pending:
        return warning(
            "migrations",
            f"{len(pending)} migration(s) are left for after the deploy: when nothing old runs, {MIGRATE}.",
            pending,
        )
    return well("migrations", f"All {len(known)} migrations are applied.")


def _about_drift(live: Mapping[str, str]) -> list[Finding]:
    """What is missing or different fails; what others added on tables of the store is worth a look."""
    expected = expected_catalog()
    wrong = [f"missing: {name}" for name in expected if name not in live]
    wrong += [
        f"different: {name}: is {_short(live[name])}, should be {_short(definition)}"
        for name, definition in expected.items()
        if name in live and live[name] != definition
    ]
    added = [name for name in live if name not in expected and _table_of(name, live[name]) in tables(expected)]
    findings = [
        failure(
            "schema",
            f"{len(wrong)} object(s) of the schema were dropped or changed: put them back as migrations/schema.sql has "
            "them.",
            wrong,
        )
        if wrong
        else well("schema", f"All {len(expected)} objects are as the migrations made them.")
    ]
    if added:
        findings.append(
            warning(
                "additions",
                f"Tables of the store have {len(added)} object(s) that no migration made: see whether they are wanted.",
                added,
            )
        )
    return findings


def _short(definition: str) -> str:
    return definition if len(definition) <= SHOWN else f"{definition[:SHOWN]}…"


def tables(catalog: Iterable[str]) -> list[str]:
    """The names of a catalog's tables."""
    return [name.removeprefix("table ") for name in catalog if name.startswith("table ")]


def _table_of(name: str, definition: str) -> str:
    """The table that an object belongs to; of an object that belongs to none, nothing."""
    kind, _, rest = name.partition(" ")
    if kind == "index":
        found = _ON.match(definition)
        return found[1] if found else ""
    return rest.partition(".")[0] if kind in ("column", "constraint", "trigger") else ""


async def _about_indexes(asked: Asked) -> list[Finding]:
    """What a failed CREATE INDEX CONCURRENTLY leaves: it costs writes, serves no read, guards nothing."""
    rows = await asked.fetch(
        "SELECT c.relname AS name FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
        " JOIN pg_class t ON t.oid = i.indrelid"
        " WHERE NOT i.indisvalid AND t.relnamespace = $1::regnamespace AND t.relname = ANY ($2::text[]) ORDER BY 1",
        asked.schema,
        tables(expected_catalog()),
    )
    names = [row["name"] for row in rows]
    if not names:
        return [well("indexes", "Every index is valid.")]
    ours = any(f"index {name}" in expected_catalog() for name in names)
    message = "Invalid indexes cost writes and serve no read: DROP them, or REINDEX INDEX CONCURRENTLY."
    return [(failure if ours else warning)("indexes", message, names)]


async def _about_statistics(asked: Asked) -> list[Finding]:
    rows = await asked.fetch(
        "SELECT relname AS name FROM pg_class WHERE relnamespace = $1::regnamespace AND relkind = 'r'"
        " AND relname = ANY ($2::text[]) AND reltuples < 0 AND pg_relation_size(oid) > $3 ORDER BY 1",
        asked.schema,
        tables(expected_catalog()),
        BIG,
    )
    names = [row["name"] for row in rows]
    if names:
        return [
            warning(
                "statistics", "Big tables were never analyzed, and queries are planned blindly: ANALYZE them.", names
            )
        ]
    return [well("statistics", "Every big table has statistics.")]


def _about_extensions() -> Finding:
    return well("extensions", "None is needed.")
