"""`check_deployment`: each finding, provoked for real; of the schema in test_check_schema."""

import re
import sys
from dataclasses import replace

import pytest

from tests.support.checks import APPLICATION, NOWHERE, assert_found, by_name, check, found, found_after, parts
from tests.support.pooler import pooler
from tests.support.roles import PASSWORD, role, url_as
from veupath_store.check import check_deployment
from veupath_store.check.log import about_log, about_losses
from veupath_store.check.probe import probing
from veupath_store.check.sessions import about_sessions
from veupath_store.config import StoreSettings
from veupath_store.values import Level

OK, WARNING, FAILURE = Level
DIRECT = "MIGRATION_DATABASE_URL goes through a pooler: make it a direct one."


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
    details = await assert_found("settings", database_url, WARNING, "remove them, or upgrade")
    assert details == ["VEUPATH_STORE_OF_A_NEWER_VERSION"]


async def test_a_server_that_is_down():
    report = await check(NOWHERE)
    assert not report.complete
    said = "No server accepts a connection; see what to do about each host."
    [line] = await assert_found("hosts", NOWHERE, FAILURE, said)
    assert line.startswith("127.0.0.1:1: the connection was refused, as no server listens there. Start the server")


async def test_one_of_two_hosts_is_down(database_url, server):
    host, port = server.target.hosts[0]
    if host.startswith("/"):
        pytest.skip("two hosts are told apart by TCP ports")
    two = database_url.replace(f"@{host}:{port}", f"@127.0.0.1:1,{host}:{port}")
    details = await assert_found("hosts", two, WARNING, "1 of 2 hosts")
    assert details[0].startswith("127.0.0.1:1: the connection was refused,")
    assert (await check(two)).complete


async def test_a_role_that_does_not_exist(database_url):
    details = await assert_found("hosts", url_as(database_url, "nobody_of_that_name"), FAILURE, "")
    assert "it has no such role that may log in" in details[0]
    assert "create it with LOGIN" in details[0]


async def test_a_version_that_is_too_old(database_url, monkeypatch):
    monkeypatch.setattr("veupath_store.check.hosts.OLDEST", 990_000)
    await assert_found("version", database_url, FAILURE, "PostgreSQL 99 or later is needed: upgrade the server.")


@pytest.mark.own_database
async def test_a_server_that_is_read_only(database_url, server):
    name = StoreSettings(database_url=database_url).target.database
    await server.run(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    await assert_found("writable", database_url, FAILURE, "No server takes writes")
    assert (await found("hosts", database_url))[2][0].endswith("read-only")


# sessions


async def test_a_pooler_that_is_not_said(database_url):
    async with pooler(database_url) as url:
        why = "because prepared statements and session settings do not survive it."
        await assert_found(
            "pooler", url, FAILURE, f"A pooler stands in between: set VEUPATH_STORE_PGBOUNCER=true, {why}"
        )
        report = await check(url, pgbouncer=True)
        assert report.complete
        assert {by_name(report.findings)[name].level for name in ("pooler", "timeouts")} == {OK}
        await assert_found("migrating role", database_url, FAILURE, DIRECT, migration_database_url=url)
        assert "with MIGRATION_DATABASE_URL" in by_name(report.findings)["migrating role"].message


async def test_a_pooler_that_refuses_the_settings(database_url):
    async with pooler(database_url, refuses_settings=True) as url:
        assert "Set VEUPATH_STORE_PGBOUNCER=true" in (await assert_found("hosts", url, FAILURE, ""))[0]
        assert (await check(url, pgbouncer=True)).complete
        await assert_found("migrating role", database_url, FAILURE, DIRECT, migration_database_url=url)


async def test_a_pooler_that_is_said_and_not_there(database_url):
    await assert_found("pooler", database_url, WARNING, "", pgbouncer=True)


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
        lower = "10 connections and the role's limit leaves 4: lower VEUPATH_STORE_POOL_MAX_SIZE"
        await assert_found("connections", url, WARNING, lower)
        room = "A process may hold 2 of 4 connections: room for 2 process(es)"
        await assert_found("connections", url, OK, room, pool_max_size=2)


async def test_a_pool_that_is_larger_than_the_server(database_url):
    async with role(database_url, *APPLICATION) as (_, url):
        await assert_found("connections", url, WARNING, "max_connections leaves", pool_max_size=1_000)


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


# roles


@pytest.mark.large
async def test_privileges_that_are_missing(database_url, watcher):
    async with role(database_url, *APPLICATION, "REVOKE DELETE, UPDATE ON streams FROM {role}") as (name, url):
        level, _, details = await found("privileges", url)
        assert (level, details) == (FAILURE, [f"GRANT UPDATE, DELETE ON streams TO {name};"])
        await watcher.execute(f"REVOKE SELECT ON aerich FROM {name}")
        report = await check(url)
        assert not report.complete
        assert any("GRANT SELECT ON it" in finding.message for finding in report.findings)


@pytest.mark.large
@pytest.mark.own_database
async def test_a_role_without_the_schema(database_url):
    async with role(database_url, "REVOKE USAGE ON SCHEMA public FROM PUBLIC") as (_, url):
        await assert_found("migrations", url, FAILURE, "GRANT USAGE ON SCHEMA")


@pytest.mark.large
@pytest.mark.own_database
async def test_a_superuser_is_warned_of_and_so_is_an_owner_that_does_not_migrate(database_url):
    async with role(database_url, options="SUPERUSER") as (_, url):
        await assert_found("role", url, WARNING, "is a superuser")
    async with role(database_url, *APPLICATION, "ALTER TABLE streams OWNER TO {role}") as (_, url):
        await assert_found("role", url, OK, "")
        await assert_found("role", url, WARNING, "owns tables", migration_database_url=database_url)


@pytest.mark.large
async def test_a_role_that_cannot_migrate(database_url, empty_url):
    async with role(database_url, *APPLICATION) as (name, url):
        deploy = "cannot migrate; the deploy has to, with the URL of a role that owns the tables."
        await assert_found("migrating role", url, OK, f"The application's role {deploy}")
        details = await assert_found("migrating role", url, FAILURE, "", migration_database_url=url)
        assert f"GRANT USAGE, CREATE ON SCHEMA public TO {name};" in details
        assert f"ALTER TABLE users OWNER TO {name};" in details
        await assert_found("migrating role", url, OK, "", migration_database_url=database_url)
        await assert_found("migrating role", url, FAILURE, "another database", migration_database_url=empty_url)
        await assert_found("migrating role", url, FAILURE, "cannot be used", migration_database_url=NOWHERE)


# the event log's server

KEPT = {"appendonly": "yes", "maxmemory": 0, "min-replicas-to-write": 0, "maxmemory-policy": "noeviction"}


@pytest.fixture
def log(private_redis):
    """A client of the log's server, which is as it was afterwards."""
    with private_redis.client() as client:
        yield client
        client.replicaof("no", "one")
        for name, value in KEPT.items():
            client.config_set(name, value)


async def look(redis_url):
    """Whether the log could be looked at, and what was found; nothing in it shows the password."""
    complete, findings = await about_log(StoreSettings(database_url=NOWHERE, redis_url=redis_url))
    assert PASSWORD not in repr(findings)
    return complete, by_name(findings)


async def levels(redis_url):
    complete, findings = await look(redis_url)
    assert complete
    return {name: finding.level for name, finding in findings.items()}


async def test_a_log_that_is_kept(private_redis, log):
    expected = {"log": OK, "log rights": OK, "log version": OK, "log writable": OK, "log persistence": OK}
    assert await levels(private_redis.url) == expected


async def test_a_log_that_may_lose_what_it_acknowledged(private_redis, log):
    for name, value in {"appendonly": "no", "maxmemory": 100_000_000, "maxmemory-policy": "allkeys-lru"}.items():
        log.config_set(name, value)
    level, _, details = parts((await look(private_redis.url))[1]["log persistence"])
    assert level is WARNING
    assert [detail.split(" is ")[0] for detail in details] == ["appendonly", "maxmemory-policy"]


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("CONFIG SET min-replicas-to-write 1", "too few replicas are in reach"),
        ("CONFIG SET maxmemory 1", "its memory is full"),
        ("REPLICAOF 127.0.0.1 1", "replica"),
    ],
)
async def test_a_log_that_takes_no_writes(private_redis, log, command, why):
    log.execute_command(*command.split())
    level, message, _ = parts((await look(private_redis.url))[1]["log writable"])
    assert (level, why in message) == (FAILURE, True)
    assert log.keys() == []


async def test_a_log_whose_version_is_too_old(private_redis, log, monkeypatch):
    monkeypatch.setattr("veupath_store.check.log.OLDEST", (99, 0))
    level, message, _ = parts((await look(private_redis.url))[1]["log version"])
    assert (level, message) == (FAILURE, "Redis 99.0 or later is needed: upgrade the server.")


async def test_a_log_whose_user_may_not_ask(private_redis, log):
    log.execute_command("ACL", "SETUSER", "storeuser", "on", f">{PASSWORD}", "~*", "+@all", "-info")
    url = private_redis.url.replace("unix://", f"unix://storeuser:{PASSWORD}@")
    assert await levels(url) == {"log": OK, "log rights": OK, "log writable": OK, "log persistence": WARNING}
    wrong = private_redis.url.replace("unix://", f"unix://storeuser:{PASSWORD}x@")
    assert (await look(wrong))[0] is False


async def test_a_log_that_is_down():
    complete, findings = await look(f"redis://me:{PASSWORD}@127.0.0.1:1/0")
    assert not complete
    assert findings["log"].level is FAILURE


async def test_without_its_package_the_log_does_not_serve(monkeypatch):
    monkeypatch.setitem(sys.modules, "redis.asyncio.connection", None)
    complete, findings = await look("redis://127.0.0.1:1/0")
    assert not complete
    assert "pip install 'veupath-store[events]'" in findings["log"].message


async def test_a_deployment_without_a_log():
    assert await levels(None) == {"log": OK}
