"""What must be true after every step, and at the end: read past the store, and folded by the naive fold."""

import asyncio
import json
from typing import Any
from uuid import UUID

from tests.support.naive_fold import naive_fold
from veupath_store.events.entries import Entry, Position

FOREIGN_XACTS = {"77", "99999999999", "9" * 20}
"""What the machine's own events give for a transaction, beside what is no number."""

_ROWS = """
SELECT p.*, s.created_at AS born, ARRAY (SELECT g.id FROM gene_sets g WHERE g.user_id = p.user_id) AS gene_sets
FROM stream_projections p JOIN streams s ON s.id = p.stream_id ORDER BY s.created_at, s.id"""
_XACTS = "SELECT x, pg_xact_status(x::xid8) AS status FROM unnest($1::text[]) x"
COLUMNS = (
    *("name", "record_type", "wdk_strategy_id", "wdk_event_id", "is_saved", "model_id", "message_count", "step_count"),
    *("plan", "result_count", "last_event_id", "updated_at", "dismissed_at", "dismissed_reason", "gene_set_id"),
    "gene_set_auto_imported",
)


class Eyes:
    """Connections of one's own to PostgreSQL and Redis."""

    def __init__(self, connection: Any, redis: Any, prefix: str) -> None:
        self.redis = redis
        self.prefix = prefix
        self._connection = connection
        self._turn = asyncio.Lock()

    async def fetch(self, sql: str, *values: Any) -> list[Any]:
        """One statement at a time, whoever asks."""
        async with self._turn:
            return await self._connection.fetch(sql, *values)

    async def close(self) -> None:
        await self._connection.close()

    async def rows(self) -> list[dict[str, Any]]:
        """All rows, and what is needed to judge them."""
        return [{**record, "plan": json.loads(record["plan"])} for record in map(dict, await self.fetch(_ROWS))]

    def log(self, stream_id: UUID) -> list[Entry]:
        """A whole log."""
        entries = []
        for identity, fields in self.redis.xrange(self.key(stream_id)):
            ms, seq = identity.split(b"-")
            kind = fields.get(b"type", b"").decode(errors="replace")
            entries.append(Entry(Position(int(ms), int(seq)), kind, fields.get(b"data", b"")))
        return entries

    def key(self, stream_id: UUID) -> str:
        return f"{self.prefix}stream:{stream_id}"

    def logs(self) -> set[UUID]:
        """The conversations that have a log."""
        start = f"{self.prefix}stream:"
        return {UUID(key.decode().removeprefix(start)) for key in self.redis.scan_iter(match=f"{start}*", count=1_000)}

    async def undone(self, entries: list[Entry]) -> list[Position]:
        """Which entries are of transactions that were rolled back, or still run."""
        written = {entry.position: xact for entry in entries if (xact := xact_of(entry)) is not None}
        statuses = dict(await self.fetch(_XACTS, sorted(set(written.values()))))
        return [position for position, xact in written.items() if statuses[xact] != "committed"]


def xact_of(entry: Entry) -> str | None:
    """The transaction of an entry that the store has written."""
    if entry.type != "projection_patched":
        return None
    try:
        data = json.loads(entry.raw)
    except ValueError:
        return None
    xact = data.get("xact") if isinstance(data, dict) else None
    return xact if isinstance(xact, str) and xact.isascii() and xact.isdigit() and xact not in FOREIGN_XACTS else None


def position(row: dict[str, Any]) -> Position:
    return Position(*map(int, row["last_event_id"].split("-")))


async def check_rows(eyes: Eyes, rows: list[dict[str, Any]]) -> None:
    """Every row is the fold of its log up to its position, and no entry there was rolled back."""
    seen = []
    for row in rows:
        assert row["last_event_id"] is not None, f"no position: {row}"
        entries = [entry for entry in eyes.log(row["stream_id"]) if entry.position <= position(row)]
        assert entries, f"no log: {row}"
        assert entries[-1].position == position(row), f"the log lacks the row's position: {row}"
        folded = naive_fold(entries)
        if folded["gene_set_id"] not in row["gene_sets"]:
            folded["gene_set_id"] = None
        differences = {
            column: (row[column], folded[column]) for column in COLUMNS if not same(row[column], folded[column])
        }
        assert not differences, f"row and fold differ in {differences}: {row['stream_id']} {entries}"
        seen += entries
    assert not await eyes.undone(seen), "rolled back, and folded in"


def same(stored: Any, folded: Any) -> bool:
    """Equal, also in type: 1 is not True, and 1.0 not 1."""
    return json.dumps(stored, sort_keys=True, default=repr) == json.dumps(folded, sort_keys=True, default=repr)


def check_unique(rows: list[dict[str, Any]]) -> None:
    """No two conversations of a user and site have one name, or one WDK strategy."""
    names = [(row["user_id"], row["site_id"], row["name"]) for row in rows]
    links = [
        (row["user_id"], row["site_id"], row["wdk_strategy_id"]) for row in rows if row["wdk_strategy_id"] is not None
    ]
    assert len(set(names)) == len(names)
    assert len(set(links)) == len(links)


def check_forward(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> None:
    """No position went back while its conversation lived."""
    was = {(row["stream_id"], row["born"]): position(row) for row in before}
    for row in after:
        known = was.get((row["stream_id"], row["born"]))
        assert known is None or known <= position(row), f"{row['stream_id']} went back from {known}"
