"""`check_deployment`: each finding, provoked for real."""

import re
from dataclasses import replace

import pytest

from tests.support.checks import APPLICATION, NOWHERE, by_name, check, found, found_after, parts
from tests.support.pooler import pooler
from tests.support.roles import PASSWORD, role, url_as
from veupath_store.check import check_deployment
from veupath_store.check.log import about_losses
from veupath_store.check.probe import probing
from veupath_store.check.sessions import about_sessions
from veupath_store.config import StoreSettings
from veupath_store.values import Level

OK, WARNING, FAILURE = Level


@pytest.mark.own_database
async def test_the_least_privileges_are_enough_and_all_is_well(database_url):
    async with role(database_url, *APPLICATION) as (_, url):
        report = await check(url)
    assert report.complete
    assert report.is_well(strict=True), report
    assert {finding.name for finding in report.findings} == {
        "settings", "hosts", "version", "writable", "migrations", "schema", "indexes", "statistics",
        "storage options", "pooler", "timeouts", "order of timeouts", "session settings", "connections",
        "privileges", "role",
        "migrating role", "log",
    }  # fmt: skip
    assert all(re.fullmatch(r"[A-Z].*\.", finding.message) for finding in report.findings), report


async def test_it_writes_nothing(database_url, watcher):
    """Not even a transaction's number is taken; others may take some, on a server that is not ours alone."""
    following = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text"
    for _ in range(20):
        before = await watcher.fetchval(following)
        assert (await check(database_url)).complete
        if await watcher.fetchval(following) == before:
            return
    raise AssertionError("a number was taken each time")


# servers


async def test_settings_that_cannot_be_used(monkeypatch):
    monkeypatch.setenv("DATABASE_URL", f"mysql://me:{PASSWORD}@localhost/db")
    monkeypatch.setenv("VEUPATH_STORE_POOL_MAX_SIZE", "many")
    report = await check_deployment()
    assert not report.complete
    [finding] = report.findings
    assert (finding.name, finding.level, len(finding.details)) == ("settings", FAILURE, 1)
    assert "VEUPATH_STORE_POOL_MAX_SIZE" in finding.details[0]


async def test_variables_that_nobody_reads(database_url, monkeypatch):
    monkeypatch.setenv("VEUPATH_STORE_OF_A_NEWER_VERSION", PASSWORD)
    level, message, details = await found("settings", database_url)
    assert (level, details) == (WARNING, ["VEUPATH_STORE_OF_A_NEWER_VERSION"])
    assert "remove them, or upgrade" in message


async def test_a_server_that_is_down():
    report = await check(NOWHERE)
    assert not report.complete
    level, message, details = await found("hosts", NOWHERE)
    assert (level, message) == (FAILURE, "No server accepts a connection; see what to do about each host.")
    [line] = details
    assert line.startswith("127.0.0.1:1: the connection was refused, as no server listens there. Start the server")


async def test_one_of_two_hosts_is_down(database_url, server):
    host, port = server.target.hosts[0]
    if host.startswith("/"):
        pytest.skip("two hosts are told apart by TCP ports")
    two = database_url.replace(f"@{host}:{port}", f"@127.0.0.1:1,{host}:{port}")
    level, message, details = await found("hosts", two)
    assert (level, details[0][:40]) == (WARNING, "127.0.0.1:1: the connection was refused,")
    assert "1 of 2 hosts" in message
    assert (await check(two)).complete


async def test_a_role_that_does_not_exist(database_url):
    level, _, details = await found("hosts", url_as(database_url, "nobody_of_that_name"))
    assert level is FAILURE
    assert "it has no such role that may log in" in details[0]
    assert "create it with LOGIN" in details[0]


async def test_a_version_that_is_too_old(database_url, monkeypatch):
    monkeypatch.setattr("veupath_store.check.hosts.OLDEST", 990_000)
    level, message, _ = await found("version", database_url)
    assert (level, message) == (FAILURE, "PostgreSQL 99 or later is needed: upgrade the server.")


@pytest.mark.own_database
async def test_a_server_that_is_read_only(database_url, server):
    name = StoreSettings(database_url=database_url).target.database
    await server.run(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    level, message, _ = await found("writable", database_url)
    assert level is FAILURE
    assert "No server takes writes" in message
    assert (await found("hosts", database_url))[2][0].endswith("read-only")


# sessions


async def test_a_pooler_that_is_not_said(database_url):
    async with pooler(database_url) as url:
        assert (await found("pooler", url))[:2] == (
            FAILURE,
            "A pooler stands in between: set VEUPATH_STORE_PGBOUNCER=true, because prepared statements and session "
            "settings do not survive it.",
        )
        report = await check(url, pgbouncer=True)
        assert report.complete
        assert by_name(report.findings)["pooler"].level is OK
        assert by_name(report.findings)["timeouts"].level is OK
        level, message, _ = await found("migrating role", database_url, migration_database_url=url)
        assert (level, message) == (FAILURE, "MIGRATION_DATABASE_URL goes through a pooler: make it a direct one.")
        assert "with MIGRATION_DATABASE_URL" in by_name(report.findings)["migrating role"].message


async def test_a_pooler_that_refuses_the_settings(database_url):
    async with pooler(database_url, refuses_settings=True) as url:
        level, _, details = await found("hosts", url)
        assert level is FAILURE
        assert "Set VEUPATH_STORE_PGBOUNCER=true" in details[0]
        assert (await check(url, pgbouncer=True)).complete
        _, message, _ = await found("migrating role", database_url, migration_database_url=url)
        assert message == "MIGRATION_DATABASE_URL goes through a pooler: make it a direct one."


async def test_a_pooler_that_is_said_and_not_there(database_url):
    assert (await found("pooler", database_url, pgbouncer=True))[0] is WARNING


async def test_timeouts_that_the_server_does_not_keep(settings):
    reset = "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 700"
    finding = (await found_after(reset, about_sessions, settings))["timeouts"]
    assert finding.level is FAILURE
    assert set(finding.details) == {
        "statement_timeout: is none, should be 10 s",
        "lock_timeout: is 0.7 s, should be 5 s",
    }


async def test_timeouts_that_never_take_effect(settings):
    async with probing(settings) as probe:
        for changed, variable in (
            ({"command_timeout": 10.0}, "COMMAND_TIMEOUT"),
            ({"lock_timeout": 30.0}, "LOCK_TIMEOUT"),
        ):
            other = replace(probe, settings=settings.model_copy(update=changed))
            finding = by_name(await about_sessions(other))["order of timeouts"]
            assert (finding.level, len(finding.details)) == (WARNING, 1)
            assert finding.details[0].startswith(f"VEUPATH_STORE_{variable}")
    two = "postgresql://me@127.0.0.1:1,127.0.0.1:2/db"
    assert (await check(two)).complete is False


async def test_a_pool_that_is_larger_than_what_the_role_may_have(database_url):
    async with role(database_url, *APPLICATION, options="CONNECTION LIMIT 4") as (_, url):
        level, message, _ = await found("connections", url)
        assert level is WARNING
        assert "10 connections and the role's limit leaves 4: lower VEUPATH_STORE_POOL_MAX_SIZE" in message
        assert (await found("connections", url, pool_max_size=2))[1].startswith(
            "A process may hold 2 of 4 connections: room for 2 process(es)."
        )


async def test_a_pool_that_is_larger_than_the_server(database_url):
    async with role(database_url, *APPLICATION) as (_, url):
        level, message, _ = await found("connections", url, pool_max_size=1_000)
    assert level is WARNING
    assert "max_connections leaves" in message


# what logs have lost

LOST = """
INSERT INTO users (id) VALUES ('00000000-0000-4000-8000-000000000001');
INSERT INTO streams (id, user_id, site_id) SELECT gen_random_uuid(), id, 'plasmodb' FROM users;
INSERT INTO stream_projections (stream_id, user_id, site_id, name, lost) SELECT id, user_id, site_id, 'Kinases',
    jsonb_build_object('messages', 3, 'after', '1-0', 'before', '9-0', 'at', now() - interval '{age}') FROM streams"""


@pytest.mark.parametrize(("age", "level", "count"), [("6 days", WARNING, 1), ("8 days", OK, 0)])
async def test_what_logs_have_lost_is_a_finding_for_a_week(database_url, age, level, count):
    settings = StoreSettings(database_url=database_url, redis_url="redis://127.0.0.1:1/0")
    before = parts((await found_after("SELECT 1", about_losses, settings))["log losses"])
    assert before == (OK, "No log has lost anything.", [])
    told = parts((await found_after(LOST.format(age=age), about_losses, settings))["log losses"])
    assert (told[0], len(told[2])) == (level, count)
    assert all("3 message(s) between 1-0 and 9-0, seen " in line for line in told[2])
    assert await found_after("SELECT 1", about_losses, StoreSettings(database_url=database_url)) == {}
