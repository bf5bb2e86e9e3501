"""`veupath-store adopt`, as the switch runs it."""

import json
import re

import pytest

from tests.support.apart import run_apart
from tests.support.databases import execute
from tests.support.legacy import rows
from tests.support.legacy.databases import legacy


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


def test_there_and_back_and_to_the_end(adopt, legacy_url):
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
    code, out, err = call("adopt", *options, DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
    assert code == 2, (out, err)
