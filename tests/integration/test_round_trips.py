"""How often the store waits for PostgreSQL: once for a call of one statement, and what a unit of work adds."""

import asyncio
from contextlib import suppress

import asyncpg
import pytest

from tests.support.cases import CASES
from tests.support.proxies import database_proxy
from tests.support.statements import recorded
from tests.support.world import make_world
from veupath_store import StoreSettings, StreamRepository, UserRepository, async_session_factory, close_db, init_db
from veupath_store.engine.announcing import Announcer
from veupath_store.errors import PruneRefusedError

SINGLE = {
    repository: [
        case
        for name, case in cases.items()
        if case.statements == 1 and name != "assert_lease"  # which is refused without a session
    ]
    for repository, cases in CASES.items()
}


@pytest.fixture
async def between(database_url, tmp_path, monkeypatch):
    """A store with one connection, and the proxy through which it speaks; workers elsewhere are not told of work."""
    monkeypatch.setattr(Announcer, "hear", lambda self, topic: None)
    async with database_proxy(database_url, tmp_path) as (proxy, url):
        await init_db(settings=StoreSettings(database_url=url, pool_max_size=1))
        yield proxy
        await close_db()


@pytest.mark.parametrize("repository", SINGLE)
async def test_a_call_of_one_statement_is_one_round_trip(between, repository):
    assert SINGLE[repository]
    for case in SINGLE[repository]:
        warmed, world = await make_world(), await make_world()
        with suppress(PruneRefusedError):  # a refusal, too, is what the statement has answered
            await case.call(repository(), warmed)  # the driver prepares a statement when it first sees it
        before = between.trips
        with recorded(exactly=1), suppress(PruneRefusedError):
            await case.call(repository(), world)
        assert between.trips - before == 1


async def test_a_unit_of_work_adds_begin_and_commit(between):
    user = await UserRepository().create()
    for _ in range(2):
        before = between.trips
        async with async_session_factory() as session:
            await StreamRepository(session).list_projections(user.id)
            await UserRepository(session).get_by_id(user.id)
    assert between.trips - before == 4


async def test_a_pool_of_the_driver_waits_twice_for_each_statement(database_url, tmp_path):
    """What hand-written code costs, with which benchmarks compare: its pool resets each connection."""
    async with database_proxy(database_url, tmp_path) as (proxy, url):
        async with asyncpg.create_pool(url, min_size=1, max_size=1) as pool:
            for _ in range(2):
                before = proxy.trips
                await pool.fetch("SELECT 1")
        assert proxy.trips - before == 1 + 2


async def test_the_driver_sends_no_statement_before_the_one_before_is_answered(database_url):
    """Why BEGIN, the statements and COMMIT are not sent together: asyncpg has no pipelining."""
    connection = await asyncpg.connect(database_url)
    first = asyncio.ensure_future(connection.execute("BEGIN"))
    await asyncio.sleep(0)
    with pytest.raises(asyncpg.InterfaceError, match="another operation is in progress"):
        await connection.fetch("SELECT 1")
    await first
    await connection.close()
