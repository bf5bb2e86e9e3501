"""A legacy database read before, the adopted one read after, and every value compared."""

from collections import defaultdict
from typing import Any
from uuid import UUID

import asyncpg

from tests.support.legacy.claims import preference
from tests.support.legacy.documents import Read
from tests.support.legacy.expected import Expected
from tests.support.legacy.rows import Rows
from tests.support.legacy.schema import TABLES

NAME_WIDTH = 255
OURS = {
    "control_sets": ("positive_ids", "negative_ids", "tags"),
    "experiments": ("data",),
    "gene_sets": ("gene_ids", "parameters", "parent_set_ids"),
    "stream_projections": ("plan", "unrooted_steps", "unlogged"),
}
"""JSON columns of the adopted tables."""

# PostgreSQL makes these out of the others.
_GENERATED = {"gene_count", "positive_count", "negative_count"}


async def read_legacy(connection: asyncpg.Connection, schema: str = "public") -> Rows:
    """All rows, JSON as its text, ids without the padding of CHAR columns."""
    return {table: await _rows(connection, f"{schema}.{table}") for table in TABLES}


async def _rows(connection: asyncpg.Connection, table: str) -> list[dict[str, Any]]:
    statement = await connection.prepare(f"SELECT * FROM {table} ORDER BY 1, 2, 3")
    padded = {column.name for column in statement.get_attributes() if column.type.name == "bpchar"}
    return [
        {name: value.rstrip(" ") if name in padded and value is not None else value for name, value in row.items()}
        for row in await statement.fetch()
    ]


async def read_adopted(connection: asyncpg.Connection) -> dict[str, dict[Any, dict[str, Any]]]:
    """All rows of the adopted tables by their ids, JSON parsed."""
    found: dict[str, dict[Any, dict[str, Any]]] = {}
    for table in (*TABLES, "document_ids"):
        key = "stream_id" if table == "stream_projections" else "id"
        found[table] = {}
        for row in await _rows(connection, table):
            new = row.pop(key)
            new = (row["kind"], new) if table == "document_ids" else new
            for name in OURS.get(table, ()):
                row[name] = None if row[name] is None else Read(row[name]).value
            if table == "stream_projections":
                row["unlogged"] = sorted(row["unlogged"])
            assert new not in found[table], (table, new)
            found[table][new] = {name: value for name, value in row.items() if name not in _GENERATED}
    return found


async def mistakes(connection: asyncpg.Connection, legacy: Rows, report: Any, adopted: Any = None) -> list[str]:
    """Everything in which the adopted database, or what was told of it, is not what it must be."""
    expected = Expected(legacy, report.adopted_at)
    adopted = adopted or await read_adopted(connection)
    found = []
    chats = "stream_projections"
    names = {new: row["name"] for new, row in expected.rows[chats].items()}
    for row in expected.rows[chats].values():
        row["name"] = None
    given = {new: row["name"] for new, row in adopted[chats].items()}
    unnamed = {new: {**row, "name": None} for new, row in adopted[chats].items()}
    for table, rows in expected.rows.items():
        there = unnamed if table == chats else adopted[table]
        found.extend(f"{table}: {new} is missing" for new in rows.keys() - there.keys())
        found.extend(f"{table}: {new} is new" for new in there.keys() - rows.keys())
        for new in rows.keys() & there.keys():
            found.extend(f"{table} {new}: {difference}" for difference in _differences(rows[new], there[new]))
    if not found:
        found = _name_mistakes(expected, names, given)
    found += expected.deviations.mistakes(report.problems)
    found += await _record_mistakes(connection, expected, report)
    return found


def _differences(wanted: dict[str, Any], row: dict[str, Any]) -> list[str]:
    return [
        f"{name} is {row.get(name, '(no such column)')!r:.300}, not {wanted.get(name, '(unexpected)')!r:.300}"
        for name in sorted(wanted.keys() | row.keys())
        if name not in wanted or name not in row or wanted[name] != row[name]
    ]


def _name_mistakes(expected: Expected, names: dict[UUID, str], given: dict[UUID, str]) -> list[str]:
    """The preferred conversation keeps its name; the others get the smallest free number. Notes who was renamed."""
    texts = {new: text for text, new in expected.ids["streams"].own.items()}
    chats, projections = (
        expected.rows["stream_projections"],
        {row["stream_id"] for row in expected.legacy["stream_projections"]},
    )
    sites: dict[Any, list[UUID]] = defaultdict(list)
    for new, chat in chats.items():
        sites[chat["user_id"], chat["site_id"]].append(new)
    found = []
    for group in sites.values():
        group.sort(key=lambda new: preference(new, chats[new]))
        taken = {given[new] for new in group}
        if len(taken) < len(group):
            found.append(f"names are there twice: {sorted(given[new] for new in group)}")
        kept: set[str] = set()
        for new in group:
            name = names[new]
            if name in kept:
                table = "stream_projections" if texts[new] in projections else "streams stream_projections"
                found.extend(_number_mistake(name, given[new], taken))
                for place in table.split():
                    expected.deviations.add(place, texts[new], "duplicate_name", needed=" " not in table)
            elif given[new] != name:
                found.append(f"{new} lost its name {name!r} for {given[new]!r}")
            kept.add(name)
    return found


def _number_mistake(name: str, given: str, taken: set[str]) -> list[str]:
    for number in range(1, len(taken) + 2):
        suffix = f" ({number})"
        wanted = name[: NAME_WIDTH - len(suffix)] + suffix
        if given == wanted:
            return []
        if wanted not in taken:
            break
    return [f"{name!r} became {given!r}, but {wanted!r} was free"]


async def _record_mistakes(connection: asyncpg.Connection, expected: Expected, report: Any) -> list[str]:
    """What is kept beside the old tables."""
    found = []
    if await connection.fetchval("SELECT count(*) FROM veupath_legacy.problems") != len(report.problems):
        found.append("the problems that are kept are not those of the report")
    rows = {table: len(expected.legacy[table]) for table in TABLES}
    if dict(report.rows) != rows:
        found.append(f"rows: {report.rows}, not {rows}")
    written = {table: len(made) for table, made in expected.rows.items() if made}
    if {table: count for table, count in report.written.items() if count} != written:
        found.append(f"written: {report.written}, not {written}")
    return found
