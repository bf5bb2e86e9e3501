"""Which variant of the old schema stands in a database, at which revision; anything else is refused by name."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from veupath_store.adoption import catalog
from veupath_store.adoption.catalog import Place
from veupath_store.adoption.legacy import (
    COLUMNS,
    FOREIGN_KEYS,
    INDEXES,
    KEYS,
    REVISIONS,
    TABLES,
    VERSION_TABLE,
    Column,
)
from veupath_store.adoption.values import Variant
from veupath_store.errors import AdoptionRefusedError
from veupath_store.schema.catalog import Catalog, names_of, read_catalog

_ID_TYPE: Final = re.compile(r"character(?: varying)?\(\d+\)|character varying|text")
_ID_TYPES: Final = {f"character varying({width})" for width in (32, 36, 50)} | {"character(36)"}
_AROUND: Final = re.compile(r"::[a-z ]+(?:\(\d+\))?|[()']")
"""What stands around a default's value: casts, brackets, quotes."""
_SAME: Final = dict.fromkeys(("now", "CURRENT_TIMESTAMP", "transaction_timestamp"), "now()")

# Definitions as `read_catalog` has them.
_COLUMN: Final = re.compile(r"(.+?)(?: COLLATE .+?)? (NOT NULL|NULL)(?: DEFAULT (.+))?(.*)")
_FOREIGN_KEY: Final = re.compile(r"FOREIGN KEY \((.+?)\) REFERENCES (.+?)\(.+?\)(.*)")
_INDEX: Final = re.compile(r"CREATE (UNIQUE )?INDEX .+ USING \w+ \((.+?)\)(?: NULLS NOT DISTINCT)?(.*)")

POOLED: Final = "This looks like a PgBouncer: set MIGRATION_DATABASE_URL to a URL that does not go through it"
"""Why no adoption is tried."""


@dataclass(frozen=True, kw_only=True)
class Recognised:
    """What stands in the database."""

    variant: Variant
    revision: int
    """Its place in `REVISIONS`."""
    schema: str
    """Where the tables stand, quoted where it needs that."""
    tolerated: list[str]
    """Differences that do not matter."""


async def recognise(connection: Any) -> Recognised:  # noqa: ANN401 - an asyncpg connection, which has no types
    """Recognise the old schema. About ten small reads, whatever the tables hold.

    The rest of the transaction runs as the tables' owner, so that the new ones are theirs too.

    Raises:
        AdoptionRefusedError: It is none of the known ones, or something stands in the way; the error lists all of it,
            with what to type.
    """
    place = await catalog.read_place(connection)
    _refuse(_place(place))
    _refuse(_tables(place))
    owner = place.tables[TABLES[0]]["owner"]
    if owner != place.role:
        await connection.execute(f"SET LOCAL ROLE {owner}")
        # "$user" in a search path is the role that was set.
        place = await catalog.read_place(connection)
        _refuse(_place(place))
    live = await read_catalog(connection.fetch, place.schema)
    versions = await catalog.versions(connection, place)
    variant = _variant(live, versions)
    revision, refused = _revision(live, versions, variant)
    tolerated: list[str] = []
    for check in (_columns(live, variant, revision), _constraints(live, revision), _indexes(live)):
        for matters, difference in check:
            (refused if matters else tolerated).append(difference)
    for row in await catalog.dependent(connection, place.schema):
        (refused if row["follows"] else tolerated).append(f"{row['what'][0].upper()}{row['what'][1:]}: {row['remedy']}")
    _refuse([*refused, *await catalog.obstacles(connection, place.schema)])
    return Recognised(variant=variant, revision=revision, schema=place.schema, tolerated=tolerated)


def _refuse(reasons: Iterable[str]) -> None:
    refused = list(reasons)
    if refused:
        raise AdoptionRefusedError(refused)


def _place(place: Place) -> Iterator[str]:
    """Why new tables would not be made where the old ones are."""
    missing = [name for name in TABLES if name not in place.tables]
    if not place.is_direct:
        yield POOLED
    elif missing and place.elsewhere is not None:
        who = f"ALTER ROLE {place.role} SET search_path = {place.elsewhere}, public"
        yield f"The old tables are in schema {place.elsewhere}: put it first in search_path, as by {who}"
    elif len(missing) == len(TABLES):
        yield f"No table of the old schema is in schema {place.schema}: see that DATABASE_URL names the right database"
    else:
        yield from (f"Table {name} is missing in schema {place.schema}: restore it from a backup" for name in missing)


def _tables(place: Place) -> Iterator[str]:
    for name, table in place.tables.items():
        if table["kind"] != "r":
            yield f"Relation {name} is no ordinary table: make it one"
        elif table["persistence"] != "p":
            yield f"Table {name} is unlogged: ALTER TABLE {name} SET LOGGED"
        if table["inherits"]:
            yield f"Table {name} takes part in inheritance: ALTER TABLE … NO INHERIT …"
        if table["guarded"]:
            yield f"Table {name} has row level security: ALTER TABLE {name} DISABLE ROW LEVEL SECURITY"
    owners = sorted({table["owner"] for table in place.tables.values()})
    if len(owners) > 1:
        yield f"The tables belong to {', '.join(owners)}: give them to one role, by ALTER TABLE … OWNER TO …"
    elif not place.tables[TABLES[0]]["reachable"]:
        heir = f"one that inherits its rights, by GRANT {owners[0]} TO {place.role}"
        yield f"The tables belong to {owners[0]}: adopt as that role, or as {heir}"


def _objects(live: Catalog, kind: str) -> Iterator[tuple[str, str, str]]:
    """Yield (table, name, definition) for each object of a kind that the old tables have."""
    for place in names_of(kind, live):
        table, _, name = place.partition(".")
        if table in COLUMNS:
            yield table, name, live[f"{kind} {place}"]


def _variant(live: Catalog, versions: list[str] | None) -> Variant:
    """Alembic's has a table of versions, and is known without it: most of its columns are nullable."""
    usual = [
        " NOT NULL" not in definition
        for table, name, definition in _objects(live, "column")
        if (it := COLUMNS[table].get(name)) is not None and not it.nullable and it.type != "id"
    ]
    is_alembic = versions is not None or sum(usual) > len(usual) / 2
    return Variant.ALEMBIC if is_alembic else Variant.CREATE_ALL


def _revision(live: Catalog, versions: list[str] | None, variant: Variant) -> tuple[int, list[str]]:
    """The revision that the columns are of, and how Alembic's table disagrees."""
    there = (COLUMNS[table].get(name) for table, name, _ in _objects(live, "column"))
    of_columns = max((column.since for column in there if column is not None), default=0)
    stamp = f"run `alembic stamp {REVISIONS[of_columns]}`"
    if versions is None:
        lost = f"This is Alembic's schema without its `{VERSION_TABLE}`: {stamp}"
        return of_columns, [lost] if variant is Variant.ALEMBIC else []
    recorded = ", ".join(versions) or "nothing"
    if set(versions) - set(REVISIONS):
        known = f"the newest that is known is {REVISIONS[-1]}: run `alembic downgrade {REVISIONS[-1]}`"
        return of_columns, [f"{VERSION_TABLE} says {recorded}; {known}"]
    if versions != [REVISIONS[of_columns]]:
        columns = f"the columns are those of {REVISIONS[of_columns]}"
        return of_columns, [f"{VERSION_TABLE} says {recorded}, but {columns}: {stamp}"]
    return of_columns, []


Check = Iterator[tuple[bool, str]]


def _columns(live: Catalog, variant: Variant, revision: int) -> Check:
    """Yield (is_blocking, description) for each difference."""
    columns = ((table, name, it) for table, of_it in COLUMNS.items() for name, it in of_it.items())
    missing = {(table, name): it for table, name, it in columns if it.since <= revision}
    for table, name, definition in _objects(live, "column"):
        expected = missing.pop((table, name), None)
        if expected is None:
            [(there, *_)] = _COLUMN.findall(definition)
            what = f"Column {table}.{name} ({there}) is not of revision {REVISIONS[revision]}"
            yield True, f"{what}: keep what it holds elsewhere, then ALTER TABLE {table} DROP COLUMN {name}"
        else:
            yield from _column(f"{table}.{name}", definition, expected, variant)
    for (table, name), expected in missing.items():
        added = f"ALTER TABLE {table} ADD COLUMN {name} {_sql_type(expected)}"
        yield True, f"Column {table}.{name} is missing: {added}"


def _column(name: str, definition: str, expected: Column, variant: Variant) -> Check:
    [(there, null, default, made)] = _COLUMN.findall(definition)
    change = f"ALTER TABLE {name.replace('.', ' ALTER COLUMN ')}"
    yield from _type(name, there, expected, change)
    if made:
        yield True, f"Column {name} is generated: {change} DROP EXPRESSION, or DROP IDENTITY"
    elif default and _SAME.get(plain := _AROUND.sub("", default), plain) not in expected.defaults:
        yield True, f"Column {name} has the default {default}: {change} DROP DEFAULT"
    if null == "NULL" and not expected.nullable and variant is Variant.CREATE_ALL:
        yield True, f"Column {name} is nullable: {change} SET NOT NULL"


def _type(name: str, there: str, expected: Column, change: str) -> Check:
    if there != expected.type if expected.type != "id" else not _ID_TYPE.fullmatch(there):
        wanted = _sql_type(expected)
        using = f"USING {name.partition('.')[2]}::{wanted}"
        yield True, f"Column {name} is {there}, not {wanted}: {change} TYPE {wanted} {using}"
    elif expected.type == "id" and there not in _ID_TYPES:
        yield False, f"Column {name} is {there}"


def _sql_type(expected: Column) -> str:
    return "varchar(50)" if expected.type == "id" else expected.type


def _constraints(live: Catalog, revision: int) -> Check:
    keys = {table: f"PRIMARY KEY ({name})" for table, name in KEYS.items()}
    wanted = {place: key for place, key in FOREIGN_KEYS.items() if key[2] <= revision}
    for table, name, definition in _objects(live, "constraint"):
        if definition == keys.get(table):
            del keys[table]
        elif definition.startswith("FOREIGN KEY"):
            yield from _foreign_key(table, name, definition, wanted)
        elif (table, definition) != ("users", "UNIQUE (external_id)"):
            is_blocking = not definition.startswith("UNIQUE")
            drop = f": ALTER TABLE {table} DROP CONSTRAINT {name}" if is_blocking else ""
            yield is_blocking, f"Constraint {name} of {table} is not of the old schema{drop}"
    for table, key in keys.items():
        yield True, f"Table {table} has no {key}: ALTER TABLE {table} ADD {key}"
    for (table, column), (other, _, _) in wanted.items():
        yield False, f"The foreign key from {table}.{column} to {other} is missing"


def _foreign_key(table: str, name: str, definition: str, wanted: dict[tuple[str, str], tuple[str, str, int]]) -> Check:
    [(column, other, rest)] = _FOREIGN_KEY.findall(definition)
    expected, deletes, _ = wanted.pop((table, column), ("", "", 0))
    what = f"Foreign key {name} of {table}"
    if other != expected:
        yield True, f"{what} to {other} is not of the old schema: ALTER TABLE {table} DROP CONSTRAINT {name}"
    elif f"ON DELETE {deletes}" not in rest:
        yield False, f"{what} does not say ON DELETE {deletes}"
    if "NOT VALID" in rest:
        yield False, f"{what} was never validated"


def _indexes(live: Catalog) -> Check:
    """An index that the new tables will not have. One that the old ones lack is no loss, but for the logins'."""
    is_unique = False
    for table, name, definition in _objects(live, "index"):
        [(unique, columns, rest)] = _INDEX.findall(definition)
        column = columns.partition(" ")[0]  # in whatever order, or collation
        is_unique = is_unique or (table, unique, column, rest) == ("users", "UNIQUE ", "external_id", "")
        if columns not in INDEXES.get(table, ()) and f"constraint {table}.{name}" not in live:
            yield False, f"Index {name} of {table} is not of the old schema, and is not made again"
    if not is_unique:
        yield True, "Column users.external_id is not unique: ALTER TABLE users ADD UNIQUE (external_id)"
