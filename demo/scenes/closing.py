"""Closing the store while units of work are under way."""

import asyncio
from typing import Final

from demo.day import Day
from veupath_store import (
    StreamRepository,
    UnavailableError,
    async_session_factory,
    close_db,
    get_engine,
    init_db,
    start_detached,
)
from veupath_store.errors import StoreClosedError
from veupath_store.models import Stream

SLOW: Final = 0.3
"""Seconds that each unit of work takes on the server."""


async def close_with_work_in_flight(day: Day) -> None:
    """What has begun is drained, what comes later is refused, and the store opens again."""
    count = min(6, day.place.settings.pool_max_size)
    begun = [asyncio.Event() for _ in range(count)]
    tasks = [start_detached(_slow_work(day, event)) for event in begun]
    await asyncio.gather(*(event.wait() for event in begun))
    engine = get_engine()
    closing = asyncio.create_task(day.timings.of(f"close with {count} units of work in flight", close_db()))
    while not engine.closed:  # noqa: ASYNC110 - nothing tells; what is committed goes into the event log first
        await asyncio.sleep(0.001)
    refused = await _late_work(day)
    streams = await asyncio.gather(*tasks)
    await closing
    day.promise("a closed store refuses new work", refused == StoreClosedError.__name__, refused)
    for stream in streams:
        day.note_new(stream, stream.projection.name)
    await day.timings.of("open the store", init_db(settings=day.place.settings))
    day.show.say(
        f"{len(streams)} of {count} units of work that were under way when close_db began were saved; "
        f"one that came later was refused ({refused}). Then the store is opened again."
    )


async def _slow_work(day: Day, begun: asyncio.Event) -> Stream:
    user_id = day.people["nadia"].id
    async with async_session_factory() as session:
        stream = await StreamRepository(session).for_user(user_id).create(user_id, "tritrypdb", name="Saved late")
        begun.set()
        await session.client.execute_rows("SELECT pg_sleep($1)", [SLOW])
    return stream


async def _late_work(day: Day) -> str:
    try:
        await day.converse("nadia", "tritrypdb", "Too late")
    except UnavailableError as exc:
        return type(exc).__name__
    return "NOT refused"
