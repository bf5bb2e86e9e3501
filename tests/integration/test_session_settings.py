"""What a role or a database may set for its sessions, and correctness rests on: it is set or refused in ours."""

import asyncio
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest

from tests.support import faults
from tests.support.checks import APPLICATION, by_name, check
from tests.support.databases import connected
from tests.support.opened import opened
from tests.support.pooler import pooler
from tests.support.roles import role
from veupath_store import StoreSettings, StreamRepository, UserRepository, async_session_factory, init_db
from veupath_store.errors import ConfigurationError
from veupath_store.values import Level

pytestmark = pytest.mark.own_database

WEAK = {
    "default_transaction_isolation": "'repeatable read'",
    "standard_conforming_strings": "off",
    "quote_all_identifiers": "on",
    "synchronous_commit": "off",
    "statement_timeout": "0",
    "lock_timeout": "1",
    "idle_in_transaction_session_timeout": "1",
    "timezone": "'Asia/Tokyo'",
}
"""What may be set for the application's role, and is not kept."""


@asynccontextmanager
async def weakened(url: str, **values: str):
    """A role of an application for which something is set, by its URL."""
    async with role(url, *APPLICATION) as (name, own), connected(url) as owner:
        for setting, value in values.items():
            await owner.execute(f"ALTER ROLE {name} SET {setting} = {value}")
        yield own


async def _shown(client, *names: str) -> list[str]:
    row = (await client.execute_rows(f"SELECT {', '.join(f'current_setting({name!r})' for name in names)}"))[0]
    return list(row.values())


@pytest.mark.parametrize("level", ["read committed", "repeatable read", "serializable"])
async def test_20_writers_of_one_name_all_create_whatever_isolation_a_role_has(database_url, level):
    async with weakened(database_url, default_transaction_isolation=f"'{level}'") as url, opened(url):
        user = await UserRepository().create()

        async def create(number: int) -> str:
            if number % 2:
                return (await StreamRepository().create(user.id, "plasmodb")).id
            async with async_session_factory() as session:
                return (await StreamRepository(session).create(user.id, "plasmodb")).id

        assert len(set(await asyncio.gather(*(create(number) for number in range(20))))) == 20
        await asyncio.gather(*(UserRepository().get_or_create_by_external_id("one") for _ in range(20)))


async def test_a_unit_of_work_through_a_pooler_is_read_committed_and_durable(database_url):
    async with (
        weakened(database_url, **WEAK) as url,
        pooler(url) as pooled,
        opened(pooled, pgbouncer=True),
        async_session_factory() as session,
    ):
        shown = await _shown(session.client, "transaction_isolation", "synchronous_commit", "statement_timeout")
    assert shown == ["read committed", "on", "10s"]


async def test_what_a_role_sets_is_overridden_also_after_a_reset(database_url):
    expected = ["read committed", "on", "off", "on", "10s", "5s", "1min", "UTC"]
    async with weakened(database_url, **WEAK) as url, opened(url, pool_max_size=1) as client:
        assert await _shown(client, *WEAK) == expected
        async with async_session_factory() as session:
            await session.client.execute_script("SET synchronous_commit = off; SET lock_timeout = 77")
        assert await _shown(client, *WEAK) == expected


@pytest.mark.parametrize("chosen", ["remote_apply", "remote_write", "local"])
async def test_how_long_a_commit_waits_for_standbys_is_the_operator_s_choice(database_url, chosen):
    async with weakened(database_url, synchronous_commit=chosen) as url, opened(url) as client:
        assert await _shown(client, "synchronous_commit") == [chosen]


async def test_commits_that_are_made_durable_are_logged_once(database_url, caplog):
    async with weakened(database_url, synchronous_commit="off") as url, opened(url) as client:
        await faults.acquire_all(client)
    assert [record.message[:25] for record in caplog.records].count("synchronous_commit is off") == 1


async def test_a_role_without_foreign_keys_is_refused(database_url):
    async with weakened(database_url, session_replication_role="replica") as url:
        with pytest.raises(ConfigurationError, match="session_replication_role is replica"):
            await init_db(settings=StoreSettings(database_url=url))


async def test_check_names_what_a_role_or_a_database_overrides_and_what_to_type(database_url):
    async with role(database_url, *APPLICATION) as (name, url):
        assert by_name((await check(url)).findings)["session settings"].level is Level.OK
        database = StoreSettings(database_url=url).target.database
        async with connected(database_url) as owner:
            await owner.execute(f"ALTER ROLE {name} SET default_transaction_isolation = serializable")
            await owner.execute(f'ALTER DATABASE "{database}" SET synchronous_commit = off')
            await owner.execute(f'ALTER ROLE {name} IN DATABASE "{database}" SET standard_conforming_strings = off')
        found = by_name((await check(url)).findings)["session settings"]
        assert found.level is Level.WARNING
        reset = (
            "default_transaction_isolation = 'serializable': type ALTER ROLE {0} RESET default_transaction_isolation"
        )
        assert set(found.details) == {
            reset.format(name),
            f"synchronous_commit = 'off': type ALTER DATABASE {database} RESET synchronous_commit",
            f"standard_conforming_strings = 'off': type ALTER ROLE {name} IN DATABASE {database} RESET "
            "standard_conforming_strings",
        }
        async with pooler(url) as pooled:
            found = by_name((await check(pooled, pgbouncer=True)).findings)["session settings"]
        assert found.level is Level.FAILURE, "statements outside of a transaction run with what the role has"
        assert "default_transaction_isolation: is serializable, must be read committed" in found.details


async def test_a_transaction_that_its_caller_made_read_only_keeps_the_pool(database_url, watcher):
    async with opened(database_url, pool_max_size=3) as client:
        await faults.acquire_all(client)
        before = set(await faults.pids(watcher))
        for _ in range(5):
            with pytest.raises(Exception, match="read-only"):
                async with async_session_factory() as session:
                    await session.client.execute_script("SET TRANSACTION READ ONLY")
                    await UserRepository(session).get_or_create(uuid4())
        await faults.acquire_all(client)
        assert set(await faults.pids(watcher)) == before
