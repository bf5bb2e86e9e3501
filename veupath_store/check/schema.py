"""Whether the schema is what this version needs: migrations, drift, indexes, statistics."""

from collections.abc import Mapping
from typing import Final

from veupath_store.check.probe import Probe, failure, ok, verdict, warning
from veupath_store.errors import ConfigurationError
from veupath_store.schema.catalog import INVALID, expected_catalog, expected_tables, read_catalog
from veupath_store.schema.files import before_deploy, migration_files
from veupath_store.schema.migrations import recorded_migrations, unrecorded_tables
from veupath_store.values.check import Finding, Level

MIGRATE: Final = "run 'veupath-store migrate'"

SHOWN: Final = 300
"""Characters that are shown of a definition: a function's body may be long."""

BIG: Final = 16 * 1024 * 1024
"""Bytes from which on a table without statistics is worth a warning."""

# Where the tables are that a role does not see; a dump has no search_path of the database.
_ELSEWHERE: Final = """
SELECT quote_ident(n.nspname) AS schema FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relname = ANY ($1::text[]) AND c.relkind = 'r' GROUP BY 1 HAVING count(*) = cardinality($1::text[]) ORDER BY 1
"""

_OPTIONS: Final = """
SELECT coalesce(t.relname || '.', '') || c.relname || ': ' || array_to_string(c.reloptions, ', ') AS options
FROM pg_class c LEFT JOIN pg_index i ON i.indexrelid = c.oid LEFT JOIN pg_class t ON t.oid = i.indrelid
WHERE c.relnamespace = $1::regnamespace AND c.reloptions IS NOT NULL
  AND coalesce(t.relname, c.relname) = ANY ($2::text[]) ORDER BY 1
"""


async def about_schema(probe: Probe) -> list[Finding]:
    """The migrations; at head, also whether the tables are what the migrations made."""
    if probe.schema is None:
        return [failure("migrations", "The role sees no schema: GRANT USAGE ON SCHEMA to it, or set its search_path.")]
    applied = await _applied(probe)
    live = await read_catalog(probe.fetch, probe.schema)
    findings = [_about_migrations(applied) if applied else await _about_nothing(probe)]
    if set(migration_files()) == applied:
        findings += _about_drift(live)
    else:
        findings.append(warning("schema", "Not compared: the database is not at the head of this version."))
    return [*findings, _about_indexes(live), await _about_options(probe), await _about_statistics(probe)]


async def _applied(probe: Probe) -> set[str]:
    try:
        return await recorded_migrations(probe.fetch)
    except ConfigurationError as exc:
        raise ConfigurationError("The role may not read the table aerich: GRANT SELECT ON it.") from exc


async def _about_nothing(probe: Probe) -> Finding:
    """No migration is recorded: in a new database, or because of what happened to an old one."""
    if found := await unrecorded_tables(probe.fetch, str(probe.schema)):
        return failure("migrations", found[0], found[1:])
    elsewhere = await probe.fetch(_ELSEWHERE, expected_tables())
    if elsewhere:
        [schema, *_] = (row["schema"] for row in elsewhere)
        return failure(
            "migrations",
            f"The tables are in schema {schema}, where the role does not look: ALTER DATABASE … SET search_path TO "
            f"{schema}, and connect again.",
        )
    return _about_migrations(set())


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
    return ok("migrations", f"All {len(known)} migrations are applied.")


def _about_drift(live: Mapping[str, str]) -> list[Finding]:
    """What is missing or different fails; what others added on tables of the store is worth a look."""
    expected = expected_catalog()
    wrong = [f"missing: {name}" for name in expected if name not in live]
    wrong += [
        f"different: {name}: is {_short(live[name])}, should be {_short(definition)}"
        for name, definition in expected.items()
        if name in live and live[name].removesuffix(INVALID) != definition
    ]
    tables = expected_tables()
    added = [name for name in live if name not in expected and _table_of(name) in tables]
    message = (
        f"{len(wrong)} object(s) of the schema were dropped or changed: put them back as migrations/schema.sql has"
    )
    fine = f"All {len(expected)} objects are as the migrations made them."
    findings = [verdict("schema", wrong, f"{message} them.", fine)]
    if added:
        which = f"{len(added)} object(s) that no migration made: see whether they are wanted."
        findings.append(warning("additions", f"Tables of the store have {which}", added))
    return findings


def _short(definition: str) -> str:
    return definition if len(definition) <= SHOWN else f"{definition[:SHOWN]}…"


def _table_of(name: str) -> str:
    """The table that an object belongs to; of an object that belongs to none, nothing that is a table."""
    return name.partition(" ")[2].partition(".")[0]


def _about_indexes(live: Mapping[str, str]) -> Finding:
    """What a failed CREATE INDEX CONCURRENTLY leaves: it costs writes, serves no read, guards nothing."""
    expected, tables = expected_catalog(), expected_tables()
    invalid = [name for name in live if live[name].endswith(INVALID) and _table_of(name) in tables]
    message = "Invalid indexes cost writes and serve no read: DROP them, or REINDEX INDEX CONCURRENTLY."
    level = Level.FAILURE if set(invalid) & set(expected) else Level.WARNING
    return verdict("indexes", invalid, message, "Every index is valid.", level)


async def _about_options(probe: Probe) -> Finding:
    """Storage parameters are the operator's: shown, and never judged."""
    rows = await probe.fetch(_OPTIONS, probe.schema, expected_tables())
    options = [row["options"] for row in rows]
    chosen = f"The operator chose those of {len(options)} object(s)." if options else "All are the server's."
    return ok("storage options", chosen, options)


async def _about_statistics(probe: Probe) -> Finding:
    rows = await probe.fetch(
        "SELECT relname AS name FROM pg_class WHERE relnamespace = $1::regnamespace AND relkind = 'r'"
        " AND relname = ANY ($2::text[]) AND reltuples < 0 AND pg_relation_size(oid) > $3 ORDER BY 1",
        probe.schema,
        expected_tables(),
        BIG,
    )
    message = "Big tables were never analyzed, and queries are planned blindly: ANALYZE them."
    names = [row["name"] for row in rows]
    return verdict("statistics", names, message, "Every big table has statistics.", Level.WARNING)
