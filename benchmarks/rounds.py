"""How it is measured: results first, then rounds in which everybody has a turn, in an order that rotates."""

import gc
import statistics
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from benchmarks.variants import Opened
from benchmarks.workload import Variant, Workload
from veupath_store.integrations.testing import recorded

TURN: Final = 0.01
"""Seconds of one turn: short calls are made several times in it."""

LEAST: Final = 3
"""Rounds at least, however long they take."""

SEVERAL: Final = 5
"""Calls of one turn at most, where another variant takes so long that there are few rounds."""

WARM_UP: Final = 2
"""Calls of each before anything counts, beside the one that is checked; one where that takes long."""


_SHOWN: Final = 2_000
"""Characters of a result that an error shows."""


class WrongResultError(Exception):
    """A variant did not do what ours did: its time would say nothing."""

    def __init__(self, workload: str, variant: Variant, expected: object, found: object) -> None:
        shown = f"  ours: {expected!r:.{_SHOWN}}\n  {variant}: {found!r:.{_SHOWN}}"
        super().__init__(f"{workload}: {variant} is not what ours is\n{shown}")


@dataclass
class Measured:
    """What a workload took.

    Attributes:
        workload: Which.
        seconds: The time of each call, by variant.
        statements: Statements that ours sent for one call, without BEGIN and COMMIT.
        rounds: Rounds that were made.
        peaks: Bytes that one call held at most, by variant, where that is told.
    """

    workload: Workload
    seconds: dict[Variant, list[float]]
    statements: int
    rounds: int = field(default=0)
    peaks: dict[Variant, int] = field(default_factory=dict)

    def median(self, variant: Variant) -> float | None:
        """Seconds of a call, or ``None`` where the variant was left out."""
        times = self.seconds.get(variant)
        return statistics.median(times) if times else None

    def ratio(self, of: Variant, to: Variant) -> float | None:
        """How much longer one takes than another."""
        over, under = self.median(of), self.median(to)
        return None if over is None or under is None else over / under


async def check(opened: Opened, workload: Workload) -> int:
    """See that everybody does what ours does: the same result, and the same rows afterwards.

    Returns:
        The statements that ours sent.

    Raises:
        WrongResultError: Somebody does not, or there was nothing to compare.
    """
    expected, statements = await _outcome(opened, workload, Variant.OURS)
    if expected[0] in ([], None):
        raise WrongResultError(workload.name, Variant.OURS, "something to compare", expected)
    for variant in opened.variants(workload):
        found, _ = await _outcome(opened, workload, variant)
        if found != expected:
            raise WrongResultError(workload.name, variant, expected, found)
    return statements


async def _outcome(opened: Opened, workload: Workload, variant: Variant) -> tuple[tuple[object, object], int]:
    """What the call gave and left, and the statements that the store's engine sent for it."""
    await workload.before(opened.connection)
    with opened.scope(variant), recorded() as sent:
        result = await opened.call(workload, variant)()
    return (workload.seen(result), await workload.after(opened.connection)), len(sent)


async def measure(opened: Opened, workload: Workload, budget: float, least: int = LEAST) -> Measured:
    """Check, warm up, and go round until the time is used up.

    Args:
        opened: The variants.
        workload: What to measure.
        budget: Seconds, what is done before each call included.
        least: Rounds, also where they take longer.

    Raises:
        WrongResultError: See `check`.
    """
    began = time.perf_counter()
    statements = await check(opened, workload)
    variants = opened.variants(workload)
    measured = Measured(workload, {variant: [] for variant in variants}, statements)
    repeats = await _warmed_up(opened, workload, variants)
    while measured.rounds < least or time.perf_counter() - began < budget:
        for variant in _rotated(variants, measured.rounds):
            measured.seconds[variant] += await _turn(opened, workload, variant, repeats[variant])
        measured.rounds += 1
    if workload.weighed:
        measured.peaks = {variant: await _peak(opened, workload, variant) for variant in variants}
    return measured


async def _peak(opened: Opened, workload: Workload, variant: Variant) -> int:
    await workload.before(opened.connection)
    with opened.scope(variant), weighed() as peak:
        await opened.call(workload, variant)()
        return peak()


@contextmanager
def weighed() -> Iterator[Callable[[], int]]:
    """Gives a function that tells the most bytes that Python has allocated since and held at once.

    Not in a call whose time is measured: it takes several times as long.
    """
    gc.collect()
    tracemalloc.start()
    try:
        began = tracemalloc.get_traced_memory()[0]
        yield lambda: tracemalloc.get_traced_memory()[1] - began
    finally:
        tracemalloc.stop()


async def _warmed_up(opened: Opened, workload: Workload, variants: Sequence[Variant]) -> dict[Variant, int]:
    """Call everybody, and say how often each is to be called in one turn."""
    took = {}
    for variant in variants:
        [first] = await _turn(opened, workload, variant, 1)
        took[variant] = min(first, *await _turn(opened, workload, variant, WARM_UP)) if first < 10 * TURN else first
    slowest = max(took.values())
    return {
        variant: max(1, round(TURN / seconds), min(SEVERAL, int(slowest / seconds / 4)))
        for variant, seconds in took.items()
    }


def _rotated(variants: Sequence[Variant], by: int) -> Sequence[Variant]:
    by %= len(variants)
    return [*variants[by:], *variants[:by]]


async def _turn(opened: Opened, workload: Workload, variant: Variant, repeats: int) -> list[float]:
    call, seconds = opened.call(workload, variant), []
    for _ in range(repeats):
        await workload.before(opened.connection)
        with opened.scope(variant):
            started = time.perf_counter()
            await call()
            seconds.append(time.perf_counter() - started)
    return seconds
