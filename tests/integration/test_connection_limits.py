"""A server that allows fewer connections than the pool may hold: calls wait for those that there are."""

import asyncio
import time
from collections import Counter

import pytest

from tests.support import faults
from tests.support.checks import APPLICATION
from tests.support.databases import connected
from tests.support.opened import opened
from tests.support.pooler import pgbouncer, pooler
from tests.support.roles import role
from tests.support.servers import until
from veupath_store import StoreSettings, UserRepository, async_session_factory, close_db, init_db
from veupath_store.errors import UnavailableError

pytestmark = pytest.mark.own_database


async def _call(number: int) -> str:
    try:
        if number % 2:
            await UserRepository().create()
        else:
            async with async_session_factory() as session:
                await UserRepository(session).create()
    except UnavailableError as exc:
        return str(exc)
    return "ok"


async def _calls(count: int, tasks: int) -> Counter[str]:
    numbers = iter(range(count))

    async def caller() -> list[str]:
        return [await _call(number) for number in numbers]

    return Counter(said for answers in await asyncio.gather(*(caller() for _ in range(tasks))) for said in answers)


async def _sleeping(seconds: float) -> None:
    async with async_session_factory() as session:
        await session.client.execute_rows(f"SELECT pg_sleep({seconds})")


def _limited(url: str, connections: int):
    """A role that may have so many connections: its name and URL."""
    return role(url, *APPLICATION, options=f"CONNECTION LIMIT {connections}")


@pytest.mark.parametrize("calls", [200, pytest.param(6_000, marks=pytest.mark.large)])
async def test_no_call_fails_where_a_role_may_have_three_connections_and_the_pool_ten(database_url, watcher, calls):
    async with _limited(database_url, 3) as (_, url):
        async with opened(url, pool_min_size=5, acquire_timeout=5) as client:
            assert await _calls(calls, tasks=32) == {"ok": calls}
            assert 1 <= len(await faults.pids(watcher)) <= client.usage().open <= 3
        await faults.nobody_connected(watcher)
        await asyncio.sleep(0.1)
        assert await faults.pids(watcher) == [], "none comes late"


async def test_a_limit_that_is_raised_is_noticed_while_calls_wait(database_url):
    async with _limited(database_url, 2) as (name, url), opened(url, pool_max_size=6) as client:
        stop = asyncio.Event()

        async def busy() -> None:
            while not stop.is_set():
                await _sleeping(0.01)

        tasks = [asyncio.create_task(busy()) for _ in range(12)]
        await asyncio.sleep(0.3)
        assert client.usage().open <= 2
        async with connected(database_url) as owner:
            await owner.execute(f'ALTER ROLE "{name}" CONNECTION LIMIT 50')
        await until(lambda: client.usage().open == 6, within=10, what="the pool has all of its connections")
        stop.set()
        await asyncio.gather(*tasks)
        await faults.assert_pool_complete()


async def test_without_any_connection_a_call_waits_for_one_and_fails_with_the_name_of_the_limit(database_url):
    async with _limited(database_url, 1) as (_, url):
        settings = StoreSettings(database_url=url, acquire_timeout=0.6)
        async with connected(url) as other:
            started = time.monotonic()
            with pytest.raises(UnavailableError, match="the role's CONNECTION LIMIT"):
                await init_db(settings=settings)
            assert time.monotonic() - started < 20
            opening = asyncio.create_task(init_db(settings=settings.model_copy(update={"acquire_timeout": 20.0})))
            await asyncio.sleep(0.3)
            assert not opening.done()
            await other.close()
            await opening
        assert await _calls(20, tasks=5) == {"ok": 20}
        await close_db()


async def test_a_database_s_limit_is_named(database_url, server):
    name = StoreSettings(database_url=database_url).target.database
    async with role(database_url, *APPLICATION) as (_, url):
        await server.run(f'ALTER DATABASE "{name}" CONNECTION LIMIT 0')
        with pytest.raises(UnavailableError, match="the database's CONNECTION LIMIT"):
            await init_db(settings=StoreSettings(database_url=url, acquire_timeout=0.3))
        await server.run(f'ALTER DATABASE "{name}" CONNECTION LIMIT -1')


async def test_a_pooler_s_limit_is_waited_for_without_a_storm_of_attempts(database_url):
    limit = [2]
    async with pooler(database_url, max_client_conn=limit) as url:
        async with opened(url, pgbouncer=True) as client:
            await asyncio.gather(*(_sleeping(0.1) for _ in range(20)))
            assert client.usage().open == 2
            assert len(limit) - 1 < 20, "refused attempts: one for each empty place, and one now and then"
            limit[0] = 0
        await asyncio.sleep(0.1)
        with pytest.raises(UnavailableError, match="PgBouncer's max_client_conn"):
            await init_db(settings=StoreSettings(database_url=url, pgbouncer=True, acquire_timeout=0.3))


@pytest.mark.large
async def test_no_call_fails_through_a_pgbouncer_that_takes_three_clients(database_url, tmp_path):
    async with (
        pgbouncer(database_url, tmp_path, max_client_conn=3, default_pool_size=2) as url,
        opened(url, pgbouncer=True) as client,
    ):
        assert await _calls(2_000, tasks=20) == {"ok": 2_000}
        assert client.usage().open == 3


async def test_closing_refuses_what_waits_for_a_first_connection(database_url):
    async with _limited(database_url, 1) as (_, url), opened(url, pool_min_size=0, acquire_timeout=30) as client:
        await client._pool.expire_connections()
        for holder in client._pool._holders:
            holder.terminate()
        await asyncio.sleep(0.2)
        async with connected(url):
            waiting = [asyncio.create_task(_call(number)) for number in range(10)]
            await asyncio.sleep(0.5)
            async with asyncio.timeout(20):
                await close_db()
                answers = await asyncio.gather(*waiting)
        assert all("closed" in answer for answer in answers)


async def test_a_database_that_closes_its_doors_while_calls_wait_at_a_limit_fails_them_at_once(database_url, server):
    name = StoreSettings(database_url=database_url).target.database
    async with role(database_url, *APPLICATION) as (_, url):
        await server.run(f'ALTER DATABASE "{name}" CONNECTION LIMIT 1')
        async with opened(url, acquire_timeout=30):
            async with async_session_factory() as session:
                await session.client.execute_rows("SELECT 1")
                waiting = [asyncio.create_task(_call(number)) for number in range(10)]
                await asyncio.sleep(0.3)
                await server.run(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS false')
                async with asyncio.timeout(10):
                    answers = await asyncio.gather(*waiting)
            await server.run(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS true')
            assert "ok" not in answers
            assert await _calls(10, tasks=2) == {"ok": 10}
