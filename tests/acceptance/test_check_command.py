"""`veupath-store check`, as a deploy and an operator run it."""

import asyncio
import json

import pytest

from tests.support.checks import APPLICATION, NOWHERE
from tests.support.faults import frozen
from tests.support.processes import BIN, run
from tests.support.roles import PASSWORD, role
from veupath_store.cli.console import EXIT_CODES
from veupath_store.config import StoreSettings
from veupath_store.schema.migrations import migrate

pytestmark = pytest.mark.large

COMMAND = (BIN / "veupath-store", "check")


@pytest.fixture
def command(tmp_path):
    async def command(*arguments, code=0, **environment):
        finished = await run(*COMMAND, *arguments, cwd=tmp_path, **environment)
        assert (finished.code, finished.err if code != 2 else "") == (code, ""), finished
        assert "Traceback" not in finished.err, finished
        assert PASSWORD not in finished.out + finished.err
        return finished.out

    return command


@pytest.fixture
async def application(database_url):
    """The URL of the application's own role."""
    async with role(database_url, *APPLICATION) as (_, url):
        yield url


async def test_when_all_is_well(command, application):
    plain = await command(DATABASE_URL=application)
    assert plain.split()[:6] == ["ok", "settings", "They", "can", "be", "used."]
    assert plain.splitlines()[-1].endswith(" ok, 0 warning, 0 failure")
    assert all(line.startswith(("ok ", "   ")) for line in plain.splitlines()[:-1]), plain
    assert await command("--quiet", "--strict", DATABASE_URL=application) == ""


async def test_the_document(command, application):
    document = json.loads(await command("--json", DATABASE_URL=application))
    assert list(document) == ["command", "ok", "complete", "counts", "findings"]
    assert (document["command"], document["ok"], document["complete"]) == ("check", True, True)
    assert document["counts"] == {"ok": len(document["findings"]), "warning": 0, "failure": 0}
    for finding in document["findings"]:
        assert list(finding) == ["name", "level", "message", "details"]
        assert finding["level"] == "ok"


async def test_the_help_describes_the_document_and_the_exit_codes(command):
    text = " ".join((await command("--help")).split())
    assert "{command, ok, complete, counts: {LEVEL: findings}, findings: [{name, level, message, details}]}" in text
    for code in ("3 where there are failures", "1 where something could not be looked at", EXIT_CODES):
        assert code in text


async def test_exit_codes(command, application, watcher):
    """Warnings are well unless --strict; failures are 3; what cannot be looked at is 1, whatever else there is."""
    await watcher.execute("CREATE INDEX by_operator ON users (created_at)")
    warned = await command(DATABASE_URL=application)
    assert "warning  additions" in warned
    assert "index users.by_operator" in warned
    await watcher.execute('CREATE INDEX "red \x1b[31m [bold] é" ON users (id)')
    coloured = await command(DATABASE_URL=application, LC_ALL="C", LANG="C")
    assert "index users.red \\u001b[31m [bold] é" in coloured
    assert json.loads(await command("--strict", "--json", code=3, DATABASE_URL=application))["ok"] is False

    await watcher.execute("DROP INDEX streams_experiment_key")
    failed = await command(code=3, DATABASE_URL=application)
    assert "failure  schema" in failed
    assert "missing: index streams.streams_experiment_key" in failed

    log_down = await command(code=1, DATABASE_URL=application, REDIS_URL=f"redis://:{PASSWORD}@127.0.0.1:1/0")
    assert "failure  log " in log_down
    assert "failure  schema" in log_down

    document = json.loads(await command("--json", code=1, DATABASE_URL=NOWHERE))
    assert (document["ok"], document["complete"]) == (False, False)
    assert "DATABASE_URL is not set" in await command(code=1)
    await command("--jso", code=2, DATABASE_URL=application)


async def test_servers_that_are_alive_and_do_nothing_cost_a_few_seconds(command, private_server, private_redis):
    await private_server.server.create("store")
    url = private_server.server.url("store")
    await migrate(StoreSettings(database_url=url))
    postmaster = int((private_server.path / "postmaster.pid").read_text().splitlines()[0])
    environment = {"DATABASE_URL": url, "REDIS_URL": private_redis.url}
    timeouts = {"VEUPATH_STORE_CONNECT_TIMEOUT": "1", "VEUPATH_STORE_LOG_TIMEOUT": "1"}
    with frozen([postmaster]), private_redis.frozen():
        async with asyncio.timeout(15):
            printed = await command(code=1, **environment, **timeouts)
    assert "failure  hosts" in printed
    assert "failure  log" in printed
    await command(**environment)


async def test_the_servers_from_wheels(command, tmp_path):
    urls = {"DATABASE_URL": f"embedded:{tmp_path / 'pg'}", "REDIS_URL": f"embedded:{tmp_path / 'redis'}"}
    assert "failure  migrations" in await command(code=3, **urls)
    migrated = await run(BIN / "veupath-store", "migrate", cwd=tmp_path, **urls)
    assert migrated.code == 0, migrated
    await command("--strict", **urls)
