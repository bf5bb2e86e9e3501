"""The event log by hand: redis-py and as little of a fold as the benchmark's events need."""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias
from uuid import UUID

import asyncpg
import orjson

from benchmarks.workload import Workload
from benchmarks.world import World
from veupath_store import Event
from veupath_store.documents.plans import count_searches
from veupath_store.events.log.scripts import BEHIND

Columns: TypeAlias = dict[str, Any]
Entries: TypeAlias = Sequence[tuple[bytes, Mapping[bytes, bytes]]]

PROJECTED: Final = ("name", "record_type", "model_id", "message_count", "step_count", "plan", "last_event_id")
"""What the events here decide, in the order of the statements."""

NEW: Final[Columns] = {
    "name": "New Conversation",
    "record_type": None,
    "model_id": None,
    "message_count": 0,
    "step_count": 0,
    "plan": {},
    "last_event_id": None,
    "updated_at": None,
}


def turn(world: World, events: int, name: str) -> list[Event]:
    """A chat turn: token deltas, and eight events among them that project, spread out."""
    plan = world.small_plan
    projecting = [
        Event(type="user_message", data={"messageId": "m1", "content": "Find kinases. " * 10}),
        Event(type="model_selected", data={"modelId": "model-1"}),
        Event(type="graph_plan", data={"plan": plan, "recordType": "transcript"}),
        Event(type="strategy_meta", data={"name": name, "recordType": "transcript"}),
        Event(type="graph_plan", data={"plan": plan}),
        Event(type="assistant_message", data={"messageId": "m2", "content": "I look for them. " * 20}),
        Event(type="graph_plan", data={"plan": plan}),
        Event(type="assistant_message", data={"messageId": "m3", "content": "I found them. " * 80}),
    ]
    every = max(1, events // len(projecting))
    return [
        projecting[number // every]
        if number % every == 0 and number // every < len(projecting)
        else Event(type="assistant_delta", data={"messageId": "m1", "content": f" token {number}"})
        for number in range(events)
    ]


def folded(columns: Columns, entries: Entries) -> Columns:
    """The columns after some entries; only what stands in `turn`, and the creation, is known here."""
    columns = dict(columns)
    for position, fields in entries:
        columns["last_event_id"] = position.decode()
        kind = fields[b"type"]
        if kind == b"assistant_delta":
            continue
        columns["updated_at"] = int(position.partition(b"-")[0]) / 1_000
        data = orjson.loads(fields[b"data"])
        if kind in {b"user_message", b"assistant_message"}:
            columns["message_count"] += 1
        elif kind == b"model_selected":
            columns["model_id"] = data["modelId"]
        elif kind == b"graph_plan":
            columns["plan"], columns["step_count"] = data["plan"], count_searches(data["plan"])
        if kind in {b"graph_plan", b"strategy_meta", b"projection_patched"}:
            columns["name"] = data.get("name", columns["name"])
            columns["record_type"] = data.get("recordType", columns["record_type"])
    return columns


class Logged(Workload):
    """One whose conversations have logs in Redis.

    Attributes:
        redis: redis-py's client, for those who do it by hand.
        prefix: What the keys begin with.
    """

    redis: Any = None
    prefix: str = ""

    def key(self, stream_id: UUID) -> str:
        """The key of a conversation's log."""
        return f"{self.prefix}stream:{stream_id}"

    async def append(self, stream_id: UUID, events: Iterable[Event]) -> None:
        """Append some events in one round trip, all or none, and mark the conversation where one projects."""
        pipe, marked = self.redis.pipeline(transaction=True), False
        for event in events:
            fields = {"op": "", "type": event.type, "data": orjson.dumps(event.data)}
            pipe.xadd(self.key(stream_id), fields, nomkstream=True)
            marked = marked or event.type != "assistant_delta"
        if marked:
            pipe.zadd(f"{self.prefix}{BEHIND}", {str(stream_id): time.time() * 1_000})
        await pipe.execute()

    async def forget(self, connection: asyncpg.Connection, user_id: UUID) -> None:
        """Remove a user's conversations, and their logs."""
        rows = await connection.fetch("DELETE FROM streams WHERE user_id = $1 RETURNING id", user_id)
        if rows:
            await self.redis.unlink(*(self.key(row["id"]) for row in rows))
            await self.redis.zrem(f"{self.prefix}{BEHIND}", *(str(row["id"]) for row in rows))
