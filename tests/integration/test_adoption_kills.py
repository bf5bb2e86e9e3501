"""Adoptions that are killed are the old database or the new one, whole; and what a dry run says that one takes."""

import asyncio
import contextlib
import random
import time
from statistics import median

import pytest

from benchmarks.adoption_fill import fill
from tests.support import faults
from tests.support.databases import catalog_of, connected
from tests.support.legacy.comparison import mistakes, read_legacy
from tests.support.legacy.databases import legacy_database
from tests.support.legacy.problems import BEFORE, problem_world
from tests.support.legacy.schema import schema_sql
from tests.support.processes import BIN, started
from tests.support.servers import until
from veupath_store.adoption import adopt, plan_adoption, undo_adoption
from veupath_store.config import StoreSettings
from veupath_store.schema.catalog import differences, expected_catalog

KILLS = 20
SEED = 20_261_125
_KEPT = "SELECT to_regclass('veupath_legacy.adoption') IS NOT NULL"
_SCHEMA = "SELECT to_regnamespace('veupath_legacy') IS NOT NULL"


class Adopting:
    """A database that a process adopts, again and again."""

    def __init__(self, url, watcher, legacy, catalog) -> None:
        self.url = url
        self.settings = StoreSettings(database_url=url)
        self.watcher = watcher
        self.legacy = legacy
        self.catalog = catalog

    def running(self):
        return started(BIN / "veupath-store", "adopt", "--yes", "--json", cwd=BIN.parent, DATABASE_URL=self.url)

    async def begun(self) -> None:
        await until(lambda: faults.pids(self.watcher), within=30, what="the process is connected")

    async def is_new(self) -> bool:
        """Whether it is the new one; in either case every row is looked at."""
        if not await self.watcher.fetchval(_KEPT):
            assert not await self.watcher.fetchval(_SCHEMA)
            assert await read_legacy(self.watcher) == self.legacy
            assert await catalog_of(self.url) == self.catalog
            return False
        assert await read_legacy(self.watcher, "veupath_legacy") == self.legacy
        assert not differences(await catalog_of(self.url), expected_catalog())
        assert await mistakes(self.watcher, self.legacy, await adopt(self.settings)) == []
        return True


@pytest.fixture
async def adopting(server):
    world = problem_world(nullable=True)
    person = world.user()["id"]
    for number in range(1_500):
        world.chat(person, name=f"Clean {number}", plan='{"root": {"id": "a", "searchName": "GenesByTaxon"}}')
    async with legacy_database(server, world, "alembic", before=BEFORE) as url, connected(url) as watcher:
        yield Adopting(url, watcher, await read_legacy(watcher), await catalog_of(url))


@pytest.mark.large
async def test_killed_at_any_moment_it_is_the_old_one_or_the_new_one(adopting):
    """By turns the process is killed, and its backends are ended, so that the process lives and sees it."""
    loop, moments = asyncio.get_running_loop(), random.Random(SEED)
    lasts = []
    for _ in range(2):  # the first is slower: nothing is in the server's memory yet
        async with adopting.running() as whole:
            await adopting.begun()
            since = loop.time()
            await faults.nobody_connected(adopting.watcher)
            lasts.append(loop.time() - since)
            finished = await whole.finished()
        assert finished.code == 0, finished
        assert await adopting.is_new()
        await undo_adoption(adopting.settings)

    outcomes = []
    for number in range(KILLS):
        async with adopting.running() as running:
            await adopting.begun()
            await asyncio.sleep(moments.uniform(0, 1.2 * min(lasts)))
            if number % 2:
                await faults.kill_backends(adopting.watcher)
                await running.finished()
            else:
                with contextlib.suppress(ProcessLookupError):  # it was quicker
                    await running.kill()
        await faults.nobody_connected(adopting.watcher)
        outcomes.append(await adopting.is_new())
        if outcomes[-1]:
            await undo_adoption(adopting.settings)
            assert not await adopting.is_new()
    assert outcomes.count(False) > KILLS // 10, f"most kills came too late: {outcomes}"

    async with adopting.running() as again:
        finished = await again.finished()
    assert finished.code == 0, finished
    assert await adopting.is_new()


# what a dry run says that it takes


ROUNDS = 3
SIZE = "SELECT pg_database_size(current_database())"


@pytest.mark.large
async def test_a_dry_run_estimates_time_and_disk(empty_url):
    """20,000 conversations; the machine may be busy in one of the rounds."""
    settings, ratios = StoreSettings(database_url=empty_url), []
    async with connected(empty_url) as connection:
        await connection.execute(schema_sql("alembic"))
        await fill(connection, 20_000)
        before = await connection.fetchval(SIZE)
        for _ in range(ROUNDS):
            plan = await plan_adoption(settings)
            started = time.monotonic()
            await adopt(settings)
            ratios.append(plan.estimate_seconds / (time.monotonic() - started))
            grown = await connection.fetchval(SIZE) - before
            assert grown < plan.estimate_bytes < 3 * grown
            await undo_adoption(settings)
    # Within a third on a quiet machine, by `make bench-adopt`; here other tests run beside it.
    assert 1 / 2 < median(ratios) < 2, ratios
