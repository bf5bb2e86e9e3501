"""A background worker that keeps writing while the server ends its connections."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final
from uuid import UUID, uuid4

from demo.day import Day
from demo.scenes.sign_in import SYSTEM
from veupath_store import (
    OutcomeUnknownError,
    Session,
    StreamRepository,
    UnavailableError,
    async_session_factory,
    start_detached,
)
from veupath_store.models import Stream

ITEMS: Final = 30
RANDOM_CUTS: Final = 8
SITE: Final = "plasmodb"


@dataclass
class Worker:
    """Saves results one after the other, each until it is known to be saved."""

    day: Day
    progress: UUID
    may_begin: asyncio.Event
    backend: int | None = None
    """The server process that the unit of work talks to, while one is under way."""

    tries: int = 0
    unavailable: int = 0
    unknown: int = 0
    saved: int = 0

    async def run(self) -> None:
        """Save all items, and the progress after each."""
        await self.may_begin.wait()
        for number in range(1, ITEMS + 1):
            identity = uuid4()
            await self._until_saved(partial(self._save_item, identity, number), partial(self._is_saved, identity))
            self.saved = number
            await self._until_saved(partial(self._save_progress, number), partial(self._has_progress, number))
            self.day.note_change(self.progress, result_count=number)

    async def _until_saved(self, save: Callable[[], Awaitable[None]], saved: Callable[[], Awaitable[bool]]) -> None:
        """Retry what was certainly not saved; read back what perhaps was."""
        in_doubt = False
        while True:
            self.tries += 1
            try:
                if in_doubt and await saved():
                    return
                await save()
            except UnavailableError:
                self.unavailable += 1
            except OutcomeUnknownError:
                self.unknown += 1
                in_doubt = True
            else:
                return
            await asyncio.sleep(0.005)

    async def _save_item(self, identity: UUID, number: int) -> None:
        """A conversation and its result, both or neither."""
        user_id = self.day.people[SYSTEM].id
        async with self._cuttable() as session:
            streams = StreamRepository(session).for_user(user_id)
            stream = await streams.create(user_id, SITE, stream_id=identity, name="Result")
            await streams.update_projection(identity, result_count=number)
        self._note(stream, number)

    def _note(self, stream: Stream, number: int) -> None:
        self.day.note_new(stream, stream.projection.name)
        self.day.note_change(stream.id, result_count=number)

    @asynccontextmanager
    async def _cuttable(self) -> AsyncIterator[Session]:
        try:
            async with async_session_factory() as session:
                self.backend = (await session.client.execute_rows("SELECT pg_backend_pid() AS pid"))[0]["pid"]
                yield session
        finally:
            self.backend = None

    async def _is_saved(self, identity: UUID) -> bool:
        projection = await self._streams().get_projection(identity)
        if projection is None:
            return False
        self._note(projection.stream, projection.result_count or 0)
        return True

    async def _save_progress(self, number: int) -> None:
        """One call without a session: a statement in autocommit."""
        await self.day.timings.of(
            "worker: save its progress", self._streams().update_projection(self.progress, result_count=number)
        )

    async def _has_progress(self, number: int) -> bool:
        projection = await self._streams().get_projection(self.progress)
        return projection is not None and projection.result_count == number

    def _streams(self) -> StreamRepository:
        return self.day.streams(SYSTEM)


async def work_through_cuts(day: Day) -> None:
    """Start the worker from within a unit of work, cut its connections, and wait for it."""
    worker, task = await _start(day)
    day.show.say(
        "A request starts a job and ends; the job saves on, on connections of its own. Meanwhile the server is told "
        "to end those connections (pg_terminate_backend): in the middle of units of work, and while a save waits."
    )
    cut = await _cut_at_random(day, worker, task)
    cut += await _cut_while_it_waits(day, worker)
    await task
    noticed = worker.unavailable + worker.unknown
    day.promise("a cut that the worker waits through is noticed", noticed >= 1, noticed)
    day.show.table(
        ("#saves", "#tries", "#connections cut", "#unavailable: retried", "#outcome unknown: read back first"),
        [(2 * ITEMS, worker.tries, cut, worker.unavailable, worker.unknown)],
    )


async def _start(day: Day) -> tuple[Worker, asyncio.Task[None]]:
    user_id = day.people[SYSTEM].id
    may_begin = asyncio.Event()
    async with async_session_factory() as session:
        stream = await StreamRepository(session).for_user(user_id).create(user_id, SITE, name="Progress of the job")
        worker = Worker(day, stream.id, may_begin)
        task = start_detached(worker.run(), name="worker")
    # Only now is the conversation there for others.
    day.note_new(stream, stream.projection.name)
    may_begin.set()
    return worker, task


async def _cut_at_random(day: Day, worker: Worker, task: asyncio.Task[None]) -> int:
    cut = 0
    while cut < RANDOM_CUTS and worker.saved < ITEMS // 2 and not task.done():
        await asyncio.sleep(random.uniform(0.001, 0.01))
        if worker.backend is not None:
            cut += bool(await day.direct.fetchval("SELECT pg_terminate_backend($1)", worker.backend))
    return cut


async def _cut_while_it_waits(day: Day, worker: Worker) -> int:
    """Hold the row that the worker writes without a session, and cut the connection that waits for it."""
    waiting = "SELECT min(pid) FROM pg_stat_activity WHERE pg_backend_pid() = ANY (pg_blocking_pids(pid))"
    async with day.direct.transaction():
        await day.direct.execute("SELECT FROM stream_projections WHERE stream_id = $1 FOR UPDATE", worker.progress)
        async with asyncio.timeout(5):
            while (pid := await day.direct.fetchval(waiting)) is None:
                # pg_stat_activity is read once a transaction, unless told otherwise.
                await day.direct.execute("SELECT pg_stat_clear_snapshot()")
                await asyncio.sleep(0.005)
        return int(await day.direct.fetchval("SELECT pg_terminate_backend($1)", pid))
