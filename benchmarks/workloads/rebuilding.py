"""Rows anew from their logs, as after a change of the fold."""

from typing import Any, Final
from uuid import UUID

import asyncpg
import orjson

from benchmarks import replaced as old
from benchmarks.hand_log import NEW, PROJECTED, Columns, Logged, folded, turn
from benchmarks.workload import BULK, Sessions
from benchmarks.workloads.chat import moment_of
from benchmarks.world import SITE, World, identity
from veupath_store import Projector, StreamRepository, async_session_factory
from veupath_store.models import StreamProjection

_EVENTS: Final = 20
_AT_ONCE: Final = 100
"""Logs that are read in one round trip by hand."""

_WRITE: Final = """
UPDATE stream_projections p SET name = v.name, record_type = v.record_type, model_id = v.model_id,
    message_count = v.message_count, step_count = v.step_count, plan = v.plan::jsonb,
    last_event_id = v.last_event_id, updated_at = v.updated_at
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::integer[], $6::integer[], $7::text[], $8::text[],
            $9::timestamptz[])
    AS v(stream_id, name, record_type, model_id, message_count, step_count, plan, last_event_id, updated_at)
WHERE p.stream_id = v.stream_id"""


class Rebuild(Logged):
    """Very many conversations of one user, whose rows had lost all."""

    name = "rebuild of 1,000 streams"
    raw_goal = BULK
    weighed = True

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.user_id = identity("user", "rebuilt")
        self.ids: list[UUID] = []

    async def before(self, connection: asyncpg.Connection) -> None:
        if not self.ids:
            await self._fill(connection)
        await connection.execute(
            "UPDATE stream_projections SET record_type = NULL, model_id = NULL, message_count = 0, step_count = 0, "
            "plan = '{}', updated_at = '2026-01-01Z' WHERE user_id = $1",
            self.user_id,
        )

    async def _fill(self, connection: asyncpg.Connection) -> None:
        await self.forget(connection, self.user_id)
        await connection.execute("INSERT INTO users (id) VALUES ($1) ON CONFLICT DO NOTHING", self.user_id)
        async with async_session_factory() as session:
            for number in range(self.world.sizes.rebuilt):
                stream = await StreamRepository(session).create(self.user_id, SITE, name=f"Made {number}")
                self.ids.append(stream.id)
        for number, stream_id in enumerate(self.ids):
            await Projector().append(stream_id, turn(self.world, _EVENTS, f"Kinases {number}"))
            # The names are theirs by now: a rebuild finds them as they are.
            await Projector().catch_up(stream_id)

    async def raw(self, pool: asyncpg.Pool) -> object:
        rows = []
        for start in range(0, len(self.ids), _AT_ONCE):
            ids = self.ids[start : start + _AT_ONCE]
            pipe = self.redis.pipeline(transaction=False)
            for stream_id in ids:
                pipe.xrange(self.key(stream_id))
            rows += [folded(NEW, entries) for entries in await pipe.execute()]
        await pool.execute(
            _WRITE,
            self.ids,
            *([row[name] for row in rows] for name in PROJECTED[:5]),
            [orjson.dumps(row["plan"]).decode() for row in rows],
            [row["last_event_id"] for row in rows],
            [moment_of(row) for row in rows],
        )
        return len(rows)

    async def _folded(self, stream_id: UUID) -> Columns:
        new = folded(NEW, await self.redis.xrange(self.key(stream_id)))
        return {**new, "updated_at": moment_of(new)}

    async def tortoise(self) -> object:
        rows = await StreamProjection.filter(user_id=self.user_id)
        for row in rows:
            row.update_from_dict(await self._folded(row.stream_id))
        await StreamProjection.bulk_update(rows, fields=[*PROJECTED, "updated_at"], batch_size=_AT_ONCE)
        return len(rows)

    async def alchemy(self, sessions: Sessions) -> object:
        # Slow on purpose: one row at a time, each in a session of its own.
        for stream_id in self.ids:
            async with sessions() as session:
                row = await session.get(old.StreamProjection, stream_id)
                for column, value in (await self._folded(stream_id)).items():
                    setattr(row, column, value)
                await session.flush()
                await session.commit()
        return len(self.ids)

    async def ours(self) -> object:
        report = await Projector().rebuild(user_id=self.user_id)
        return sum(report.counts.values()) - len(report.refused)

    def seen(self, result: Any) -> object:  # noqa: ANN401
        return result

    async def after(self, connection: asyncpg.Connection) -> object:
        return await connection.fetch(
            f"SELECT {', '.join(PROJECTED)}, updated_at FROM stream_projections WHERE user_id = $1 ORDER BY stream_id",
            self.user_id,
        )
