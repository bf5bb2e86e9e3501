"""What tests of projections ask of the table and of the logs, past the store."""

import json
from uuid import UUID

from tests.support.naive_fold import NEW, naive_fold
from tests.support.redis_servers import client
from veupath_store.config import StoreSettings
from veupath_store.events.entries import Entry, Event, Position

MESSAGE = Event(type="user_message", data={"content": "hello"})
DELTA = Event(type="assistant_delta", data={"delta": "x"})
COLUMNS = tuple(column for column in NEW if column != "begun")


def logged(database_url: str, redis_url: str, prefix: str, **options) -> StoreSettings:
    """Settings of a store with a log."""
    return StoreSettings(database_url=database_url, redis_url=redis_url, log_prefix=prefix, **options)


async def rows_of(connection) -> dict[UUID, str]:
    """Every row as PostgreSQL prints it: what is equal here is equal to the last byte."""
    rows = await connection.fetch("SELECT stream_id, to_jsonb(p)::text AS row FROM stream_projections p")
    return {row["stream_id"]: row["row"] for row in rows}


async def row_of(connection, stream_id: UUID) -> str:
    return (await rows_of(connection))[stream_id]


async def columns_of(connection, stream_id: UUID) -> dict:
    """What the log decides of one row."""
    row = await connection.fetchrow("SELECT * FROM stream_projections WHERE stream_id = $1", stream_id)
    return {**{column: row[column] for column in COLUMNS}, "plan": json.loads(row["plan"])}


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
            )
            for position, fields in self.redis.xrange(self.key(stream_id))
        ]

    def types(self, stream_id: UUID) -> list[str]:
        return [entry.type for entry in self.entries(stream_id)]

    def positions(self, stream_id: UUID) -> list[str]:
        return [str(entry.position) for entry in self.entries(stream_id)]

    def add(self, stream_id: UUID, kind: str, data: bytes | dict, position: str = "*") -> str:
        """Append what the store would refuse."""
        raw = data if isinstance(data, bytes) else json.dumps(data).encode()
        return self.redis.xadd(self.key(stream_id), {"op": "", "type": kind, "data": raw}, id=position).decode()

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
        """Every row is the fold of its log up to its position, and no log holds an entry of a rolled back unit."""
        rows = await connection.fetch("SELECT stream_id, last_event_id FROM stream_projections")
        xacts = set()
        for row in rows:
            stream_id, last = row["stream_id"], row["last_event_id"]
            assert await columns_of(connection, stream_id) == self.fold(stream_id, last), stream_id
            for entry in self.entries(stream_id):
                if entry.type == "projection_patched" and entry.position <= Position.parse(last):
                    xacts.add(json.loads(entry.raw).get("xact", "3"))
        aborted = await connection.fetch(
            "SELECT xact FROM unnest($1::text[]) AS xact WHERE pg_xact_status(xact::xid8) <> 'committed'", sorted(xacts)
        )
        assert aborted == []

    def close(self) -> None:
        self.redis.close()
