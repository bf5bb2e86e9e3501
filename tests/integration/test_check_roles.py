"""`check_deployment`: what the application's role may do, and the one that migrates."""

import pytest

from tests.support.checks import APPLICATION, NOWHERE, check, found
from tests.support.roles import role
from veupath_store.values import Level

pytestmark = pytest.mark.large

OK, WARNING, FAILURE = Level


async def test_privileges_that_are_missing(database_url, watcher):
    async with role(database_url, *APPLICATION, "REVOKE DELETE, UPDATE ON streams FROM {role}") as (name, url):
        level, _, details = await found("privileges", url)
        assert (level, details) == (FAILURE, [f"GRANT UPDATE, DELETE ON streams TO {name};"])
        await watcher.execute(f"REVOKE SELECT ON aerich FROM {name}")
        report = await check(url)
        assert not report.complete
        assert any("GRANT SELECT ON it" in finding.message for finding in report.findings)


@pytest.mark.own_database
async def test_a_role_without_the_schema(database_url):
    async with role(database_url, "REVOKE USAGE ON SCHEMA public FROM PUBLIC") as (_, url):
        level, message, _ = await found("migrations", url)
    assert level is FAILURE
    assert "GRANT USAGE ON SCHEMA" in message


@pytest.mark.own_database
async def test_a_superuser_is_warned_of_and_so_is_an_owner_that_does_not_migrate(database_url):
    async with role(database_url, options="SUPERUSER") as (_, url):
        level, message, _ = await found("role", url)
        assert (level, "is a superuser" in message) == (WARNING, True)
    async with role(database_url, *APPLICATION, "ALTER TABLE streams OWNER TO {role}") as (_, url):
        assert (await found("role", url))[0] is OK
        level, message, _ = await found("role", url, migration_database_url=database_url)
        assert (level, "owns tables" in message) == (WARNING, True)


async def test_a_role_that_cannot_migrate(database_url, empty_url):
    async with role(database_url, *APPLICATION) as (name, url):
        assert (await found("migrating role", url))[:2] == (
            OK,
            "The application's role cannot migrate; the deploy has to, with the URL of a role that owns the tables.",
        )
        level, _, details = await found("migrating role", url, migration_database_url=url)
        assert level is FAILURE
        assert f"GRANT USAGE, CREATE ON SCHEMA public TO {name};" in details
        assert f"ALTER TABLE users OWNER TO {name};" in details
        assert (await found("migrating role", url, migration_database_url=database_url))[0] is OK
        level, message, _ = await found("migrating role", url, migration_database_url=empty_url)
        assert (level, "another database" in message) == (FAILURE, True)
        level, message, _ = await found("migrating role", url, migration_database_url=NOWHERE)
        assert (level, "cannot be used" in message) == (FAILURE, True)
