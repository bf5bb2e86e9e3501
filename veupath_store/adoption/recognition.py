"""Which variant of the old schema stands in a database, at which revision; anything else is refused by name."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from veupath_store.adoption import catalog
from veupath_store.adoption.catalog import Found, Place
from veupath_store.adoption.legacy import (
    COLUMNS,
    FOREIGN_KEYS,
    INDEXES,
    KEYS,
    REVISIONS,
    TABLES,
    VERSION_TABLE,
    Column,
    columns_at,
)
from veupath_store.adoption.values import Variant
from veupath_store.errors import AdoptionRefusedError

_ID_TYPE: Final = re.compile(r"character(?: varying)?\(\d+\)|character varying|text")
_ID_TYPES: Final = {f"character varying({width})" for width in (32, 36, 50)} | {"character(36)"}
_CAST: Final = re.compile(r"::[a-z ]+(?:\(\d+\))?$")
_DELETES: Final = {"SET NULL": "n", "CASCADE": "c"}
_SAME: Final = {"CURRENT_TIMESTAMP": "now()", "transaction_timestamp()": "now()"}
_UNIQUE: Final = ("users", ["external_id"])

POOLED: Final = "This looks like a PgBouncer: set MIGRATION_DATABASE_URL to a URL that does not go through it"
"""Why no adoption is tried."""


@dataclass(frozen=True, kw_only=True)
class Recognised:
    """What stands in the database.

    Attributes:
        variant: Who made the tables.
        revision: The place of the revision in `REVISIONS`.
        schema: Where the tables stand, quoted where it needs that.
        tolerated: Differences that do not matter.
        versioned: Whether there is a table ``alembic_version``.
    """

    variant: Variant
    revision: int
    schema: str
    tolerated: list[str]
    versioned: bool


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
    found = await catalog.read(connection, place)
    variant = _variant(found)
    revision, refused = _revision(found, variant)
    tolerated: list[str] = []
    for check in (_columns(found, variant, revision), _constraints(found, revision), _indexes(found)):
        for matters, difference in check:
            (refused if matters else tolerated).append(difference)
    for row in found.dependent:
        (refused if row["follows"] else tolerated).append(f"{row['what'][0].upper()}{row['what'][1:]}: {row['remedy']}")
    _refuse([*refused, *found.obstacles])
    return Recognised(
        variant=variant,
        revision=revision,
        schema=place.schema,
        tolerated=tolerated,
        versioned=found.versions is not None,
    )


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


def _variant(found: Found) -> Variant:
    """Alembic's has a table of versions, and is known without it: most of its columns are nullable."""
    usual = [
        row["nullable"]
        for row in found.columns
        if (it := COLUMNS[row["table"]].get(row["name"])) is not None and not it.nullable and it.type != "id"
    ]
    is_alembic = found.versions is not None or sum(usual) > len(usual) / 2
    return Variant.ALEMBIC if is_alembic else Variant.CREATE_ALL


def _revision(found: Found, variant: Variant) -> tuple[int, list[str]]:
    """The revision that the columns are of, and how Alembic's table disagrees."""
    there = {(row["table"], row["name"]) for row in found.columns}
    added = {number: _added(number) for number in range(1, len(REVISIONS))}
    of_columns = max((number for number in added if added[number] & there), default=0)
    stamp = f"run `alembic stamp {REVISIONS[of_columns]}`"
    if found.versions is None:
        lost = f"This is Alembic's schema without its `{VERSION_TABLE}`: {stamp}"
        return of_columns, [lost] if variant is Variant.ALEMBIC else []
    recorded = ", ".join(found.versions) or "nothing"
    if set(found.versions) - set(REVISIONS):
        known = f"the newest that is known is {REVISIONS[-1]}: run `alembic downgrade {REVISIONS[-1]}`"
        return of_columns, [f"{VERSION_TABLE} says {recorded}; {known}"]
    if found.versions != [REVISIONS[of_columns]]:
        columns = f"the columns are those of {REVISIONS[of_columns]}"
        return of_columns, [f"{VERSION_TABLE} says {recorded}, but {columns}: {stamp}"]
    return of_columns, []


def _added(revision: int) -> set[tuple[str, str]]:
    return {
        (table, name) for table in TABLES for name, it in columns_at(table, revision).items() if it.since == revision
    }


Check = Iterator[tuple[bool, str]]


def _columns(found: Found, variant: Variant, revision: int) -> Check:
    """Yield (is_blocking, description) for each difference."""
    there: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    for row in found.columns:
        there[row["table"]][row["name"]] = row
    for table in TABLES:
        expected = columns_at(table, revision)
        for name in expected.keys() - there[table].keys():
            added = f"ALTER TABLE {table} ADD COLUMN {name} {_sql_type(expected[name])}"
            yield True, f"Column {table}.{name} is missing: {added}"
        for name, row in there[table].items():
            if name not in expected:
                what = f"Column {table}.{name} ({row['type']}) is not of revision {REVISIONS[revision]}"
                yield True, f"{what}: keep what it holds elsewhere, then ALTER TABLE {table} DROP COLUMN {name}"
            else:
                yield from _column(f"{table}.{name}", row, expected[name], variant)


def _column(name: str, row: Any, expected: Column, variant: Variant) -> Check:  # noqa: ANN401 - a record
    change = f"ALTER TABLE {name.replace('.', ' ALTER COLUMN ')}"
    yield from _type(name, row["type"], expected, change)
    if row["made"]:
        yield True, f"Column {name} is generated: {change} DROP EXPRESSION, or DROP IDENTITY"
    elif row["default"] is not None and _value(row["default"]) not in expected.defaults:
        yield True, f"Column {name} has the default {row['default']}: {change} DROP DEFAULT"
    if row["nullable"] and not expected.nullable and variant is Variant.CREATE_ALL:
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


def _value(default: str) -> str:
    """A default's value without casts and quotes."""
    plain = default
    while True:
        shorter = _CAST.sub("", plain.removeprefix("(").removesuffix(")") if plain.startswith("(") else plain)
        if shorter == plain:
            break
        plain = shorter
    return _SAME.get(plain, plain.strip("'"))


def _constraints(found: Found, revision: int) -> Check:
    keys = {table: [name] for table, name in KEYS.items()}
    wanted = {place: key for place, key in FOREIGN_KEYS.items() if key[2] <= revision}
    for row in found.constraints:
        table, name, kind, columns = row["table"], row["name"], row["type"], list(row["columns"] or ())
        if kind == "p" and columns == keys.get(table):
            del keys[table]
        elif kind == "f":
            yield from _foreign_key(row, wanted.pop((table, columns[0]), None) if len(columns) == 1 else None)
        elif (kind, table, columns) != ("u", *_UNIQUE):
            drop = f": ALTER TABLE {table} DROP CONSTRAINT {name}" if kind != "u" else ""
            yield kind != "u", f"Constraint {name} of {table} is not of the old schema{drop}"
    for table, columns in keys.items():
        key = f"({', '.join(columns)})"
        yield True, f"The primary key of {table} is not {key}: ALTER TABLE {table} ADD PRIMARY KEY {key}"
    for (table, column), (other, _, _) in wanted.items():
        yield False, f"The foreign key from {table}.{column} to {other} is missing"
    if not _is_unique(found):
        yield True, "Column users.external_id is not unique: ALTER TABLE users ADD UNIQUE (external_id)"


def _is_unique(found: Found) -> bool:
    """Whether no two users can have one external id: by a constraint, or by an index."""
    whole = (row for row in found.indexes if row["unique"] and row["valid"])
    plain = (row for row in whole if not row["partial"] and not row["computed"])
    named = (row for row in found.constraints if row["type"] == "u")
    return any((row["table"], list(row["columns"])) == _UNIQUE for row in (*plain, *named))


def _foreign_key(row: Any, wanted: tuple[str, str, int] | None) -> Check:  # noqa: ANN401
    table, name, other = row["table"], row["name"], row["refers"].rpartition(".")[2]
    if wanted is None or other != wanted[0]:
        what = f"Foreign key {name} of {table} to {other} is not of the old schema"
        yield True, f"{what}: ALTER TABLE {table} DROP CONSTRAINT {name}"
    elif row["deletes"] != _DELETES[wanted[1]]:
        yield False, f"Foreign key {name} of {table} does not say ON DELETE {wanted[1]}"
    if not row["valid"]:
        yield False, f"Foreign key {name} of {table} was never validated"


def _indexes(found: Found) -> Check:
    """An index that the new tables will not have. One that the old ones lack is no loss."""
    for row in found.indexes:
        if (row["table"], tuple(row["columns"] or ())) not in INDEXES:
            yield False, f"Index {row['name']} of {row['table']} is not of the old schema, and is not made again"
