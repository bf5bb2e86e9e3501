"""Which variant of the old schema stands in a database, at which revision; anything else is refused by name."""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from veupath_store.adoption import catalog
from veupath_store.adoption.catalog import Found
from veupath_store.adoption.legacy import (
    FOREIGN_KEYS,
    INDEXES,
    KEYS,
    REVISIONS,
    SCHEMA,
    TABLES,
    VERSION_TABLE,
    Column,
    columns_at,
)
from veupath_store.adoption.values import Variant
from veupath_store.catalog import expected_catalog
from veupath_store.errors import AdoptionRefusedError

_ID_TYPE: Final = re.compile(r"character(?: varying)?\(\d+\)|character varying|text")
_ID_TYPES: Final = {f"character varying({width})" for width in (32, 36, 50)} | {"character(36)"}
_CAST: Final = re.compile(r"::[a-z ]+(?:\(\d+\))?$")
_DELETES: Final = {"SET NULL": "n", "CASCADE": "c"}
_SAME: Final = {"CURRENT_TIMESTAMP": "now()", "transaction_timestamp()": "now()"}
_UNIQUE: Final = ("users", ["external_id"])


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

    Raises:
        AdoptionRefusedError: It is none of the known ones; the error lists all that differs.
    """
    found = await catalog.read(connection, _names())
    refused = [*_place(found), *_tables(found)]
    if refused:
        raise AdoptionRefusedError(refused)
    variant = Variant.ALEMBIC if found.versions is not None else Variant.CREATE_ALL
    revision, refused = _revision(found)
    tolerated: list[str] = []
    for check in (_columns, _constraints, _indexes):
        for matters, difference in check(found, variant, revision):
            (refused if matters else tolerated).append(difference)
    refused.extend(f"{what}: adoption would move it away from the application" for what in found.foreign)
    refused.extend(f"{name} is there already; the store makes it" for name in found.taken)
    if refused:
        raise AdoptionRefusedError(refused)
    return Recognised(
        variant=variant,
        revision=revision,
        schema=found.schema,
        tolerated=tolerated,
        versioned=found.versions is not None,
    )


def _names() -> list[str]:
    """The names that the store's own relations and functions need."""
    kinds = ("table", "index", "sequence", "function")
    every = (entry.partition(" ") for entry in expected_catalog())
    return [name for kind, _, name in every if kind in kinds]


def _place(found: Found) -> Iterator[str]:
    if found.place["kept"]:
        yield f"schema {SCHEMA} is there already, without the record of an adoption"
    if found.place["encoding"] != "UTF8":
        yield f"the database's encoding is {found.place['encoding']}; UTF8 is needed"
    if not found.place["may_create"]:
        yield "the role may not make a schema: GRANT CREATE ON DATABASE … to it"


def _tables(found: Found) -> Iterator[str]:
    for name in TABLES:
        if name not in found.tables:
            yield f"table {name} is missing in schema {found.schema}, where the store would make its own"
    for name, table in found.tables.items():
        if table["kind"] != "r" or table["persistence"] != "p":
            yield f"{name} is no ordinary table"
        if table["inherits"]:
            yield f"table {name} takes part in inheritance"
        if table["guarded"]:
            yield f"table {name} has row level security"
        if not table["owned"]:
            yield f"table {name} belongs to a role that this one is no member of"


def _revision(found: Found) -> tuple[int, list[str]]:
    """The revision that the columns tell, and in what the recorded one disagrees."""
    there = {(row["table"], row["name"]) for row in found.columns}
    newest = len(REVISIONS) - 1
    added = {number: _added(number) for number in range(1, newest + 1)}
    told = max((number for number in added if added[number] & there), default=0)
    if found.versions is None:
        return told, []
    if len(found.versions) != 1 or found.versions[0] not in REVISIONS:
        names = ", ".join(found.versions) or "nothing"
        return told, [f"{VERSION_TABLE} says {names}; known are {', '.join(REVISIONS)}"]
    recorded = REVISIONS.index(found.versions[0])
    if recorded != told:
        return told, [f"{VERSION_TABLE} says {REVISIONS[recorded]}, but the columns are those of {REVISIONS[told]}"]
    return told, []


def _added(revision: int) -> set[tuple[str, str]]:
    return {
        (table, name) for table in TABLES for name, it in columns_at(table, revision).items() if it.since == revision
    }


Check = Iterator[tuple[bool, str]]


def _columns(found: Found, variant: Variant, revision: int) -> Check:
    """Whether it matters, and what differs."""
    there: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    for row in found.columns:
        there[row["table"]][row["name"]] = row
    for table in TABLES:
        expected = columns_at(table, revision)
        for name in expected.keys() - there[table].keys():
            yield True, f"column {table}.{name} is missing"
        for name, row in there[table].items():
            if name not in expected:
                yield True, f"column {table}.{name} ({row['type']}) is not of revision {REVISIONS[revision]}"
            else:
                yield from _column(f"{table}.{name}", row, expected[name], variant)


def _column(name: str, row: Any, expected: Column, variant: Variant) -> Check:  # noqa: ANN401 - a record
    yield from _type(name, row["type"], expected)
    if row["made"]:
        yield True, f"column {name} is generated"
    elif row["default"] is not None and _value(row["default"]) not in expected.defaults:
        yield True, f"column {name} has the default {row['default']}"
    if row["nullable"] and not expected.nullable and variant is Variant.CREATE_ALL:
        yield True, f"column {name} is nullable"
    if not row["nullable"] and expected.nullable:
        yield False, f"column {name} is NOT NULL"


def _type(name: str, there: str, expected: Column) -> Check:
    if expected.type != "id":
        if there != expected.type:
            yield True, f"column {name} is {there}, not {expected.type}"
    elif not _ID_TYPE.fullmatch(there):
        yield True, f"column {name} is {there}; an id is text"
    elif there not in _ID_TYPES:
        yield False, f"column {name} is {there}"


def _value(default: str) -> str:
    """A default's value without casts and quotes."""
    plain = default
    while True:
        shorter = _CAST.sub("", plain.removeprefix("(").removesuffix(")") if plain.startswith("(") else plain)
        if shorter == plain:
            break
        plain = shorter
    return _SAME.get(plain, plain.strip("'"))


def _constraints(found: Found, variant: Variant, revision: int) -> Check:
    del variant
    keys = {table: [name] for table, name in KEYS.items()}
    wanted = {place: key for place, key in FOREIGN_KEYS.items() if key[2] <= revision}
    for row in found.constraints:
        table, name, kind, columns = row["table"], row["name"], row["type"], list(row["columns"] or ())
        if kind == "p" and columns == keys.get(table):
            del keys[table]
        elif kind == "f":
            yield from _foreign_key(row, wanted.pop((table, columns[0]), None) if len(columns) == 1 else None)
        elif (kind, table, columns) != ("u", *_UNIQUE):
            yield kind != "u", f"constraint {name} of {table} is not of the old schema"
    for table, columns in keys.items():
        yield True, f"the primary key of {table} is not ({', '.join(columns)})"
    for (table, column), (other, _, _) in wanted.items():
        yield False, f"the foreign key from {table}.{column} to {other} is missing"
    if not _is_unique(found):
        yield True, "users.external_id is not unique"


def _is_unique(found: Found) -> bool:
    """Whether no two users can have one external id: by a constraint, or by an index."""
    plain = (row for row in found.indexes if row["unique"] and not row["partial"] and not row["computed"])
    named = (row for row in found.constraints if row["type"] == "u")
    return any((row["table"], list(row["columns"])) == _UNIQUE for row in (*plain, *named))


def _foreign_key(row: Any, wanted: tuple[str, str, int] | None) -> Check:  # noqa: ANN401
    table, name, other = row["table"], row["name"], row["refers"].rpartition(".")[2]
    if wanted is None or other != wanted[0]:
        yield True, f"foreign key {name} of {table} to {other} is not of the old schema"
    elif row["deletes"] != _DELETES[wanted[1]]:
        yield False, f"foreign key {name} of {table} does not say ON DELETE {wanted[1]}"
    if not row["valid"]:
        yield False, f"foreign key {name} of {table} was never validated"


def _indexes(found: Found, variant: Variant, revision: int) -> Check:
    del variant
    wanted = {place for place, since in INDEXES.items() if since <= revision}
    for row in found.indexes:
        place = (row["table"], tuple(row["columns"] or ()))
        if place in wanted:
            wanted.discard(place)
        else:
            yield False, f"index {row['name']} of {row['table']} is not of the old schema"
    for table, columns in sorted(wanted):
        yield False, f"the index of {table} on ({', '.join(columns)}) is missing"
