"""What is measured: one call of the documented interface, written in four ways."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from enum import StrEnum
from typing import Any, ClassVar, Final, TypeAlias

import asyncpg

from benchmarks.world import World

Sessions: TypeAlias = Callable[[], AbstractAsyncContextManager[Any]]
"""SQLAlchemy's session factory."""


class Variant(StrEnum):
    """Who does the work."""

    RAW = "raw"
    """asyncpg with SQL written by hand, on a pool of the same size: the floor."""
    TORTOISE = "tortoise"
    """Ordinary querysets of the same models on Tortoise's own backend."""
    ALCHEMY = "alchemy"
    """SQLAlchemy 2 in the style of the layer that the store replaces: a session for each call, whole rows, loops."""
    OURS = "ours"
    """The repositories, as applications call them."""


SINGLE: Final = 1.25
"""What the store may cost beside raw asyncpg where that sends a single statement."""
BULK: Final = 1.15
"""The same for bulk work."""


class Workload(ABC):
    """One call, in up to four ways side by side.

    Attributes:
        name: What it is called in the table and by ``--only``.
        raw_goal: What ours may take, as a multiple of raw asyncpg.
        alchemy_goal: What SQLAlchemy must take at least, as a multiple of ours.
        weighed: Whether it is told how much memory a call takes at most.
        missing: The variants that would make no sense, and why.
        shown: The fields by which results are compared; see `seen`.
    """

    name: ClassVar[str]
    raw_goal: ClassVar[float] = SINGLE
    alchemy_goal: ClassVar[float] = 3.0
    weighed: ClassVar[bool] = False
    missing: ClassVar[dict[Variant, str]] = {}
    shown: ClassVar[tuple[str, ...]] = ()

    def __init__(self, world: World) -> None:
        self.world = world

    async def before(self, connection: asyncpg.Connection) -> None:
        """Put the rows back to where every call begins; not measured."""
        del connection

    @abstractmethod
    async def raw(self, pool: asyncpg.Pool) -> object:
        """By hand: plain dicts, with documents decoded where the caller reads them."""

    @abstractmethod
    async def tortoise(self) -> object:
        """By ordinary querysets, in the Tortoise context of this variant."""

    @abstractmethod
    async def alchemy(self, sessions: Sessions) -> object:
        """As the replaced layer did it."""

    @abstractmethod
    async def ours(self) -> object:
        """By the repositories."""

    def seen(self, result: Any) -> object:  # noqa: ANN401 - what one of the variants returned
        """What a result says, the same for each variant that is right."""
        if isinstance(result, list | tuple):
            return [picked(row, self.shown) for row in result]
        return result if result is None or not self.shown else picked(result, self.shown)

    async def after(self, connection: asyncpg.Connection) -> object:
        """What the tables say after the call, the same for each variant that is right."""
        del connection
        return None


def picked(row: Any, names: Iterable[str]) -> tuple[object, ...]:  # noqa: ANN401 - a dict, a model or a value
    """Some fields of a row, whatever it is."""
    if isinstance(row, dict | asyncpg.Record):
        return tuple(row[name] for name in names)
    return tuple(getattr(row, name) for name in names)
