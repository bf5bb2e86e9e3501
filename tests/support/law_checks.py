"""What must be true after every step, and at the end: read past the store, and folded by the naive fold."""

import asyncio
import json
import re
from typing import Any
from uuid import UUID

from tests.support.naive_fold import naive_fold
from tests.support.projections import COLUMNS, DOCUMENTS, OF_THE_ROW_ALONE, Logs
from tests.support.servers import until
from veupath_store.events.log.entries import Entry, Position
from veupath_store.events.project.projector import Projector
from veupath_store.events.project.worker import ProjectionWorker
from veupath_store.values import RebuildOutcome, VerifyOutcome

_ROWS = """
SELECT p.*, s.created_at AS born, ARRAY (SELECT g.id FROM gene_sets g WHERE g.user_id = p.user_id) AS gene_sets
FROM stream_projections p JOIN streams s ON s.id = p.stream_id ORDER BY s.created_at, s.id"""
_MESSAGES = ("user_message", "assistant_message")
_START = Position(0, 0)
_JSON = (*DOCUMENTS, "unlogged")


class Eyes(Logs):
    """Connections of one's own to PostgreSQL and Redis."""

    def __init__(self, connection: Any, redis_url: str, prefix: str) -> None:
        super().__init__(redis_url, prefix)
        self._connection = connection
        self._turn = asyncio.Lock()

    async def fetch(self, sql: str, *values: Any) -> list[Any]:
        """One statement at a time, whoever asks."""
        async with self._turn:
            return await self._connection.fetch(sql, *values)

    async def shut(self) -> None:
        self.close()
        await self._connection.close()

    async def rows(self) -> list[dict[str, Any]]:
        """All rows, and what is needed to judge them."""
        return [parsed(record) for record in map(dict, await self.fetch(_ROWS))]

    def keys(self, stream_id: UUID) -> list[bytes]:
        """The keys of a log's entries that have one."""
        entries = self.redis.xrange(self.key(stream_id))
        return [fields[b"key"] for _, fields in entries if b"key" in fields]

    def logs(self) -> set[UUID]:
        """The conversations that have a log."""
        start = f"{self.prefix}stream:"
        return {UUID(key.decode().removeprefix(start)) for key in self.redis.scan_iter(match=f"{start}*", count=1_000)}


def parsed(record: dict[str, Any]) -> dict[str, Any]:
    """A row with its documents as values."""
    return record | {name: json.loads(record[name] or "null") for name in _JSON}


def position(row: dict[str, Any]) -> Position:
    """Where a row stands; before everything where it has seen nothing."""
    return Position(*map(int, (row["last_event_id"] or "0-0").split("-")))


def purged(row: dict[str, Any]) -> Position:
    """Up to where a purge may have removed the log, or a restored conversation begins."""
    return Position.parse(row["messages_after"] or "0-0")


async def check_rows(eyes: Eyes, rows: list[dict[str, Any]], *, at_rest: bool = False, losses: bool = False) -> None:
    """Every row is the fold of its log up to its position, in all but its unlogged columns; at rest there are none.

    Where a log may have lost what its row has seen, nothing is said of such a row.
    """
    for row in rows:
        log = row["log"] = eyes.entries(row["stream_id"])
        keys = eyes.keys(row["stream_id"])
        assert len(keys) == len(set(keys)), f"an event is in the log twice: {row}"
        entries = [entry for entry in log if entry.position <= position(row)]
        if losses and row["last_event_id"] is not None and not (entries and entries[-1].position == position(row)):
            continue
        if at_rest:
            assert not row["unlogged"], f"not logged: {row}"
            assert entries, f"no log: {row}"
        if row["last_event_id"] is not None:
            assert entries, f"no log: {row}"
            assert entries[-1].position == position(row), f"the log lacks the row's position: {row}"
        folded = naive_fold(entries)
        if folded["gene_set_id"] not in row["gene_sets"]:
            folded["gene_set_id"] = None
        differences = {
            column: (row[column], folded[column])
            for column in COLUMNS
            if column not in row["unlogged"]
            and not (column in ("updated_at", "last_event_id") and row["unlogged"])
            and not same(row[column], folded[column])
        }
        assert not differences, f"row and fold differ in {differences}: {row['stream_id']} {entries}"
        if not any(is_forged(entry) and b'"messageCount"' in entry.raw for entry in log):
            listed = [entry for entry in entries if entry.type in _MESSAGES and entry.position > purged(row)]
            assert row["message_count"] <= len(listed), f"messages that are not listed: {row} {entries}"


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


def check_forward(eyes: Eyes, before: list[dict[str, Any]], after: list[dict[str, Any]]) -> None:
    """No position went back while its conversation lived, and no message went, unless the row says why."""
    was = {(row["stream_id"], row["born"]): row for row in before}
    for row in after:
        known = was.get((row["stream_id"], row["born"]))
        if known is None or row["lost"] != known["lost"]:
            continue
        assert position(known) <= position(row), f"{row['stream_id']} went back from {position(known)}"
        if row["messages_after"] == known["messages_after"] and row["message_count"] < known["message_count"]:
            assert any(map(is_forged, eyes.entries(row["stream_id"]))), f"{row['stream_id']} lost messages"


def check_losses(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> None:
    """A row that has left a position which its log does not hold says so; a log begins behind it, or was trimmed."""
    was = {(row["stream_id"], row["born"]): row for row in before if "log" in row}
    for row in after:
        known = was.get((row["stream_id"], row["born"]))
        if known is None or position(known) in (_START, position(row)):
            continue
        left, log = position(known), row["log"]
        if left > purged(row) and left not in {entry.position for entry in log}:
            lost = row["lost"] or {"after": "0-0", "before": "0-0"}
            assert Position.parse(lost["after"]) < left <= Position.parse(lost["before"]), f"no mark of a loss: {row}"
        held = [entry.position for entry in known["log"]]
        if log and held[:1] != [entry.position for entry in log[:1]]:
            # Trimmed, it begins with what it held.
            assert log[0].position > left or log[0].position in held, f"{row['stream_id']} begins anew: {left}: {log}"


def is_forged(entry: Entry) -> bool:
    """Whether it is a patch that the store has not written: it may replace what was counted before it."""
    return entry.type == "projection_patched" and not re.search(rb'"userId"|"[wd][0-9a-f]{16}"', entry.raw)


_SNAPSHOT = "SELECT stream_id, (to_jsonb(p) - $1::text[])::text FROM stream_projections p ORDER BY stream_id"
_RUNNING = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND backend_xid IS NOT NULL"
_SPOIL = """
UPDATE stream_projections p SET
    name = 'spoilt ' || n.number, record_type = 'spoilt', wdk_strategy_id = 1000 + n.number, messages_after = '5-5',
    unrooted_steps = '[{"id": "spoilt"}]',
    is_saved = NOT is_saved, model_id = 'spoilt', message_count = 77, step_count = 77, plan = '{"spoilt": true}',
    result_count = 77, updated_at = '1999-01-01', dismissed_at = '1999-01-01', dismissed_reason = 'purge',
    gene_set_id = NULL, gene_set_auto_imported = NOT gene_set_auto_imported
FROM (SELECT stream_id, row_number() OVER () AS number FROM stream_projections) n WHERE n.stream_id = p.stream_id"""
SPOILINGS = (
    ["DELETE FROM stream_projections"],
    [_SPOIL],
    [_SPOIL, "UPDATE stream_projections SET last_event_id = NULL"],
)


async def settle_all(eyes: Eyes) -> None:
    """The dead are dead, and the worker has done all its work, also what it does only from time to time."""

    async def rolled_back() -> bool:
        return not await eyes.fetch(_RUNNING)

    await until(rolled_back, within=10, what="transactions have ended")
    worker = ProjectionWorker()
    for _ in range(10):
        await worker.drain()
        if not await worker.sweep() and not (await worker.log.backlog()).count:
            return
    raise AssertionError("the worker does not come to an end")


async def check_end(eyes: Eyes, before: list[dict[str, Any]]) -> None:
    """The law: what is wiped and rebuilt is equal in every column that a log says."""
    await settle_all(eyes)
    rows = await eyes.rows()
    await check_rows(eyes, rows, at_rest=True)
    check_unique(rows)
    check_forward(eyes, before, rows)
    assert all(row["log"][-1].position == position(row) for row in rows), "not caught up"
    strays = {stream_id: eyes.entries(stream_id) for stream_id in eyes.logs() - {row["stream_id"] for row in rows}}
    assert not strays, f"logs of nobody: {strays}"
    assert not await eyes.fetch("SELECT FROM stream_events"), "events that were not appended"
    await check_verified(len(rows))
    wanted = await eyes.fetch(_SNAPSHOT, OF_THE_ROW_ALONE)
    for spoiling in SPOILINGS:
        for statement in spoiling:
            await eyes.fetch(statement)
        report = await Projector().rebuild()
        assert report.counts == ({RebuildOutcome.REBUILT: len(rows)} if rows else {}), report
        found = await eyes.fetch(_SNAPSHOT, OF_THE_ROW_ALONE)
        different = [(was, now) for was, now in zip(wanted, found, strict=True) if was != now]
        assert not different, f"not equal after {spoiling}: {different}"
    await check_verified(len(rows))


async def check_verified(streams: int) -> None:
    report = await Projector().verify()
    assert report.counts == ({VerifyOutcome.EQUAL: streams} if streams else {}), report
