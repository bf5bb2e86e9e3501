"""The readiness check: database, migrations, pool."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from pydantic import SecretStr

from tests.support.databases import opened
from veupath_store import Event, ProjectionWorker, Projector, StoreSettings, StreamRepository, async_session_factory
from veupath_store.check.readiness import check_readiness
from veupath_store.schema.migrations import migration_files
from veupath_store.session import get_engine


async def test_an_open_store_is_ready_and_shows_its_pool(store):
    async with AsyncExitStack() as stack:
        for _ in range(3):
            session = await stack.enter_async_context(async_session_factory())
            await session.client.execute_rows("SELECT 1")
        found = await check_readiness()
    assert (found.ready, found.database, found.pending_migrations, found.problem) == (True, True, (), None)
    assert (found.pool_in_use, found.pool_max_size) == (3, 10)
    assert found.pool_size >= 3


async def test_a_database_that_is_behind_is_reachable_and_not_ready(empty_url):
    async with opened(StoreSettings(database_url=empty_url), require_head=False):
        found = await check_readiness()
    assert (found.ready, found.database, found.problem) == (False, True, "SchemaError")
    assert list(found.pending_migrations) == migration_files()


async def test_an_exhausted_pool_is_not_ready_and_says_so_in_time(settings):
    async with opened(settings.model_copy(update={"pool_max_size": 1})), async_session_factory():
        found = await check_readiness(patience=0.2)
    assert (found.ready, found.database, found.pending_migrations) == (False, False, None)
    assert found.problem == "TimeoutError"
    assert (found.pool_in_use, found.pool_max_size) == (1, 1)


@pytest.mark.own_database
async def test_a_database_that_is_gone_is_not_ready(server, store, settings):
    name = settings.target.database
    await server.run(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS false')
    await server.run(f"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = '{name}'")
    found = await check_readiness()
    assert (found.ready, found.database, found.problem) == (False, False, "UnavailableError")
    await server.run(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS true')


@pytest.mark.own_database
async def test_a_database_that_takes_no_writes_is_not_ready(server, settings):
    name = settings.target.database
    async with opened(settings):
        await server.run(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        (await get_engine().open()).expire_all_connections()
        found = await check_readiness()
        await server.run(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
    assert (found.ready, found.database, found.writable, found.problem) == (False, True, False, "UnavailableError")


@pytest.mark.without_log
async def test_without_a_log_nothing_is_said_of_it(store):
    found = await check_readiness()
    assert (found.log, found.behind, found.behind_seconds) == (None, None, None)


@pytest.mark.with_log
async def test_rows_that_wait_for_the_projection_worker_are_counted_with_their_age(store, user):
    fresh = await check_readiness()
    assert (fresh.log, fresh.behind, fresh.behind_seconds) == (True, 0, 0.0)
    streams = [(await StreamRepository().create(user.id, "plasmodb")).id for _ in range(3)]
    for stream in streams[:2]:
        await Projector().append(stream, [Event(type="user_message", data={"content": "Find kinases"})])
    await asyncio.sleep(0.2)
    found = await check_readiness()
    assert (found.ready, found.behind) == (True, 2)
    assert 0.2 <= found.behind_seconds < 60
    assert await ProjectionWorker().drain() == 3  # the third is not in its log yet
    assert (await check_readiness()).behind == 0


@pytest.mark.with_log
async def test_a_log_that_is_away_leaves_the_process_ready_and_is_told(private_redis, settings):
    async with opened(settings.model_copy(update={"redis_url": SecretStr(private_redis.url)})):
        with private_redis.down():
            found = await check_readiness()
    assert (found.ready, found.log, found.behind, found.problem) == (True, False, None, "UnavailableError")


@pytest.mark.with_log
@pytest.mark.parametrize("option", ["min-replicas-to-write", "maxmemory"])
async def test_a_log_that_takes_no_writes_does_not_serve(option, private_redis, settings):
    async with opened(settings.model_copy(update={"redis_url": SecretStr(private_redis.url)})):
        with private_redis.client() as beside:
            beside.config_set(option, 1)
            found = await check_readiness()
            beside.config_set(option, 0)
            again = await check_readiness()
    assert (found.ready, found.log, found.behind) == (True, False, None)
    assert (again.ready, again.log, again.problem) == (True, True, None)
