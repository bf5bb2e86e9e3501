"""Experiments: a save of a big document, and a list that reads none."""

from typing import Any, Final

import asyncpg
import orjson
from tortoise.timezone import now

from benchmarks import replaced as old
from benchmarks.workload import Sessions, Workload
from benchmarks.world import HEAVY, SITE, World, identity
from veupath_store import ExperimentRepository
from veupath_store.models import ExperimentRow

_SUMMARY: Final = (
    "id, user_id, site_id, name, status, batch_id, benchmark_id, is_primary, version, created_at, updated_at"
)


class Save(Workload):
    """A run saves its document again, as up to twenty times."""

    name = "experiment save, 200 KB"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.id, self.user_id = identity("experiment", 1), identity("user", HEAVY)

    async def before(self, connection: asyncpg.Connection) -> None:
        await connection.execute("UPDATE experiments SET version = 1, data = '{}' WHERE id = $1", self.id)

    async def raw(self, pool: asyncpg.Pool) -> object:
        return await pool.fetchval(
            "UPDATE experiments SET site_id = $4, name = $5, status = $6, data = $7, updated_at = now(), "
            "version = version + 1 WHERE id = $1 AND user_id = $2 AND version = $3 RETURNING version",
            self.id,
            self.user_id,
            1,
            SITE,
            "Run 1",
            "running",
            orjson.dumps(self.world.document).decode(),
        )

    async def tortoise(self) -> object:
        experiment = await ExperimentRow.get(id=self.id, user_id=self.user_id)
        experiment.site_id, experiment.name, experiment.status = SITE, "Run 1", "running"
        experiment.data, experiment.updated_at = self.world.document, now()
        experiment.version += 1
        await experiment.save()
        return experiment.version

    async def alchemy(self, sessions: Sessions) -> object:
        async with sessions() as session:
            experiment = await session.get(old.ExperimentRow, self.id)
            if experiment is None:
                experiment = old.ExperimentRow(id=self.id, user_id=self.user_id)
                session.add(experiment)
            experiment.site_id, experiment.name, experiment.status = SITE, "Run 1", "running"
            experiment.data = self.world.document
            experiment.version += 1
            await session.flush()
            await session.commit()
            return experiment.version

    async def ours(self) -> object:
        return await ExperimentRepository().save(
            self.id,
            user_id=self.user_id,
            site_id=SITE,
            name="Run 1",
            status="running",
            data=self.world.document,
            version=1,
        )

    def seen(self, result: Any) -> object:  # noqa: ANN401
        return result

    async def after(self, connection: asyncpg.Connection) -> object:
        return await connection.fetchrow(
            "SELECT site_id, name, status, data, version FROM experiments WHERE id = $1", self.id
        )


class Summaries(Workload):
    """The newest 50 on a site."""

    name = "experiment summaries"
    weighed = True
    shown = tuple(name for name in _SUMMARY.split(", ") if name != "is_primary")

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.user_id = identity("user", HEAVY)

    async def raw(self, pool: asyncpg.Pool) -> object:
        rows = await pool.fetch(
            f"SELECT {_SUMMARY} FROM experiments WHERE user_id = $1 AND site_id = $2 "
            "ORDER BY updated_at DESC, id DESC LIMIT $3",
            self.user_id,
            SITE,
            50,
        )
        return [dict(row) for row in rows]

    async def tortoise(self) -> object:
        # Whole rows, as in the sidebar.
        found = ExperimentRow.filter(user_id=self.user_id, site_id=SITE)
        return await found.order_by("-updated_at", "-id").limit(50)

    async def alchemy(self, sessions: Sessions) -> object:
        experiment = old.ExperimentRow
        async with sessions() as session:
            # Slow on purpose: the replaced layer's lists loaded every document.
            found = await session.scalars(
                old.sa.select(experiment)
                .where(experiment.user_id == self.user_id, experiment.site_id == SITE)
                .order_by(experiment.updated_at.desc(), experiment.id.desc())
                .limit(50)
            )
            return list(found)

    async def ours(self) -> object:
        return (await ExperimentRepository().page_summaries(self.user_id, SITE)).items
