"""`check_deployment`: the event log's server."""

import sys

import pytest

from tests.support.checks import NOWHERE, by_name, parts
from tests.support.redis_servers import PrivateRedis
from tests.support.roles import PASSWORD
from veupath_store.check.log import about_log
from veupath_store.config import StoreSettings
from veupath_store.values import Level

OK, WARNING, FAILURE = Level


@pytest.fixture(scope="module")
def log_server():
    server = PrivateRedis()
    yield server
    server.close()


@pytest.fixture
def log(log_server):
    """A client of the log's server, which is as it was afterwards."""
    with log_server.client() as client:
        yield client
        client.replicaof("no", "one")
        client.config_set("appendonly", "yes")
        client.config_set("maxmemory", 0)
        client.config_set("min-replicas-to-write", 0)
        client.config_set("maxmemory-policy", "noeviction")


async def look(redis_url):
    """Whether the log could be looked at, and what was found; nothing in it shows the password."""
    complete, findings = await about_log(StoreSettings(database_url=NOWHERE, redis_url=redis_url))
    assert PASSWORD not in repr(findings)
    return complete, by_name(findings)


async def levels(redis_url):
    complete, findings = await look(redis_url)
    assert complete
    return {name: finding.level for name, finding in findings.items()}


async def test_a_log_that_is_kept(log_server, log):
    expected = {"log": OK, "log rights": OK, "log version": OK, "log writable": OK, "log persistence": OK}
    assert await levels(log_server.url) == expected


async def test_a_log_that_may_lose_what_it_acknowledged(log_server, log):
    log.config_set("appendonly", "no")
    log.config_set("maxmemory", 100_000_000)
    log.config_set("maxmemory-policy", "allkeys-lru")
    level, _, details = parts((await look(log_server.url))[1]["log persistence"])
    assert level is WARNING
    assert [detail.split(" is ")[0] for detail in details] == ["appendonly", "maxmemory-policy"]


async def test_a_log_on_a_replica(log_server, log):
    log.replicaof("127.0.0.1", 1)
    assert (await levels(log_server.url))["log writable"] is FAILURE


@pytest.mark.parametrize(
    ("options", "why"),
    [({"min-replicas-to-write": 1}, "too few replicas are in reach"), ({"maxmemory": 1}, "its memory is full")],
)
async def test_a_log_that_takes_no_writes(log_server, log, options, why):
    for name, value in options.items():
        log.config_set(name, value)
    level, message, _ = parts((await look(log_server.url))[1]["log writable"])
    assert (level, why in message) == (FAILURE, True)
    assert log.keys() == []


async def test_a_log_whose_version_is_too_old(log_server, log, monkeypatch):
    monkeypatch.setattr("veupath_store.check.log.OLDEST", (99, 0))
    level, message, _ = parts((await look(log_server.url))[1]["log version"])
    assert (level, message) == (FAILURE, "Redis 99.0 or later is needed: upgrade the server.")


async def test_a_log_whose_user_may_not_ask(log_server, log):
    log.execute_command("ACL", "SETUSER", "storeuser", "on", f">{PASSWORD}", "~*", "+@all", "-info")
    url = log_server.url.replace("unix://", f"unix://storeuser:{PASSWORD}@")
    assert await levels(url) == {"log": OK, "log rights": OK, "log writable": OK, "log persistence": WARNING}
    wrong = log_server.url.replace("unix://", f"unix://storeuser:{PASSWORD}x@")
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
