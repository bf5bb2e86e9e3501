"""Everything of one user at once."""

from typing import Any, Final
from uuid import UUID

import asyncpg
from tortoise.transactions import in_transaction

from benchmarks import replaced as old
from benchmarks.workload import BULK, Sessions, Workload
from benchmarks.world import PURGED, SITE, World, identity
from veupath_store import AccountRepository
from veupath_store.models import ExperimentRow, GeneSetRow, Operation, Stream, StreamProjection, User
from veupath_store.values import PurgeReport

_FILL: Final = (
    "INSERT INTO users (id) VALUES ($1) ON CONFLICT DO NOTHING",
    """
    WITH made AS (SELECT gen_random_uuid() AS id, n FROM generate_series(1, $2::int / 4) n),
    stream AS (INSERT INTO streams (id, user_id, site_id) SELECT id, $1, $3 FROM made),
    operation AS (
        INSERT INTO operations (id, user_id, stream_id, type, status)
        SELECT gen_random_uuid(), $1, id, 'chat', 'completed' FROM made
    )
    INSERT INTO stream_projections (stream_id, user_id, site_id, name) SELECT id, $1, $3, 'Strategy ' || n FROM made""",
    """
    INSERT INTO gene_sets (id, user_id, site_id, name, gene_ids)
    SELECT gen_random_uuid(), $1, $3, 'Set ' || n, '["PF3D7_1"]' FROM generate_series(1, $2::int / 8) n""",
    """
    INSERT INTO experiments (id, user_id, site_id, name, data)
    SELECT gen_random_uuid(), $1, $3, 'Run ' || n, '{}' FROM generate_series(1, $2::int / 8) n""",
)
_TABLES: Final = ("operations", "stream_projections", "streams", "gene_sets", "experiments")


class Purge(Workload):
    """A user with rows in five tables, and what goes with them; with a report by table and the conversations' ids."""

    name = "purge of 10,000 rows"
    raw_goal = BULK

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.user_id = identity("user", PURGED)

    async def before(self, connection: asyncpg.Connection) -> None:
        await connection.execute(_FILL[0], self.user_id)
        await connection.execute("DELETE FROM streams WHERE user_id = $1", self.user_id)
        for statement in _FILL[1:]:
            await connection.execute(statement, self.user_id, self.world.sizes.purged, SITE)

    async def raw(self, pool: asyncpg.Pool) -> object:
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT FROM users WHERE id = $1 FOR UPDATE", self.user_id)
            rows = await connection.fetch("SELECT id FROM streams WHERE user_id = $1", self.user_id)
            deleted = {}
            for table in _TABLES:
                status = await connection.execute(f"DELETE FROM {table} WHERE user_id = $1", self.user_id)
                deleted[table] = int(status.rpartition(" ")[2])
            # The foreign key and a trigger see to the control sets.
            await connection.execute("DELETE FROM users WHERE id = $1", self.user_id)
        return deleted, [row["id"] for row in rows]

    async def tortoise(self) -> object:
        models = {
            "operations": Operation,
            "stream_projections": StreamProjection,
            "streams": Stream,
            "gene_sets": GeneSetRow,
            "experiments": ExperimentRow,
        }
        async with in_transaction():
            await User.filter(id=self.user_id).select_for_update().get()
            ids = await Stream.filter(user_id=self.user_id).values_list("id", flat=True)
            deleted = {table: await model.filter(user_id=self.user_id).delete() for table, model in models.items()}
            await User.filter(id=self.user_id).delete()
        return deleted, ids

    async def alchemy(self, sessions: Sessions) -> object:
        models = [old.Operation, old.StreamProjection, old.Stream, old.GeneSetRow, old.ExperimentRow]
        deleted: dict[str, int] = {}
        async with sessions() as session:
            # As the replaced application did it, in its own code: the conversations' rows to know their ids, then
            # a bulk delete for each table.
            found = await session.scalars(old.sa.select(old.Stream).where(old.Stream.user_id == self.user_id))
            ids = [stream.id for stream in found]
            for model in models:
                result = await session.execute(old.sa.delete(model).where(model.user_id == self.user_id))
                deleted[model.__tablename__] = result.rowcount
            await session.execute(old.sa.delete(old.User).where(old.User.id == self.user_id))
            await session.commit()
        return deleted, ids

    async def ours(self) -> object:
        return await AccountRepository().purge(self.user_id)

    def seen(self, result: Any) -> object:  # noqa: ANN401
        deleted, ids = (result.deleted, result.stream_ids) if isinstance(result, PurgeReport) else result
        # The ids are new each time.
        return {table: deleted[table] for table in _TABLES}, len(set(ids)), all(isinstance(i, UUID) for i in ids)

    async def after(self, connection: asyncpg.Connection) -> object:
        left = " UNION ALL ".join(f"SELECT count(*) FROM {table} WHERE user_id = $1" for table in _TABLES)
        return await connection.fetch(f"{left} UNION ALL SELECT count(*) FROM users WHERE id = $1", self.user_id)
