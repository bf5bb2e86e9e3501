"""Control sets among very many: by a tag, and by a gene."""

from typing import Any, Final

import asyncpg
import orjson
from tortoise.expressions import Q

from benchmarks import replaced as old
from benchmarks.workload import Sessions, Workload
from benchmarks.world import GENES, SITES, TAGS, World, identity
from veupath_store import ControlSetRepository
from veupath_store.models import ControlSet

_COLUMNS: Final = (
    "id, user_id, name, site_id, record_type, positive_ids, negative_ids, source, tags, provenance_notes, version, "
    "is_public, created_at, is_seed"
)
_COUNTED: Final = (
    "id, user_id, site_id, name, record_type, positive_count, negative_count, source, tags, version, is_public, "
    "is_seed, created_at"
)


def _visible(columns: str, condition: str, limit: int) -> str:
    """Public ones and the user's own, each branch on its own index.

    The limit is a literal one: with a bound one, the generic plan goes through a site's sets in their order until it
    has found enough that match (2.4 ms for a gene instead of 0.5), where the GIN index finds all of them at once.
    """
    branch = (
        "(SELECT {0} FROM control_sets WHERE site_id = $1 AND {1} AND {2} ORDER BY created_at DESC, id DESC LIMIT {3})"
    )
    public = branch.format(columns, "is_public", condition, limit)
    own = branch.format(columns, "user_id = $2 AND NOT is_public", condition, limit)
    return f"{public} UNION ALL {own} ORDER BY created_at DESC, id DESC LIMIT {limit}"


_BY_TAG: Final = _visible(_COLUMNS, "tags ?| $3::text[]", 100)
_BY_GENE: Final = _visible(_COUNTED, "(positive_ids ?| $3::text[] OR negative_ids ?| $3::text[])", 50)


class _Search(Workload):
    """A search on one site, for one of the owners of what it finds."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        # Set 2·TAGS + 8 is public, and on the first site as all that have its tag.
        self.number = 8 % TAGS
        self.site_id = SITES[self.number % len(SITES)]
        self.user_id = identity("user", (TAGS + self.number) % world.sizes.users)

    async def _all_of_the_site(self, sessions: Sessions) -> list[Any]:
        control_set = old.ControlSet
        async with sessions() as session:
            found = await session.scalars(
                old.sa.select(control_set)
                .where(control_set.site_id == self.site_id)
                .where(control_set.is_public | (control_set.user_id == self.user_id))
                .order_by(control_set.created_at.desc(), control_set.id.desc())
            )
            return list(found)


class ByTag(_Search):
    """A site's sets with a tag, with their gene lists."""

    name = "control sets by tag"
    shown = ("id", "name", "positive_ids", "negative_ids", "tags")

    @property
    def tag(self) -> str:
        """The tag."""
        return f"tag{self.number}"

    async def raw(self, pool: asyncpg.Pool) -> object:
        rows = [dict(row) for row in await pool.fetch(_BY_TAG, self.site_id, self.user_id, [self.tag])]
        for row in rows:
            for column in ("positive_ids", "negative_ids", "tags"):
                row[column] = orjson.loads(row[column])
        return rows

    async def tortoise(self) -> object:
        visible = Q(is_public=True) | Q(user_id=self.user_id)
        found = ControlSet.filter(visible, site_id=self.site_id, tags__contains=[self.tag])
        return await found.order_by("-created_at", "-id").limit(100)

    async def alchemy(self, sessions: Sessions) -> object:
        # Slow on purpose: the replaced layer filtered tags in Python. It did so after the limit, and lost matches;
        # filtering before it is the least that makes the result right.
        found = [row for row in await self._all_of_the_site(sessions) if self.tag in row.tags]
        return found[:100]

    async def ours(self) -> object:
        return await ControlSetRepository().list_by_site(self.site_id, self.user_id, [self.tag])


class ByGene(_Search):
    """Which of the sets contain a gene."""

    name = "control sets that contain a gene"
    shown = ("id", "name", "version", "created_at")

    @property
    def gene(self) -> str:
        """The gene."""
        return f"PF3D7_{self.number * 10 % GENES}"

    async def raw(self, pool: asyncpg.Pool) -> object:
        return [dict(row) for row in await pool.fetch(_BY_GENE, self.site_id, self.user_id, [self.gene])]

    async def tortoise(self) -> object:
        visible = Q(is_public=True) | Q(user_id=self.user_id)
        contains = Q(positive_ids__contains=[self.gene]) | Q(negative_ids__contains=[self.gene])
        found = ControlSet.filter(visible, contains, site_id=self.site_id)
        return await found.order_by("-created_at", "-id").limit(50)

    async def alchemy(self, sessions: Sessions) -> object:
        # Slow on purpose: lists loaded every document, and what they held was looked for in Python.
        rows = await self._all_of_the_site(sessions)
        return [row for row in rows if self.gene in row.positive_ids or self.gene in row.negative_ids][:50]

    async def ours(self) -> object:
        return (await ControlSetRepository().page_containing(self.site_id, [self.gene], self.user_id)).items
