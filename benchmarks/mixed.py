"""Many callers at once on a small pool, each with a mixture of calls on rows of its own."""

import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from benchmarks.rounds import weighed
from benchmarks.variants import Opened
from benchmarks.workload import Variant, Workload
from benchmarks.workloads.conversations import OpenConversation
from benchmarks.workloads.plans import UpdatePlan
from benchmarks.workloads.sidebar import Sidebar
from benchmarks.workloads.users import KnownUser
from benchmarks.world import ORDINARY, World

NAME: Final = "64 concurrent mixed callers"
ROUNDS: Final = 5


@dataclass
class Concurrency:
    """What the callers of one variant saw.

    Attributes:
        seconds: Of each call, the wait for a connection included.
        rates: Calls a second, of each round.
        connections: Connections that its pool had open at the end.
        peak: Bytes that all callers held at most, in a round of its own.
    """

    seconds: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    connections: int = 0
    peak: int = 0

    @property
    def throughput(self) -> float:
        """Calls a second, the median of the rounds."""
        return statistics.median(self.rates)

    def percentile(self, percent: int) -> float:
        """Seconds within which so many of the calls were answered."""
        return statistics.quantiles(self.seconds, n=100)[percent - 1]


def calls_of(world: World, caller: int) -> list[Workload]:
    """What one caller asks for: mostly reads, as a tab that is open does."""
    user = ORDINARY + caller % (world.sizes.users - ORDINARY)
    known, open_, sidebar = KnownUser(world, user), OpenConversation(world, user), Sidebar(world, user)
    return [known, sidebar, known, open_, known, UpdatePlan(world, user)]


async def measure(opened: Opened, world: World, rounds: int = ROUNDS) -> dict[Variant, Concurrency]:
    """Let each variant's callers run, round by round in an order that rotates; the first round is a warm-up."""
    callers, calls = world.sizes.callers
    plans = [calls_of(world, caller) for caller in range(callers)]
    found = {variant: Concurrency() for variant in opened.variants(plans[0][0])}
    variants = list(found)
    for number in range(rounds + 1):
        for variant in [*variants[number % len(variants) :], *variants[: number % len(variants)]]:
            with opened.scope(variant):
                started = time.perf_counter()
                times = await asyncio.gather(*(_caller(opened, variant, plan, calls) for plan in plans))
                took = time.perf_counter() - started
            if number:
                found[variant].rates.append(callers * calls / took)
                found[variant].seconds += [second for own in times for second in own]
    for variant, seen in found.items():
        seen.connections = await opened.connections(variant)
        with opened.scope(variant), weighed() as peak:
            await asyncio.gather(*(_caller(opened, variant, plan, calls) for plan in plans))
            seen.peak = peak()
    return found


async def _caller(opened: Opened, variant: Variant, plan: Sequence[Workload], calls: int) -> list[float]:
    asked = [opened.call(workload, variant) for workload in plan]
    seconds = []
    for number in range(calls):
        started = time.perf_counter()
        await asked[number % len(asked)]()
        seconds.append(time.perf_counter() - started)
    return seconds
