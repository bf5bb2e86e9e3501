"""Ten thousand events and a thousand writes over two hundred conversations, and workers that are killed meanwhile."""

import asyncio
import contextlib
import random
import signal

import pytest

from tests.support.conversations import assert_sound, conversation
from tests.support.projections import rows_of
from tests.support.servers import until
from tests.support.worker_processes import Workers, started
from veupath_store import StreamRepository, UserRepository, async_session_factory
from veupath_store.events.fold.fold import PROJECTING
from veupath_store.events.log.entries import Event, Position
from veupath_store.events.project.projector import Projector
from veupath_store.values import LagState

pytestmark = [pytest.mark.large, pytest.mark.own_database, pytest.mark.with_log]

SEED = 20_261_125
STREAMS = 200
EVENTS = 10_000
KILLS = 20
MOVES = 10
"""Rows that move before the next kill, so that each falls into work."""
WORKERS = 3

DATA = {
    "user_message": lambda dice: {"content": "hello"},
    "assistant_message": lambda dice: {"content": "\0 and \ud800"},
    "strategy_meta": lambda dice: {"name": f"name {dice.randrange(12)}", "recordType": dice.choice(["gene", "est"])},
    "strategy_link": lambda dice: {"wdkStrategyId": dice.randrange(40), "isSaved": dice.random() < 0.5},
    "graph_snapshot": lambda dice: {
        "graphSnapshot": {"steps": [{"id": "a", "searchName": "s"}], "rootStepId": "a", "name": f"name {dice.random()}"}
    },
    "graph_plan": lambda dice: {"plan": {"root": {"id": "a", "searchName": f"s{dice.random()}"}}},
    "model_selected": lambda dice: {"modelId": f"model {dice.randrange(3)}"},
    "graph_cleared": lambda dice: {},
    "projection_patched": lambda dice: {"resultCount": dice.randrange(9), "wdkStrategyId": dice.choice([None, 7, 8])},
    "assistant_delta": lambda dice: {"delta": "x" * dice.randrange(200)},
    "of_tomorrow": lambda dice: {"wdkStrategyId": 1},
}
assert DATA.keys() > PROJECTING
WEIGHTS = {"assistant_delta": 10, "of_tomorrow": 2, "user_message": 3}


@pytest.fixture
async def workers(store, database_url, redis_url, log_prefix):
    command = ("-m", "tests.support.projecting", database_url, redis_url, log_prefix)
    async with started(lambda _: command, WORKERS) as workers:
        yield workers


class Positions:
    """Where the rows stand, looked at all the time: never further back than before."""

    def __init__(self, connection) -> None:
        self._connection = connection
        self.seen: dict = {}
        self.moves = 0

    async def look(self) -> None:
        rows = await self._connection.fetch(
            "SELECT stream_id, last_event_id FROM stream_projections WHERE last_event_id IS NOT NULL"
        )
        for row in rows:
            position, before = Position.parse(row["last_event_id"]), self.seen.get(row["stream_id"])
            assert before is None or position >= before, f"{row['stream_id']} went back from {before} to {position}"
            self.moves += position != before
            self.seen[row["stream_id"]] = position

    async def watch(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(0.02)


class Appender:
    """Appends all events, in batches of 1 to 9, to one conversation after the other, and changes rows in between.

    Attributes:
        next_part: Released once for each kill, to have the next of as many parts appended.
    """

    def __init__(self, streams: list) -> None:
        self._streams = streams
        self.next_part = asyncio.Semaphore(1)

    async def run(self) -> None:
        dice, projector, kinds = random.Random(SEED), Projector(), list(DATA)
        weights = [WEIGHTS.get(kind, 1) for kind in kinds]
        for _ in range(KILLS):
            await self.next_part.acquire()
            left = EVENTS // KILLS
            while left:
                size = min(left, dice.randint(1, 9))
                chosen = dice.choices(kinds, weights, k=size)
                events = [Event(type=kind, data=DATA[kind](dice)) for kind in chosen]
                await projector.append(dice.choice(self._streams), events)
                await self._write(dice)
                left -= size

    async def _write(self, dice: random.Random) -> None:
        """Half of the times a change as users make them, or an event of a unit of work."""
        stream_id, chance = dice.choice(self._streams), dice.random()
        if chance < 0.3:
            changes = {"name": f"name {dice.randrange(12)}", "result_count": dice.randrange(9)}
            await StreamRepository().update_projection(stream_id, **changes)
        elif chance < 0.5:
            async with async_session_factory() as session:
                await Projector().append(stream_id, [Event(type="user_message", data={})], session=session)


async def torment(workers: Workers, positions: Positions, appender: Appender) -> None:
    dice = random.Random(SEED)
    for number in range(KILLS):
        enough = positions.moves + MOVES

        async def moved(enough: int = enough) -> bool:
            return positions.moves >= enough

        await until(moved, 60, f"{MOVES} rows move")
        await asyncio.sleep(dice.random() * 0.1)
        for _ in range(2 if number % 5 == 1 else 1):
            await workers.replace(next(iter(workers.running)))
        if number % 4 == 2:
            workers.freeze(next(iter(workers.running)), 0.3)
        appender.next_part.release()


async def test_killed_and_frozen_workers_leave_every_row_equal_to_the_fold_of_its_log(workers, logs, watcher):
    users = [await UserRepository().create() for _ in range(2)]
    streams = [await conversation(users[n % 2]) for n in range(STREAMS)]
    positions, appender, projector = Positions(watcher), Appender(streams), Projector()
    watching = asyncio.create_task(positions.watch())
    appending = asyncio.create_task(appender.run())
    await torment(workers, positions, appender)
    await appending
    await until(workers.all_awake, 10, "the last frozen worker was woken")

    async def all_current() -> bool:
        return set((await projector.lag()).counts) == {LagState.CURRENT} and (await projector.log.backlog()).count == 0

    await until(all_current, 60, "the workers have projected everything and taken every mark away")
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching  # raises what it has found
    assert await workers.stop() <= {0, -signal.SIGTERM}  # the latter of one that had only just been started

    assert await watcher.fetchval("SELECT count(*) FROM stream_events") == 0
    rows = await rows_of(watcher)
    for stream_id in streams:
        assert (await projector.catch_up(stream_id)).events == 0
    assert (await projector.rebuild()).problems == {}
    assert await rows_of(watcher) == rows
    await assert_sound(watcher, logs)
