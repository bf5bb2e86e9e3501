"""A new plan for a conversation."""

from typing import Any

import asyncpg
import orjson
from tortoise.timezone import now

from benchmarks import replaced as old
from benchmarks.workload import Sessions, Workload
from benchmarks.workloads.conversations import row_of
from benchmarks.world import BIG_PLANS, HEAVY, World, identity
from veupath_store import StreamRepository
from veupath_store.documents.plans import count_searches
from veupath_store.models import StreamProjection


class UpdatePlan(Workload):
    """A new plan, whole; the number of its searches goes with it."""

    name = "update a plan of 1 KB"
    owner = HEAVY

    def __init__(self, world: World, owner: int | None = None) -> None:
        super().__init__(world)
        self.stream_id = identity("stream", f"{self.owner if owner is None else owner}-2")

    @property
    def plan(self) -> dict[str, Any]:
        """The new plan."""
        return self.world.small_plan

    async def before(self, connection: asyncpg.Connection) -> None:
        await connection.execute(
            "UPDATE stream_projections SET plan = '{}', step_count = 0 WHERE stream_id = $1", self.stream_id
        )

    async def raw(self, pool: asyncpg.Pool) -> object:
        status = await pool.execute(
            "UPDATE stream_projections SET plan = $2, step_count = $3, updated_at = now() WHERE stream_id = $1",
            self.stream_id,
            orjson.dumps(self.plan).decode(),
            count_searches(self.plan),
        )
        return bool(status == "UPDATE 1")

    async def tortoise(self) -> object:
        projection = await StreamProjection.get(stream_id=self.stream_id)
        projection.plan, projection.step_count = self.plan, count_searches(self.plan)
        projection.updated_at = now()
        await projection.save(update_fields=["plan", "step_count", "updated_at"])
        return True

    async def alchemy(self, sessions: Sessions) -> object:
        async with sessions() as session:
            projection = await session.get(old.StreamProjection, self.stream_id)
            projection.plan, projection.step_count = self.plan, count_searches(self.plan)
            await session.flush()
            await session.commit()
        return True

    async def ours(self) -> object:
        await StreamRepository().update_projection(self.stream_id, plan=self.plan)
        return True

    async def after(self, connection: asyncpg.Connection) -> object:
        return await row_of(connection, self.stream_id)


class UpdateBigPlan(UpdatePlan):
    """The same with a big plan."""

    name = "update a plan of 100 KB"
    owner = BIG_PLANS

    @property
    def plan(self) -> dict[str, Any]:
        """The new plan."""
        return self.world.big_plan
