"""``python -m benchmarks.pools``: how much work pools of different sizes do for 64 tasks at once.

Each task goes on listing its user's sidebar and changing a conversation, in one unit of work. Prints the table of
docs/operations.md.
"""

import asyncio
import statistics
import sys
import time
from uuid import UUID

from benchmarks.__main__ import database
from veupath_store import StoreSettings, StreamRepository, UserRepository, async_session_factory, close_db, init_db

TASKS = 64
SIZES = (1, 2, 4, 8, 16, 32)
SECONDS = 5.0


async def _users() -> list[tuple[UUID, UUID]]:
    """A user and one of its conversations for each task."""
    users = []
    for _ in range(TASKS):
        user = await UserRepository().create()
        streams = [await StreamRepository().create(user.id, "plasmodb") for _ in range(20)]
        users.append((user.id, streams[0].id))
    return users


async def _work(user_id: UUID, stream_id: UUID, until: float) -> list[float]:
    """Seconds of each unit of work of one task."""
    took: list[float] = []
    while (began := time.perf_counter()) < until:
        async with async_session_factory() as session:
            streams = StreamRepository(session)
            await streams.list_projections(user_id)
            await streams.update_projection(stream_id, result_count=len(took))
        took.append(time.perf_counter() - began)
    return took


async def _measured(settings: StoreSettings, size: int, seconds: float) -> tuple[float, float]:
    """Units of work a second, and the milliseconds within which 99 of 100 were done."""
    await init_db(settings=settings.model_copy(update={"pool_max_size": size}))
    try:
        users = await _users()
        began = time.perf_counter()
        times = await asyncio.gather(*(_work(*user, began + seconds) for user in users))
        passed = time.perf_counter() - began
    finally:
        await close_db()
    every = [one for own in times for one in own]
    return len(every) / passed, statistics.quantiles(every, n=100)[98] * 1_000


def main() -> int:
    """Measure each size on one server, and print the table."""
    with database() as settings:
        rows = [asyncio.run(_measured(settings, size, SECONDS)) for size in SIZES]
    lines = [
        ["connections", *map(str, SIZES)],
        ["---"] * (len(SIZES) + 1),
        ["units of work a second", *(f"{rate:,.0f}" for rate, _ in rows)],
        ["99 of 100 within, ms", *(f"{within:,.0f}" for _, within in rows)],
    ]
    sys.stdout.write("".join(f"| {' | '.join(cells)} |\n" for cells in lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
