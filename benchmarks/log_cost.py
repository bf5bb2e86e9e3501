"""What an event log costs the calls that change a conversation: the same calls with one and without, in turns.

With a log the process also writes to it, in the background, while the calls go on: on the same cores here.
"""

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Final

from benchmarks.world import BIG_PLANS, HEAVY, World, identity
from veupath_store import ProjectionWorker, StoreSettings, StreamRepository, close_db, init_db
from veupath_store.integrations.testing import recorded

GOAL: Final = 1.15
"""What a write with a log may take, as a multiple of the same without one."""

CALLS: Final = 100
WARM_UP: Final = 10

Write = Callable[[int], Awaitable[object]]


@dataclass
class LogCost:
    """What a call took.

    Attributes:
        name: The call.
        seconds: Of each call, with a log (``True``) and without.
        statements: What one call sent, with a log and without.
    """

    name: str
    seconds: dict[bool, list[float]] = field(default_factory=lambda: {False: [], True: []})
    statements: dict[bool, list[str]] = field(default_factory=dict)

    def median(self, *, with_log: bool) -> float:
        """Seconds of a call."""
        return median(self.seconds[with_log])

    @property
    def ratio(self) -> float:
        """How much longer it takes with a log."""
        return self.median(with_log=True) / self.median(with_log=False)


def writes(world: World) -> Mapping[str, Write]:
    """The calls, by name; each writes something else each time."""
    small, big = identity("stream", f"{HEAVY}-2"), identity("stream", f"{BIG_PLANS}-2")
    streams = StreamRepository()
    return {
        "rename": lambda n: streams.update_projection(small, name=f"Proteases {n}"),
        "update a plan of 1 KB": lambda n: streams.update_projection(small, plan={**world.small_plan, "n": n}),
        "update a plan of 100 KB": lambda n: streams.update_projection(big, plan={**world.big_plan, "n": n}),
    }


async def measure(settings: StoreSettings, world: World, rounds: int = 5, calls: int = CALLS) -> list[LogCost]:
    """Open the store with a log and without, in turns, and make the calls one after the other.

    Args:
        settings: The database and the log.
        world: The data there.
        rounds: Turns of each.
        calls: Calls of each kind in a turn.

    Raises:
        AssertionError: A call sends something else with a log than without.
    """
    costs: dict[str, LogCost] = {}
    await _log_all(settings)
    for number in range(2 * rounds):
        with_log = bool(number % 2)
        log = {} if with_log else {"redis_url": None}
        await init_db(settings=settings.model_copy(update={"catch_up": True, **log}))
        try:
            for name, write in writes(world).items():
                await _turn(costs.setdefault(name, LogCost(name)), write, calls, with_log=with_log)
        finally:
            await close_db()
    for cost in costs.values():
        if cost.statements[True] != cost.statements[False]:
            raise AssertionError(f"{cost.name}: {cost.statements}")
    return list(costs.values())


async def _log_all(settings: StoreSettings) -> None:
    """Nothing of what was there before is written to the log while something is measured."""
    await init_db(settings=settings.model_copy(update={"catch_up": False}))
    try:
        await ProjectionWorker().drain()
    finally:
        await close_db()


async def _turn(cost: LogCost, write: Write, calls: int, *, with_log: bool) -> None:
    with recorded() as sent:
        await write(0)
    cost.statements[with_log] = list(sent)
    for number in range(calls + WARM_UP):
        started = time.perf_counter()
        await write(number)
        if number >= WARM_UP:
            cost.seconds[with_log].append(time.perf_counter() - started)
