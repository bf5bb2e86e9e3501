"""The list of conversations beside the chat: names, counts and dates, never plans."""

from typing import Final

import asyncpg
from tortoise.queryset import QuerySet

from benchmarks import replaced as old
from benchmarks.workload import Sessions, Workload
from benchmarks.world import BIG_PLANS, HEAVY, World, identity
from veupath_store import StreamRepository
from veupath_store.models import StreamProjection
from veupath_store.values import ProjectionSummary

_COLUMNS: Final = (
    "stream_id, user_id, site_id, name, record_type, wdk_strategy_id, is_saved, model_id, message_count, step_count, "
    "result_count, last_event_id, updated_at, dismissed_at, dismissed_reason, gene_set_id, gene_set_auto_imported, "
    "plan_version, (SELECT created_at FROM streams WHERE user_id = p.user_id AND id = stream_id), "
    "(SELECT experiment_id FROM streams WHERE user_id = p.user_id AND id = stream_id)"
)
_FROM: Final = "stream_projections p"
# The other two read these by a join of their own or not at all.
_NOT_COMPARED: Final = {"created_at", "experiment_id", "plan_version"}
_SHOWN: Final = tuple(name for name in ProjectionSummary.model_fields if name not in _NOT_COMPARED)
# The limit is bound: with a literal one, PostgreSQL's generic plan reads all of a heavy user's rows and sorts them.
_LIST: Final = f"""
SELECT {_COLUMNS} FROM {_FROM} WHERE user_id = $1 AND dismissed_at IS NULL
ORDER BY updated_at DESC, stream_id DESC LIMIT $2"""
_NEXT: Final = f"""
SELECT {_COLUMNS} FROM {_FROM} WHERE user_id = $1 AND dismissed_at IS NULL
AND (updated_at, stream_id) < ($2, $3) ORDER BY updated_at DESC, stream_id DESC LIMIT $4"""


class Sidebar(Workload):
    """The newest 50."""

    name = "sidebar of 50, plans of 1 KB"
    shown = _SHOWN
    owner = HEAVY

    def __init__(self, world: World, owner: int | None = None) -> None:
        super().__init__(world)
        self.user_id = identity("user", self.owner if owner is None else owner)

    async def raw(self, pool: asyncpg.Pool) -> object:
        return [dict(row) for row in await pool.fetch(_LIST, self.user_id, 50)]

    def _queryset(self) -> QuerySet[StreamProjection]:
        # Whole rows, plans included: what a queryset loads unless it is told otherwise.
        recent = StreamProjection.filter(user_id=self.user_id, dismissed_at=None)
        return recent.order_by("-updated_at", "-stream_id").limit(50)

    async def tortoise(self) -> object:
        return await self._queryset()

    async def alchemy(self, sessions: Sessions) -> object:
        async with sessions() as session:
            return list(await session.scalars(self._select()))

    def _select(self) -> object:
        # Slow on purpose: the replaced layer's lists loaded whole rows, with every plan.
        projection = old.StreamProjection
        return (
            old.sa.select(projection)
            .where(projection.user_id == self.user_id, projection.dismissed_at.is_(None))
            .order_by(projection.updated_at.desc(), projection.stream_id.desc())
            .limit(50)
        )

    async def ours(self) -> object:
        return await StreamRepository().list_projections(self.user_id)


class SidebarBigPlans(Sidebar):
    """The same where every plan is big."""

    name = "sidebar of 50, plans of 100 KB"
    owner = BIG_PLANS
    alchemy_goal = 10.0
    weighed = True


class SidebarFirst(Sidebar):
    """The newest 50, as the first of many pages."""

    name = "sidebar, page 1"

    async def ours(self) -> object:
        return (await StreamRepository().page_projections(self.user_id)).items


class SidebarDeep(Sidebar):
    """A page far down."""

    name = "sidebar, page 40"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.pages = max(0, min(39, world.sizes.conversations // 50 - 1))
        self._last: asyncpg.Record | None = None
        self._cursor: str | None = None

    async def before(self, connection: asyncpg.Connection) -> None:
        """Once: where the page before ends, which a client has from that page."""
        if self._last is not None:
            return
        rows = await connection.fetch(_LIST, self.user_id, 50 * self.pages)
        self._last = rows[-1]
        for _ in range(self.pages):
            page = await StreamRepository().page_projections(self.user_id, cursor=self._cursor)
            self._cursor = page.next_cursor

    async def raw(self, pool: asyncpg.Pool) -> object:
        last = self._last or {}
        rows = await pool.fetch(_NEXT, self.user_id, last["updated_at"], last["stream_id"], 50)
        return [dict(row) for row in rows]

    async def tortoise(self) -> object:
        return await self._queryset().offset(50 * self.pages)

    async def alchemy(self, sessions: Sessions) -> object:
        async with sessions() as session:
            # Slow on purpose: pages were counted from the start, and read with their plans.
            return list(await session.scalars(self._select().offset(50 * self.pages)))  # type: ignore[attr-defined]

    async def ours(self) -> object:
        return (await StreamRepository().page_projections(self.user_id, cursor=self._cursor)).items
