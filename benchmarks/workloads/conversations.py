"""One conversation: opened, made, renamed."""

from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg
import orjson
from tortoise.timezone import now
from tortoise.transactions import in_transaction

from benchmarks import replaced as old
from benchmarks.workload import Sessions, Workload
from benchmarks.world import BIG_PLANS, HEAVY, NAMER, SITE, World, identity
from veupath_store import StreamRepository
from veupath_store.models import Stream, StreamProjection

_OPEN: Final = """
SELECT p.stream_id, p.user_id, p.site_id, p.name, p.record_type, p.wdk_strategy_id, p.is_saved, p.model_id,
       p.message_count, p.step_count, p.plan, p.result_count, p.last_event_id, p.updated_at, p.dismissed_at,
       p.dismissed_reason, p.gene_set_id, p.gene_set_auto_imported, s.experiment_id, s.created_at
FROM stream_projections p JOIN streams s ON s.id = p.stream_id WHERE p.stream_id = $1"""


class OpenConversation(Workload):
    """The projection with its stream's owner, site and time of creation; the caller reads the plan."""

    name = "open a conversation, plan of 1 KB"
    owner = HEAVY

    def __init__(self, world: World, owner: int | None = None) -> None:
        super().__init__(world)
        self.stream_id = identity("stream", f"{self.owner if owner is None else owner}-1")

    async def raw(self, pool: asyncpg.Pool) -> object:
        row = dict(await pool.fetchrow(_OPEN, self.stream_id))
        row["plan"] = orjson.loads(row["plan"])
        return row

    async def tortoise(self) -> object:
        return await StreamProjection.get_or_none(stream_id=self.stream_id).select_related("stream")

    async def alchemy(self, sessions: Sessions) -> object:
        projection = old.StreamProjection
        async with sessions() as session:
            return await session.scalar(
                old.sa.select(projection)
                .where(projection.stream_id == self.stream_id)
                .options(old.orm.joinedload(projection.stream))
            )

    async def ours(self) -> object:
        return await StreamRepository().get_projection(self.stream_id)

    def seen(self, result: Any) -> object:  # noqa: ANN401
        if isinstance(result, dict):
            created_at, row = result["created_at"], result
        else:
            created_at, row = result.stream.created_at, vars(result)
        return created_at, *(row[name] for name in ("stream_id", "user_id", "site_id", "name", "plan", "updated_at"))


class OpenBigConversation(OpenConversation):
    """The same with a big plan."""

    name = "open a conversation, plan of 100 KB"
    owner = BIG_PLANS


FREE: Final = """
free AS (
    SELECT name FROM (
        SELECT $4::text || CASE WHEN number = 0 THEN '' ELSE ' (' || number || ')' END AS name
        FROM (SELECT generate_series(0, 1000000) AS number) numbers
    ) numbered
    WHERE NOT EXISTS (SELECT FROM stream_projections taken WHERE taken.user_id = $1 AND taken.site_id = $2
                      AND taken.name = numbered.name AND taken.stream_id <> $3)
    LIMIT 1
)"""
_CREATE: Final = f"""
WITH {FREE}, stream AS (
    INSERT INTO streams (id, user_id, site_id) VALUES ($3, $1, $2) RETURNING created_at
), projection AS (
    INSERT INTO stream_projections (stream_id, user_id, site_id, name) SELECT $3, $1, $2, name FROM free
    ON CONFLICT (user_id, site_id, name) DO NOTHING RETURNING name, updated_at
)
SELECT name, updated_at, created_at FROM stream, projection"""


class Create(Workload):
    """A new conversation under a name that all of the user's others have, numbered."""

    name = "create, 1,000 existing names"
    shown = ("name",)

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.user_id, self.stream_id = identity("user", NAMER), uuid4()

    async def before(self, connection: asyncpg.Connection) -> None:
        await connection.execute("DELETE FROM streams WHERE id = $1", self.stream_id)

    async def raw(self, pool: asyncpg.Pool) -> object:
        while True:
            row = await pool.fetchrow(_CREATE, self.user_id, SITE, self.stream_id, "Kinases")
            if row is not None:
                return dict(row)

    async def tortoise(self) -> object:
        async with in_transaction():
            names = await StreamProjection.filter(
                user_id=self.user_id, site_id=SITE, name__startswith="Kinases"
            ).values_list("name", flat=True)
            taken: set[Any] = set(names)
            name, number = "Kinases", 0
            while name in taken:
                number += 1
                name = f"Kinases ({number})"
            await Stream.create(id=self.stream_id, user_id=self.user_id, site_id=SITE)
            return await StreamProjection.create(
                stream_id=self.stream_id, user_id=self.user_id, site_id=SITE, name=name, plan={}
            )

    async def alchemy(self, sessions: Sessions) -> object:
        async with sessions() as session:
            name = await old.free_name(session, self.user_id, SITE, "Kinases")
            session.add(old.Stream(id=self.stream_id, user_id=self.user_id, site_id=SITE))
            await session.flush()
            projection = old.StreamProjection(stream_id=self.stream_id, user_id=self.user_id, site_id=SITE, name=name)
            session.add(projection)
            await session.flush()
            await session.commit()
            return projection

    async def ours(self) -> object:
        return await StreamRepository().create(self.user_id, SITE, stream_id=self.stream_id, name="Kinases")

    def seen(self, result: Any) -> object:  # noqa: ANN401
        return super().seen(result.projection if isinstance(result, Stream) else result)

    async def after(self, connection: asyncpg.Connection) -> object:
        return await connection.fetchrow(
            "SELECT s.user_id, s.site_id, s.experiment_id, p.name, p.plan, p.step_count, p.is_saved "
            "FROM streams s JOIN stream_projections p ON p.stream_id = s.id WHERE s.id = $1",
            self.stream_id,
        )


_RENAME: Final = f"""
WITH {FREE}
UPDATE stream_projections p SET name = free.name, updated_at = now() FROM free WHERE p.stream_id = $3"""


class Rename(Workload):
    """Another name, which is free, as nearly always."""

    name = "rename"

    def __init__(self, world: World, owner: int = HEAVY) -> None:
        super().__init__(world)
        self.user_id, self.stream_id = identity("user", owner), identity("stream", f"{owner}-2")

    async def before(self, connection: asyncpg.Connection) -> None:
        await connection.execute("UPDATE stream_projections SET name = 'Before' WHERE stream_id = $1", self.stream_id)

    async def raw(self, pool: asyncpg.Pool) -> object:
        # The name's owner and site are known from the conversation that is open.
        return await pool.execute(_RENAME, self.user_id, SITE, self.stream_id, "Proteases") == "UPDATE 1"

    async def tortoise(self) -> object:
        async with in_transaction():
            projection = await StreamProjection.get(stream_id=self.stream_id)
            same = StreamProjection.filter(user_id=projection.user_id, site_id=projection.site_id)
            name, number = "Proteases", 0
            while await same.filter(name=name).exclude(stream_id=self.stream_id).exists():
                number += 1
                name = f"Proteases ({number})"
            projection.name, projection.updated_at = name, now()
            await projection.save(update_fields=["name", "updated_at"])
        return True

    async def alchemy(self, sessions: Sessions) -> object:
        async with sessions() as session:
            projection = await session.get(old.StreamProjection, self.stream_id)
            projection.name = await old.free_name(session, projection.user_id, projection.site_id, "Proteases")
            await session.flush()
            await session.commit()
        return True

    async def ours(self) -> object:
        await StreamRepository().update_projection(self.stream_id, name="Proteases")
        return True

    async def after(self, connection: asyncpg.Connection) -> object:
        return await row_of(connection, self.stream_id)


async def row_of(connection: asyncpg.Connection, stream_id: UUID) -> object:
    """What a conversation's row says, and whether it was written just now."""
    return await connection.fetchrow(
        "SELECT name, plan, step_count, updated_at > now() - interval '1 minute' AS touched "
        "FROM stream_projections WHERE stream_id = $1",
        stream_id,
    )
