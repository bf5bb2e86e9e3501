"""`veupath-store adopt`, as the switch runs it."""

import json
import re

import pytest

from tests.support.databases import connected
from tests.support.legacy import rows, schema
from tests.support.processes import BIN, run

COMMAND = BIN / "veupath-store"


@pytest.fixture
async def legacy_url(empty_url):
    """A legacy database with one conversation whose owner is gone."""
    world = rows.World()
    world.chat(rows.identity(99), name="Kinases")
    async with connected(empty_url) as connection:
        await connection.execute(schema.schema_sql("alembic"))
        await rows.insert(connection, world.rows)
    return empty_url


async def test_there_and_back_and_to_the_end(tmp_path, legacy_url):
    async def adopt(*options, code=0):
        finished = await run(COMMAND, "adopt", *options, cwd=tmp_path, DATABASE_URL=legacy_url)
        assert finished.code == code, finished
        assert "Traceback" not in finished.err
        return finished

    dry = await adopt("--dry-run")
    assert "A database made by alembic, at revision b4e2f3a5d6c7" in dry.out
    assert f"orphan  streams.user_id  {rows.identity(1)}: given to a named owner" in dry.out
    assert "Nothing was changed." in dry.out
    asked = await adopt(code=2)
    assert "--yes" in asked.err

    told = json.loads((await adopt("--yes", "--json")).out)
    assert (told["ok"], told["variant"], told["repeated"]) == (True, "alembic", False)
    assert [problem["kind"] for problem in told["problems"]] == ["orphan"]
    again = await adopt("--yes")
    assert re.match(r"Nothing to do: .* It was adopted at \d{4}-", again.out)

    back = await adopt("--undo", "--yes")
    assert back.out.endswith("The old tables are back where they were.\n")
    refused = await adopt("--undo", "--yes", code=1)
    assert refused.err.startswith("There is nothing to go back to, and nothing was changed:\n")

    assert "Adopted in " in (await adopt("--yes")).out
    async with connected(legacy_url) as connection:
        await connection.execute("INSERT INTO users (id) VALUES (gen_random_uuid())")
    newer = await adopt("--undo", "--yes", code=1)
    assert "  users: 1 rows were written or deleted since\n" in newer.err
    assert "There is no way back any more." in (await adopt("--finish", "--yes")).out
    assert (await adopt("--finish", "--yes")).out == "Nothing to do: no old tables are kept.\n"


async def test_another_database_is_refused_with_a_list(tmp_path, empty_url):
    finished = await run(COMMAND, "adopt", "--yes", cwd=tmp_path, DATABASE_URL=empty_url)
    assert (finished.code, finished.out) == (1, ""), finished
    assert finished.err.startswith("The database cannot be adopted, and nothing was changed:\n  table users is missing")
    assert len(finished.err.splitlines()) == 1 + len(schema.TABLES)


@pytest.mark.parametrize("options", [["--dry-run", "--undo"], ["--undo", "--finish"], ["--discard-newer"]])
async def test_options_that_do_not_go_together(tmp_path, empty_url, options):
    finished = await run(COMMAND, "adopt", *options, cwd=tmp_path, DATABASE_URL=empty_url)
    assert finished.code == 2, finished
