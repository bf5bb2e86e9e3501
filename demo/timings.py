"""How long calls took, by kind."""

import time
from collections.abc import Awaitable
from statistics import median
from typing import TypeVar

T = TypeVar("T")


class Timings:
    """Milliseconds of the calls that succeeded."""

    def __init__(self) -> None:
        self._taken: dict[str, list[float]] = {}

    async def of(self, kind: str, call: Awaitable[T]) -> T:
        """Await a call and note how long that took; a call that raises is not counted."""
        started = time.perf_counter()
        result = await call
        self._taken.setdefault(kind, []).append((time.perf_counter() - started) * 1000)
        return result

    def last(self, kind: str) -> float:
        """Milliseconds of the last call of a kind."""
        return self._taken[kind][-1]

    def rows(self) -> list[tuple[str, int, float, float]]:
        """Kind, count, median and 95th percentile in milliseconds, in the order in which the kinds first came."""
        return [(kind, len(taken), median(taken), _percentile(taken, 0.95)) for kind, taken in self._taken.items()]


def _percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
