"""A connection is reset when it is given back if a statement may have left something in its session, and only then."""

from contextlib import suppress

import asyncpg
import pytest

from tests.support.cases import all_cases
from tests.support.opened import opened
from tests.support.statements import recorded
from tests.support.world import make_world
from veupath_store import StoreError, async_session_factory
from veupath_store.engine.connection import leaves_nothing

STATE = """
SELECT (SELECT count(*) FROM pg_settings WHERE source = 'session') AS settings,
       (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()) AS locks,
       (SELECT count(*) FROM pg_listening_channels()) AS channels,
       (SELECT count(*) FROM pg_cursors WHERE is_holdable) AS cursors"""
NOTHING = {"settings": 0, "locks": 0, "channels": 0, "cursors": 0}

LEFT = {
    "a setting": "SET work_mem = '8MB'",
    "a setting, by a function": "SELECT set_config('work_mem', '8MB', false)",
    "a setting, by a block": "DO $$ BEGIN PERFORM set_config('work_mem', '8MB', false); END $$",
    "a lock": "SELECT pg_advisory_lock(7)",
    "a lock, among rows": "WITH mine AS (SELECT pg_advisory_lock_shared(7)) SELECT count(*) FROM mine",
    "a channel": "LISTEN news",
    "a cursor": "DECLARE mine CURSOR WITH HOLD FOR SELECT 1",
}


@pytest.fixture
async def alone(settings):
    """A store with one connection."""
    async with opened(settings, pool_max_size=1):
        yield


@pytest.fixture
def resets(monkeypatch):
    """The statements by which connections are reset."""
    sent = []
    execute = asyncpg.Connection.execute

    async def counted(self, query, *args, **options):
        if "RESET ALL" in query:
            sent.append(query)
        return await execute(self, query, *args, **options)

    monkeypatch.setattr(asyncpg.Connection, "execute", counted)
    return sent


async def left():
    async with async_session_factory() as session:
        return dict((await session.client.execute_rows(STATE))[0])


async def by_the_session(session, sql):
    await session.client.execute_script(sql)


async def by_a_statement(session, sql):
    await session.client.execute_query(sql)


async def past_the_store(session, sql):
    async with session.client.acquire_connection() as connection:
        await connection.fetch(sql)


async def prepared_past_the_store(session, sql):
    async with session.client.acquire_connection() as connection:
        await (await connection.prepare(sql)).fetch()


async def many_past_the_store(session, sql):
    async with session.client.acquire_connection() as connection:
        await connection.executemany(sql, [()])


async def in_a_unit_that_fails(session, sql):
    await session.client.execute_script(sql)
    raise ZeroDivisionError


WAYS = (
    by_the_session,
    by_a_statement,
    past_the_store,
    prepared_past_the_store,
    many_past_the_store,
    in_a_unit_that_fails,
)


async def leave(sql, send=by_the_session):
    with suppress(ZeroDivisionError):
        async with async_session_factory() as session:
            await send(session, sql)


@pytest.mark.parametrize("sql", LEFT.values(), ids=LEFT)
@pytest.mark.parametrize("send", WAYS)
async def test_the_next_borrower_finds_nothing_of_it(alone, sql, send):
    assert await left() == NOTHING
    await leave(sql, send)
    assert await left() == NOTHING


async def test_what_is_left_is_there_without_a_reset(alone, monkeypatch):
    """Or else the test above could not fail."""
    monkeypatch.setattr("veupath_store.engine.connection.leaves_nothing", lambda sql: True)
    for sql in LEFT.values():
        await leave(sql)
    assert await left() == {"settings": 1, "locks": 2, "channels": 1, "cursors": 1}


@pytest.mark.with_log
async def test_reading_and_writing_rows_needs_no_reset(alone, resets):
    await make_world()
    assert resets == []
    await leave(LEFT["a setting"])
    assert len(resets) == 1
    assert await left() == NOTHING  # asks by functions that are not in the list
    assert len(resets) == 2
    await make_world("another")
    assert len(resets) == 2


@pytest.mark.with_log
async def test_the_stores_own_statements_are_recognised(store):
    """But for those that set something for their transaction."""
    unknown = set()
    for repository, _, case in all_cases():
        world = await make_world()
        with recorded() as sent, suppress(StoreError):
            await case.call(repository(), world)
        unknown |= {sql for sql in sent.statements if not leaves_nothing(sql)}
    assert all("set_config(" in sql and sql.rstrip().endswith("true)") for sql in unknown), unknown
