"""`veupath-store check`, as a deploy and an operator run it."""

import json
import time

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
    async def command(*arguments, **environment):
        finished = await run(*COMMAND, *arguments, cwd=tmp_path, **environment)
        assert "Traceback" not in finished.err, finished
        assert PASSWORD not in finished.out + finished.err
        return finished

    return command


@pytest.fixture
async def application(database_url):
    """The URL of the application's own role."""
    async with role(database_url, *APPLICATION) as (_, url):
        yield url


async def test_when_all_is_well(command, application):
    plain = await command(DATABASE_URL=application)
    assert (plain.code, plain.err) == (0, ""), plain
    assert plain.out.split()[:6] == ["ok", "settings", "They", "can", "be", "used."]
    assert plain.out.splitlines()[-1].endswith(" ok, 0 warning, 0 failure")
    assert all(line.startswith(("ok ", "   ")) for line in plain.out.splitlines()[:-1]), plain
    quiet = await command("--quiet", "--strict", DATABASE_URL=application)
    assert (quiet.code, quiet.out, quiet.err) == (0, "", ""), quiet


async def test_the_document(command, application):
    finished = await command("--json", DATABASE_URL=application)
    assert (finished.code, finished.err) == (0, ""), finished
    document = json.loads(finished.out)
    assert list(document) == ["command", "ok", "complete", "counts", "findings"]
    assert (document["command"], document["ok"], document["complete"]) == ("check", True, True)
    assert document["counts"] == {"ok": len(document["findings"]), "warning": 0, "failure": 0}
    for finding in document["findings"]:
        assert list(finding) == ["name", "level", "message", "details"]
        assert finding["level"] == "ok"


async def test_the_help_describes_the_document_and_the_exit_codes(command):
    text = " ".join((await command("--help")).out.split())
    assert "{command, ok, complete, counts: {LEVEL: findings}, findings: [{name, level, message, details}]}" in text
    for code in ("3 where there are failures", "1 where something could not be looked at", EXIT_CODES):
        assert code in text


async def test_exit_codes(command, application, database_url, watcher):
    """Warnings are well unless --strict; failures are 3; what cannot be looked at is 1, whatever else there is."""
    await watcher.execute("CREATE INDEX by_operator ON users (created_at)")
    warned = await command(DATABASE_URL=application)
    assert (warned.code, warned.err) == (0, "")
    assert "warning  additions" in warned.out
    assert "index users.by_operator" in warned.out
    await watcher.execute('CREATE INDEX "red \x1b[31m [bold] é" ON users (id)')
    coloured = await command(DATABASE_URL=application, LC_ALL="C", LANG="C")
    assert coloured.code == 0, coloured
    assert "index users.red \\u001b[31m [bold] é" in coloured.out
    strict = await command("--strict", "--json", DATABASE_URL=application)
    assert (strict.code, json.loads(strict.out)["ok"]) == (3, False)

    await watcher.execute("DROP INDEX streams_experiment_key")
    failed = await command(DATABASE_URL=application)
    assert (failed.code, failed.err) == (3, "")
    assert "failure  schema" in failed.out
    assert "missing: index streams.streams_experiment_key" in failed.out

    log_down = await command(DATABASE_URL=application, REDIS_URL=f"redis://:{PASSWORD}@127.0.0.1:1/0")
    assert (log_down.code, log_down.err) == (1, "")
    assert "failure  log " in log_down.out
    assert "failure  schema" in log_down.out

    down = await command("--json", DATABASE_URL=NOWHERE)
    document = json.loads(down.out)
    assert (down.code, down.err, document["ok"], document["complete"]) == (1, "", False, False)

    unset = await command()
    assert (unset.code, unset.err) == (1, "")
    assert "DATABASE_URL is not set" in unset.out
    assert (await command("--jso", DATABASE_URL=application)).code == 2


async def test_servers_that_are_alive_and_do_nothing_cost_a_few_seconds(command, private_server, private_redis):
    await private_server.server.create("store")
    url = private_server.server.url("store")
    await migrate(StoreSettings(database_url=url))
    postmaster = int((private_server.path / "postmaster.pid").read_text().splitlines()[0])
    environment = {"DATABASE_URL": url, "REDIS_URL": private_redis.url}
    timeouts = {"VEUPATH_STORE_CONNECT_TIMEOUT": "1", "VEUPATH_STORE_LOG_TIMEOUT": "1"}
    with frozen([postmaster]), private_redis.frozen():
        began = time.monotonic()
        finished = await command(**environment, **timeouts)
        took = time.monotonic() - began
    assert finished.code == 1, finished
    assert "failure  hosts" in finished.out
    assert "failure  log" in finished.out
    assert took < 15, took
    assert (await command(**environment)).code == 0


async def test_the_servers_from_wheels(command, tmp_path):
    urls = {"DATABASE_URL": f"embedded:{tmp_path / 'pg'}", "REDIS_URL": f"embedded:{tmp_path / 'redis'}"}
    finished = await command(**urls)
    assert finished.code == 3, finished
    assert "failure  migrations" in finished.out
    migrated = await run(BIN / "veupath-store", "migrate", cwd=tmp_path, **urls)
    assert migrated.code == 0, migrated
    assert (await command("--strict", **urls)).code == 0
