"""Pruning: conversations whose strategy is gone from the WDK server are dismissed."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import asyncpg
from tortoise.timezone import now

from benchmarks import replaced as old
from benchmarks.workload import BULK, Sessions, Workload
from benchmarks.workloads.wdk import strategies
from benchmarks.world import PRUNER, SITE, World, identity
from veupath_store import StreamRepository
from veupath_store.models import StreamProjection
from veupath_store.values import DismissReason


class Prune(Workload):
    """One in ten is gone from the server; it is dismissed, not deleted."""

    name = "prune 20 of 200"
    raw_goal = BULK

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.user_id = identity("user", PRUNER)
        self.given = strategies(world.sizes.syncs[0])
        self.live = [item["wdk_strategy_id"] for number, item in enumerate(self.given) if number % 10]
        self._is_filled = False

    async def before(self, connection: asyncpg.Connection) -> None:
        if not self._is_filled:
            await StreamRepository().sync_wdk(self.user_id, SITE, self.given)
            self._is_filled = True
        await connection.execute(
            "UPDATE stream_projections SET dismissed_at = NULL, dismissed_reason = NULL "
            "WHERE user_id = $1 AND dismissed_at IS NOT NULL",
            self.user_id,
        )

    async def raw(self, pool: asyncpg.Pool) -> object:
        linked = await pool.fetch(
            "SELECT stream_id, wdk_strategy_id FROM stream_projections "
            "WHERE user_id = $1 AND site_id = $2 AND wdk_strategy_id IS NOT NULL AND dismissed_at IS NULL",
            self.user_id,
            SITE,
        )
        live = set(self.live)
        gone = sorted(row["stream_id"] for row in linked if row["wdk_strategy_id"] not in live)
        self._refuse(live, len(gone), len(linked))
        await pool.execute(
            "UPDATE stream_projections SET dismissed_at = now(), dismissed_reason = 'wdk_orphan', updated_at = now() "
            "WHERE user_id = $1 AND stream_id = ANY ($2) AND dismissed_at IS NULL",
            self.user_id,
            gone,
        )
        return gone

    async def tortoise(self) -> object:
        linked = StreamProjection.filter(user_id=self.user_id, site_id=SITE, dismissed_at=None)
        rows = await linked.filter(wdk_strategy_id__isnull=False)
        gone = _gone(rows, self.live)
        self._refuse(self.live, len(gone), len(rows))
        moment = now()
        await StreamProjection.filter(stream_id__in=gone).update(
            dismissed_at=moment, dismissed_reason=DismissReason.WDK_ORPHAN.value, updated_at=moment
        )
        return gone

    async def alchemy(self, sessions: Sessions) -> object:
        projection = old.StreamProjection
        async with sessions() as session:
            # Slow on purpose: the replaced layer loaded all rows, with their plans, and went through them.
            found = await session.scalars(
                old.sa.select(projection).where(
                    projection.user_id == self.user_id,
                    projection.site_id == SITE,
                    projection.wdk_strategy_id.is_not(None),
                    projection.dismissed_at.is_(None),
                )
            )
            rows = list(found)
            gone = _gone(rows, self.live)
            self._refuse(self.live, len(gone), len(rows))
            for row in rows:
                if row.stream_id in gone:
                    row.dismissed_at, row.dismissed_reason = now(), DismissReason.WDK_ORPHAN.value
                    await session.flush()
            await session.commit()
            return gone

    async def ours(self) -> object:
        return await StreamRepository().prune_wdk_orphans(self.user_id, SITE, self.live)

    @staticmethod
    def _refuse(live: Sequence[int] | set[int], gone: int, linked: int) -> None:
        if not live or gone > linked / 2:
            raise ValueError("the list is empty or would dismiss more than half")

    def seen(self, result: Any) -> object:  # noqa: ANN401
        return result

    async def after(self, connection: asyncpg.Connection) -> object:
        return await connection.fetch(
            "SELECT wdk_strategy_id, dismissed_reason, dismissed_at IS NOT NULL AS is_dismissed "
            "FROM stream_projections WHERE user_id = $1 ORDER BY 1",
            self.user_id,
        )


def _gone(rows: Sequence[Any], live: Sequence[int]) -> list[UUID]:
    there = set(live)
    return sorted(row.stream_id for row in rows if row.wdk_strategy_id not in there)
