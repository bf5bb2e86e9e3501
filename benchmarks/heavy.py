"""Calls that only ``make bench-scale`` measures: those of a user with very many conversations, and a popular tag."""

from typing import Final

from benchmarks.workload import Workload
from benchmarks.workloads.control_sets import ByTag
from benchmarks.workloads.conversations import OpenConversation, Rename
from benchmarks.workloads.sidebar import Sidebar, SidebarDeep
from benchmarks.world import World

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


HEAVY_WORKLOADS: Final[tuple[type[Workload], ...]] = (HeavySidebar, HeavyDeep, HeavyOpen, HeavyRename)
