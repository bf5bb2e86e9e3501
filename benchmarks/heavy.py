"""Calls that only ``make bench-scale`` measures: those of a user with very many conversations, and a popular tag."""

from typing import Final

import asyncpg

from benchmarks.workload import Sessions, Workload
from benchmarks.workloads.control_sets import ByTag
from benchmarks.workloads.conversations import OpenConversation, Rename
from benchmarks.workloads.sidebar import Sidebar, SidebarDeep
from benchmarks.world import World
from veupath_store import get_engine

HEAVIEST: Final = 100
"""The number of the user with the most conversations."""


class HeavySidebar(Sidebar):
    """The newest 50 of very many."""

    name = "heavy user: sidebar of 50"
    owner = HEAVIEST


class HeavyDeep(SidebarDeep):
    """A page far down."""

    name = "heavy user: sidebar, page 40"
    owner = HEAVIEST


class HeavyOpen(OpenConversation):
    """One of very many."""

    name = "heavy user: open a conversation"
    owner = HEAVIEST


class HeavyRename(Rename):
    """A name that none of very many has."""

    name = "heavy user: rename"

    def __init__(self, world: World) -> None:
        super().__init__(world, HEAVIEST)


class ByCommonTag(ByTag):
    """The newest 100 of a site, by a tag that all sets have: the index of tags says nothing."""

    name = "control sets by a tag that all have"

    @property
    def tag(self) -> str:
        """The tag."""
        return "curated"


class NoTable(Workload):
    """Reads no table: what grows here is the load of the machine."""

    name = "a statement without a table"

    async def raw(self, pool: asyncpg.Pool) -> object:
        """By asyncpg."""
        return await pool.fetchval("SELECT 1")

    async def tortoise(self) -> object:
        """Not measured."""
        raise NotImplementedError

    async def alchemy(self, sessions: Sessions) -> object:
        """Not measured."""
        raise NotImplementedError

    async def ours(self) -> object:
        """By the store's engine."""
        [row] = await (await get_engine().open()).execute_rows("SELECT 1 AS one", [])
        return row["one"]


HEAVY_WORKLOADS: Final[tuple[type[Workload], ...]] = (HeavySidebar, HeavyDeep, HeavyOpen, HeavyRename)
