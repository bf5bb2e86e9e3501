"""A turn of a chat: events in batches, as they come, and the row that follows at the end."""

from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

import asyncpg
import orjson
from tortoise.transactions import in_transaction

from benchmarks import replaced as old
from benchmarks.hand_log import PROJECTED, Columns, Logged, folded, turn
from benchmarks.workload import BULK, Sessions
from benchmarks.workloads.conversations import FREE
from benchmarks.world import SITE, World, identity
from veupath_store import Projector, StreamRepository
from veupath_store.models import StreamProjection

_LOCK: Final = f"SELECT {', '.join(PROJECTED)}, updated_at FROM stream_projections WHERE stream_id = $1 FOR UPDATE"
_WRITE: Final = f"""
WITH {FREE}
UPDATE stream_projections p SET name = free.name, record_type = $5, model_id = $6, message_count = $7, step_count = $8,
    plan = $9, last_event_id = $10, updated_at = $11
FROM free WHERE p.stream_id = $3"""


class ChatTurn(Logged):
    """200 events in 20 batches, eight of them project; then the row is brought up to date, once."""

    name = "chat turn of 200 events"
    raw_goal = BULK

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.user_id, self.stream_id = identity("user", "chatter"), uuid4()
        events = turn(world, 200, "Kinases")
        self.batches = [events[start : start + 10] for start in range(0, len(events), 10)]

    async def before(self, connection: asyncpg.Connection) -> None:
        await self.forget(connection, self.user_id)
        await connection.execute("INSERT INTO users (id) VALUES ($1) ON CONFLICT DO NOTHING", self.user_id)
        self.stream_id = (await StreamRepository().create(self.user_id, SITE)).id
        await Projector().catch_up(self.stream_id)

    async def _append(self) -> None:
        for batch in self.batches:
            await self.append(self.stream_id, batch)

    async def _folded(self, columns: Columns) -> Columns:
        entries = await self.redis.xrange(self.key(self.stream_id), min=f"({columns['last_event_id']}")
        return folded(columns, entries)

    async def raw(self, pool: asyncpg.Pool) -> object:
        await self._append()
        async with pool.acquire() as connection, connection.transaction():
            row = dict(await connection.fetchrow(_LOCK, self.stream_id))
            new = await self._folded({**row, "plan": orjson.loads(row["plan"])})
            await connection.execute(
                _WRITE,
                self.user_id,
                SITE,
                self.stream_id,
                new["name"],
                new["record_type"],
                new["model_id"],
                new["message_count"],
                new["step_count"],
                orjson.dumps(new["plan"]).decode(),
                new["last_event_id"],
                moment_of(new),
            )
        return True

    async def tortoise(self) -> object:
        await self._append()
        async with in_transaction():
            row = await StreamProjection.select_for_update().get(stream_id=self.stream_id)
            new = await self._folded({name: getattr(row, name) for name in (*PROJECTED, "updated_at")})
            same = StreamProjection.filter(user_id=self.user_id, site_id=SITE).exclude(stream_id=self.stream_id)
            new["name"] = await _free(same, new["name"])
            row.update_from_dict({**new, "updated_at": moment_of(new)})
            await row.save()
        return True

    async def alchemy(self, sessions: Sessions) -> object:
        # Slow on purpose: the replaced layer wrote the row for each event that projects, in a session of its own.
        for batch in self.batches:
            await self.append(self.stream_id, batch)
            if all(event.type == "assistant_delta" for event in batch):
                continue
            async with sessions() as session:
                row = await session.get(old.StreamProjection, self.stream_id)
                new = await self._folded({name: getattr(row, name) for name in (*PROJECTED, "updated_at")})
                if new["name"] != row.name:
                    new["name"] = await old.free_name(session, self.user_id, SITE, new["name"])
                for column in PROJECTED:
                    setattr(row, column, new[column])
                row.updated_at = moment_of(new)
                await session.flush()
                await session.commit()
        async with sessions() as session:
            row = await session.get(old.StreamProjection, self.stream_id)
            row.last_event_id = (await self._folded({"last_event_id": row.last_event_id}))["last_event_id"]
            await session.commit()
        return True

    async def ours(self) -> object:
        projector = Projector()
        for batch in self.batches:
            await projector.append(self.stream_id, batch)
        await projector.catch_up(self.stream_id)
        return True

    async def after(self, connection: asyncpg.Connection) -> object:
        row = await connection.fetchrow(
            f"SELECT {', '.join(PROJECTED)} FROM stream_projections WHERE stream_id = $1", self.stream_id
        )
        entries = await self.redis.xrange(self.key(self.stream_id))
        kinds = [(fields[b"type"], orjson.loads(fields[b"data"])) for _, fields in entries[1:]]
        is_at_the_end = row["last_event_id"] == entries[-1][0].decode()
        return [row[name] for name in PROJECTED if name != "last_event_id"], is_at_the_end, kinds


def moment_of(columns: Columns) -> datetime:
    """When the last event that set a column was appended."""
    moment = columns["updated_at"]
    return moment if isinstance(moment, datetime) else datetime.fromtimestamp(moment, UTC)


async def _free(same: Any, wanted: str) -> str:  # noqa: ANN401 - a queryset
    name, number = wanted, 0
    while await same.filter(name=name).exists():
        number += 1
        name = f"{wanted} ({number})"
    return name
