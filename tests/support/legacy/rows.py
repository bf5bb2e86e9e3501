"""Rows of the legacy tables: whole ones with a few values given, and their way into a database.

A JSON value is its text, so that a row can hold what no encoder would write.
"""

import json
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID

from tests.support.legacy.schema import NEWEST, REVISIONS, SINCE, TABLES

Row = dict[str, Any]
Rows = dict[str, list[Row]]

INFINITE = datetime.max  # noqa: DTZ901 - what the driver gives
"""What the driver writes infinity for, and reads it as."""

START = datetime(2025, 3, 1, 12, 0, 0, 123_456, tzinfo=UTC)


def identity(number: int) -> str:
    """A UUID of version 4 as text, always the same for a number."""
    return str(UUID(int=(number * 0x9E3779B97F4A7C15F39CC0605CEDC835) % 2**128, version=4))


def later(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


class World:
    """Rows by table, added one by one."""

    def __init__(self) -> None:
        self.rows: Rows = {table: [] for table in TABLES}
        self._number = count(1)

    def __repr__(self) -> str:
        return repr(self.rows)

    def _add(self, table: str, row: Row, given: Row) -> Row:
        unknown = given.keys() - row.keys()
        assert not unknown, unknown
        self.rows[table].append(row | given)
        return self.rows[table][-1]

    def _new(self) -> tuple[int, str, datetime]:
        number = next(self._number)
        return number, identity(number), later(number)

    def user(self, **given: Any) -> Row:
        number, new, at = self._new()
        return self._add("users", {"id": new, "external_id": f"user {number}", "created_at": at}, given)

    def control_set(self, **given: Any) -> Row:
        number, new, at = self._new()
        row = {
            "id": new,
            "user_id": None,
            "name": f"Controls {number}",
            "site_id": "plasmodb",
            "record_type": "transcript",
            "positive_ids": '["PF3D7_0102600", "PF3D7_0107600"]',
            "negative_ids": "[]",
            "source": "curated",
            "tags": '["drug"]',
            "provenance_notes": "From a paper.",
            "version": 1,
            "is_public": False,
            "created_at": at,
        }
        return self._add("control_sets", row, given)

    def experiment(self, **given: Any) -> Row:
        number, _, at = self._new()
        row = {
            "id": f"exp_{number:012x}",
            "site_id": "plasmodb",
            "user_id": None,
            "name": f"Run {number}",
            "status": "completed",
            "data": '{"score": 0.75, "isPrimary": false}',
            "batch_id": None,
            "benchmark_id": None,
            "created_at": at,
            "updated_at": at + timedelta(hours=1),
        }
        return self._add("experiments", row, given)

    def gene_set(self, **given: Any) -> Row:
        number, new, at = self._new()
        row = {
            "id": new,
            "user_id": None,
            "site_id": "plasmodb",
            "name": f"Genes {number}",
            "gene_ids": '["PF3D7_0203100"]',
            "source": "strategy",
            "wdk_strategy_id": number,
            "wdk_step_id": number + 1,
            "search_name": "GenesByTaxon",
            "record_type": "transcript",
            "parameters": '{"organism": "Pf"}',
            "parent_set_ids": "[]",
            "operation": None,
            "step_count": 1,
            "created_at": at,
        }
        return self._add("gene_sets", row, given)

    def stream(self, **given: Any) -> Row:
        """A stream without its projection."""
        _, new, at = self._new()
        row = {"id": new, "user_id": None, "site_id": "plasmodb", "experiment_id": None, "created_at": at}
        return self._add("streams", row, given)

    def projection(self, stream_id: str, **given: Any) -> Row:
        number, _, at = self._new()
        row = {
            "stream_id": stream_id,
            "name": f"Chat {number}",
            "record_type": "transcript",
            "is_saved": False,
            "model_id": "model-1",
            "message_count": 2,
            "step_count": 0,
            "plan": "{}",
            "steps": "[]",
            "last_event_id": f"{1_740_000_000_000 + number}-0",
            "updated_at": at,
            "site_id": "plasmodb",
            "gene_set_auto_imported": False,
            **dict.fromkeys(("wdk_strategy_id", "root_step_id", "result_count", "dismissed_at", "gene_set_id")),
        }
        return self._add("stream_projections", row, given)

    def chat(self, user_id: str | None, *, stream: Row | None = None, **given: Any) -> Row:
        """A stream with its projection, which is returned."""
        site = given.get("site_id") or "plasmodb"
        made = self.stream(**{"user_id": user_id, "site_id": site, **(stream or {})})
        return self.projection(made["id"], **given)

    def operation(self, stream_id: str | None, **given: Any) -> Row:
        number, _, at = self._new()
        row = {
            "operation_id": f"op_{number:012x}",
            "stream_id": stream_id,
            "type": "chat",
            "status": "completed",
            "created_at": at,
            "completed_at": at + timedelta(seconds=30),
        }
        return self._add("operations", row, given)


def text(value: Any) -> str:
    """A value as the replaced layer wrote it: ASCII, everything else escaped."""
    return json.dumps(value)


async def insert(connection, rows: Rows, revision: str = NEWEST) -> None:
    """Write rows, as far as the revision has their columns; constraints between tables are not looked at."""
    place = REVISIONS.index(revision)
    async with connection.transaction():
        await connection.execute("SET LOCAL session_replication_role = replica")
        for table in TABLES:
            alike = defaultdict(list)
            for row in rows[table]:
                there = {name: value for name, value in row.items() if SINCE.get((table, name), 0) <= place}
                alike[tuple(there)].append(list(there.values()))
            for columns, values in alike.items():
                places = ", ".join(f"${number}" for number in range(1, len(columns) + 1))
                await connection.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})", values)
