"""What tests of projections ask of the table and of the logs, past the store."""

import asyncio
import json
from uuid import UUID

from tests.support.naive_fold import NEW, naive_fold
from tests.support.redis_servers import client
from veupath_store.config import StoreSettings
from veupath_store.events.log.entries import Entry, Event, Position
from veupath_store.events.project.projector import Projector
from veupath_store.events.project.worker import ProjectionWorker
from veupath_store.repositories import StreamRepository

MESSAGE = Event(type="user_message", data={"content": "hello"})
DELTA = Event(type="assistant_delta", data={"delta": "x"})
COLUMNS = tuple(column for column in NEW if column != "begun")
DOCUMENTS = ("plan", "unrooted_steps", "lost")


def logged(database_url: str, redis_url: str, prefix: str, **options) -> StoreSettings:
    """Settings of a store with a log, which is brought up to date when a test says so."""
    options = {"catch_up": False, **options}
    return StoreSettings(database_url=database_url, redis_url=redis_url, log_prefix=prefix, **options)


async def new_streams(user, number: int) -> list[UUID]:
    """Conversations at rest, each with a message that its row has seen, in the order in which they are caught up."""
    made = sorted([(await StreamRepository().create(user.id, "plasmodb")).id for _ in range(number)])
    for stream in made:
        await Projector().append(stream, [MESSAGE])
        await Projector().catch_up(stream)
    return made


async def at_rest() -> None:
    """Catch up until nothing is left: what one conversation claims, another one has to write into its log."""
    worker = ProjectionWorker()
    async with asyncio.timeout(60):
        while await worker.drain() or await worker.sweep():
            pass


OF_THE_ROW_ALONE = ("wdk_name", "wdk_name_of", "plan_version")
"""Columns that no log says: a row that is made anew has seen nothing, and a plan that is set anew is another one."""


async def rows_of(connection) -> dict[UUID, str]:
    """Every row as PostgreSQL prints it: what is equal here is equal to the last byte.

    Without `OF_THE_ROW_ALONE`.
    """
    rows = await connection.fetch(
        "SELECT stream_id, (to_jsonb(p) - $1::text[])::text AS row FROM stream_projections p", OF_THE_ROW_ALONE
    )
    return {row["stream_id"]: row["row"] for row in rows}


async def row_of(connection, stream_id: UUID) -> str:
    return (await rows_of(connection))[stream_id]


async def columns_of(connection, stream_id: UUID) -> dict:
    """What the log decides of one row."""
    return _columns(await connection.fetchrow("SELECT * FROM stream_projections WHERE stream_id = $1", stream_id))


def _columns(row) -> dict:
    documents = {column: json.loads(row[column] or "null") for column in DOCUMENTS}
    return {**{column: row[column] for column in COLUMNS}, **documents}


async def unlogged_of(connection, stream_id: UUID) -> set[str]:
    """Which columns of a row are not in its log yet."""
    found = await connection.fetchval("SELECT unlogged FROM stream_projections WHERE stream_id = $1", stream_id)
    return set(json.loads(found))


class Logs:
    """The logs of one prefix, read and harmed with a client of one's own."""

    def __init__(self, redis_url: str, prefix: str) -> None:
        self.prefix = prefix
        self.redis = client(redis_url)

    def key(self, stream_id: UUID) -> str:
        return f"{self.prefix}stream:{stream_id}"

    def entries(self, stream_id: UUID) -> list[Entry]:
        return [
            Entry(
                Position.parse(position.decode()),
                fields.get(b"type", b"").decode(errors="replace"),
                fields.get(b"data", b""),
                fields.get(b"op", b"").decode(errors="replace"),
            )
            for position, fields in self.redis.xrange(self.key(stream_id))
        ]

    def types(self, stream_id: UUID) -> list[str]:
        return [entry.type for entry in self.entries(stream_id)]

    def positions(self, stream_id: UUID) -> list[str]:
        return [str(entry.position) for entry in self.entries(stream_id)]

    def add(self, stream_id: UUID, kind: str, data: bytes | dict, position: str = "*", operation: str = "") -> str:
        """Append what the store would refuse."""
        raw = data if isinstance(data, bytes) else json.dumps(data).encode()
        return self.redis.xadd(self.key(stream_id), {"op": operation, "type": kind, "data": raw}, id=position).decode()

    def delete(self, stream_id: UUID, *positions: str) -> None:
        self.redis.xdel(self.key(stream_id), *positions)

    def fold(self, stream_id: UUID, upto: str | None = None) -> dict:
        """What plain Python makes of a log."""
        entries = self.entries(stream_id)
        if upto is not None:
            entries = [entry for entry in entries if entry.position <= Position.parse(upto)]
        row = naive_fold(entries)
        return {column: row[column] for column in COLUMNS}

    async def assert_explain(self, connection) -> None:
        """Every row is the fold of its log up to its position, in all but the columns that are not logged yet."""
        for row in await connection.fetch("SELECT * FROM stream_projections"):
            unlogged = set(json.loads(row["unlogged"]))
            skipped = unlogged | ({"updated_at"} if unlogged else set())
            stored, folded = _columns(row), self.fold(row["stream_id"], row["last_event_id"] or "0-0")
            compared = [column for column in COLUMNS if column not in skipped]
            different = {c: (stored[c], folded[c]) for c in compared if stored[c] != folded[c]}
            assert different == {}, f"{row['stream_id']} at {row['last_event_id']}: {different}"

    def close(self) -> None:
        self.redis.close()
