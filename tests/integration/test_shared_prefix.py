"""Two databases on one prefix of one Redis: `check`, readiness and the worker notice."""

import logging

import pytest

from tests.support.checks import by_name, parts
from tests.support.projections import logged
from tests.support.redis_servers import client
from tests.support.roles import role
from veupath_store import ProjectionWorker, close_db, init_db
from veupath_store.check import check_deployment
from veupath_store.check.log import about_holder
from veupath_store.check.probe import probing
from veupath_store.check.readiness import check_readiness
from veupath_store.config import StoreSettings
from veupath_store.events.holder import database_identity
from veupath_store.events.log.scripts import DAY, HOLDER
from veupath_store.session import get_engine
from veupath_store.values import Level

pytestmark = pytest.mark.own_database


@pytest.fixture
async def both(server, template, database_url, redis_url, log_prefix):
    """Settings of two applications that share Redis and prefix; one has a dump of the other's database."""
    async with server.database(template) as other_url:
        yield [logged(url, redis_url, log_prefix) for url in (database_url, other_url)]


async def shared(settings: StoreSettings) -> bool | None:
    await init_db(settings=settings)
    try:
        return (await check_readiness()).log_is_shared
    finally:
        await close_db()


async def checked(settings: StoreSettings):
    async with probing(settings) as probe:
        return parts(by_name(await about_holder(probe))["log prefix"])


async def test_the_second_database_is_told_and_the_first_has_the_prefix(both):
    assert [await shared(each) for each in (*both, *both)] == [False, True, False, True]
    assert (await checked(both[0]))[0] is Level.OK
    level, message, details = await checked(both[1])
    assert (level, len(details)) == (Level.WARNING, 2)
    assert "VEUPATH_STORE_LOG_PREFIX" in message
    assert f"redis-cli UNLINK {both[1].log_prefix}{HOLDER}" in message


async def test_what_was_restored_or_moved_has_the_prefix_once_the_other_is_not_seen_any_more(both):
    await shared(both[0])
    with client(both[0].redis_url.get_secret_value()) as beside:
        key = f"{both[0].log_prefix}{HOLDER}"
        assert DAY - 60 < beside.ttl(key) <= DAY
        assert await shared(both[1]) is True
        beside.expire(key, 100)
        assert await shared(both[1]) is True
        assert beside.ttl(key) <= 100, "only its holder prolongs it"
        assert await shared(both[0]) is False
        assert beside.ttl(key) > 100
        beside.unlink(key)
    assert [await shared(both[1]), await shared(both[0])] == [False, True]


async def test_the_check_takes_the_prefix_for_nobody(both):
    assert (await checked(both[0]))[0] is Level.OK
    with client(both[0].redis_url.get_secret_value()) as beside:
        assert beside.keys(f"{both[0].log_prefix}*") == []
    report = await check_deployment(both[0])
    assert by_name(report.findings)["log prefix"].level is Level.OK


async def test_a_worker_of_the_second_database_says_so_when_it_sweeps(both, caplog):
    await shared(both[0])
    for settings, times in ((both[1], 1), (both[0], 0)):
        caplog.clear()
        await init_db(settings=settings)
        with caplog.at_level(logging.WARNING, "veupath_store.events"):
            await ProjectionWorker(sweep_every=0.001)._sweep_in_turn()
        await close_db()
        assert caplog.text.count("another database uses the same prefix") == times


async def test_without_a_log_or_where_it_is_away_nothing_is_said(database_url):
    away = StoreSettings(database_url=database_url, redis_url="redis://127.0.0.1:1")
    for settings in (StoreSettings(database_url=database_url), away):
        assert await shared(settings) is None
        async with probing(settings) as probe:
            assert await about_holder(probe) == []


async def test_a_role_that_may_not_know_the_cluster_is_told_nothing(database_url, watcher, both):
    await watcher.execute("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
    async with role(database_url, "GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}") as (_, url):
        assert await shared(both[0].model_copy(update={"database_url": type(both[0].database_url)(url)})) is None


async def test_a_role_with_the_least_privileges_sees_the_same_identity(database_url):
    async with role(database_url) as (_, url):
        seen = []
        for each in (database_url, url):
            await init_db(settings=StoreSettings(database_url=each), require_head=False)
            seen.append(await database_identity((await get_engine().open()).execute_rows))
            await close_db()
    assert seen[0] == seen[1] is not None
