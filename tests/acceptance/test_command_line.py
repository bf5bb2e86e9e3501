"""What all commands share: the version, the exit codes, questions; and `migrate` and `adopt`."""

import json
import re
import sys

import pytest

import veupath_store
from tests.support.apart import run_apart
from tests.support.databases import catalog_of, execute
from tests.support.legacy import rows
from tests.support.legacy.databases import legacy
from tests.support.processes import BIN, run
from veupath_store.cli.console import EXIT_CODES
from veupath_store.schema.catalog import differences
from veupath_store.schema.migrations import migration_files

COMMAND, PASSWORD = BIN / "veupath-store", "s3cr3t"
COMMANDS = [
    *(("migrate",), ("downgrade",), ("check",), ("adopt",)),
    *(("projections", name) for name in ("lag", "verify", "rebuild", "work")),
]
NOWHERE = "postgresql://nobody@127.0.0.1:1/none"


@pytest.mark.parametrize("command", [(COMMAND,), (sys.executable, "-m", "veupath_store")])
async def test_the_command_and_the_module_print_the_version(tmp_path, command):
    finished = await run(*command, "--version", cwd=tmp_path)
    assert (finished.code, finished.out) == (0, f"veupath-store {veupath_store.__version__}\n"), finished


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_the_help_of_each_command_ends_with_the_exit_codes(call, command):
    code, out, err = call(*command, "--help", DATABASE_URL=NOWHERE)
    assert (code, err) == (0, "")
    assert " ".join(out.split()).endswith(EXIT_CODES)


@pytest.mark.parametrize(
    "command", [("adopt",), ("adopt", "--undo"), ("adopt", "--finish"), COMMANDS[-2]], ids=" ".join
)
def test_without_a_terminal_what_asks_refuses_before_it_connects(call, command):
    force = ["--force"] if "rebuild" in command else []
    code, out, err = call(*command, *force, DATABASE_URL=NOWHERE)
    assert (code, out) == (2, "")
    assert "give --yes" in err


# migrate


async def test_it_migrates_from_any_directory_and_then_finds_nothing_to_do(tmp_path, empty_url, database_url):
    first = await run(COMMAND, "migrate", cwd=tmp_path, DATABASE_URL=empty_url)
    assert (first.code, first.err) == (0, ""), first
    assert first.out == "".join(f"applied {name}\n" for name in migration_files()) + "The database is at head.\n"
    assert differences(await catalog_of(empty_url), await catalog_of(database_url)) == []
    again = await run(COMMAND, "migrate", cwd=tmp_path, DATABASE_URL=empty_url)
    assert (again.code, again.out, again.err) == (0, "Nothing to do: the database is at head.\n", ""), again


def assert_readable(message):
    assert len(message.splitlines()) == 1, message
    assert "Traceback" not in message
    assert PASSWORD not in message


async def test_it_says_that_the_database_is_missing(tmp_path, server):
    url = server.url("veupath_store_test_missing")
    if server.target.password is None:
        user = server.target.user
        url = url.replace(f"//{user}@", f"//{user}:{PASSWORD}@")
    finished = await run(COMMAND, "migrate", cwd=tmp_path, DATABASE_URL=url)
    assert (finished.code, finished.out) == (1, ""), finished
    assert_readable(finished.err)
    assert "it has no such database" in finished.err


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "DATABASE_URL is not set. Set DATABASE_URL to postgresql://"),
        (f"mysql://me:{PASSWORD}@localhost/db", "DATABASE_URL cannot be used: its scheme must be one of"),
        (f"postgresql://me:{PASSWORD}@localhost:x/db", "DATABASE_URL cannot be used: a port must be"),
        (f"postgresql://me:{PASSWORD}@127.0.0.1:1/db", "127.0.0.1:1: the connection was refused, as no server"),
    ],
)
def test_it_says_what_is_wrong_with_a_url(url, message, call):
    code, out, err = call("migrate", DATABASE_URL=url)
    assert (code, out) == (1, "")
    assert message in err
    assert_readable(err)


def test_quietly_it_prints_nothing(database_url, call):
    assert call("migrate", "--quiet", DATABASE_URL=database_url) == (0, "", "")


def test_an_unknown_command_is_a_usage_error(call):
    code, out, err = call("migrat", DATABASE_URL="")
    assert (code, out) == (2, "")
    assert "No such command" in err


# adopt, as the switch runs it


@pytest.fixture
async def legacy_url(empty_url):
    """A legacy database with one conversation whose owner is gone."""
    world = rows.World()
    world.chat(rows.identity(99), name="Kinases")
    await legacy(empty_url, world, "alembic")
    return empty_url


@pytest.fixture
def adopt(call, legacy_url):
    """The command on that database: what it printed, on both streams."""

    def adopt(*options, code=0):
        got, out, err = call("adopt", *options, DATABASE_URL=legacy_url)
        assert (got, "Traceback" in err) == (code, False), (out, err)
        return out, err

    return adopt


def test_an_adoption_there_and_back_and_to_the_end(adopt, legacy_url):
    dry, _ = adopt("--dry-run")
    assert "A database made by alembic, at revision b4e2f3a5d6c7" in dry
    assert f"orphan  streams.user_id  {rows.identity(1)}: given to a named owner" in dry
    assert "Nothing was changed." in dry
    _, asked = adopt(code=2)
    assert "--yes" in asked

    told = json.loads(adopt("--yes", "--json")[0])
    assert (told["ok"], told["variant"], told["repeated"]) == (True, "alembic", False)
    assert [problem["kind"] for problem in told["problems"]] == ["orphan"]
    again, _ = adopt("--yes")
    assert re.match(r"Nothing to do: .* It was adopted at \d{4}-", again)

    back, _ = adopt("--undo", "--yes")
    assert back.endswith("The old tables are back where they were.\n")
    _, refused = adopt("--undo", "--yes", code=1)
    assert refused.startswith("There is nothing to go back to, and nothing was changed:\n")

    assert "Adopted in " in adopt("--yes")[0]
    run_apart(execute(legacy_url, "INSERT INTO users (id) VALUES (gen_random_uuid())"))
    _, newer = adopt("--undo", "--yes", code=1)
    assert "  users: 1 rows were written or deleted since\n" in newer
    assert "There is no way back any more." in adopt("--finish", "--yes")[0]
    assert adopt("--finish", "--yes")[0] == "Nothing to do: no old tables are kept.\n"


@pytest.mark.parametrize("options", [["--dry-run", "--undo"], ["--undo", "--finish"], ["--discard-newer"]])
def test_options_that_do_not_go_together(call, options):
    assert call("adopt", *options, DATABASE_URL=NOWHERE)[0] == 2
