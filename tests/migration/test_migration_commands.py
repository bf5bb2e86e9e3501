"""`veupath-store migrate --phase` and `veupath-store downgrade`, in this process and on migrations made for it."""

import pytest

from tests.support.apart import run_apart
from tests.support.checkout import write_migration
from tests.support.databases import recorded
from tests.support.processes import BIN, run_at_terminal
from veupath_store.schema.migrations import migration_files

pytestmark = pytest.mark.large

FILES = migration_files()


@pytest.fixture(autouse=True)
def environment(monkeypatch, database_url):
    monkeypatch.setenv("DATABASE_URL", database_url)


READY = "The database is ready for this version. After the deploy, run 'veupath-store migrate'.\n"


def test_before_a_deploy_it_says_what_is_left_for_afterwards(release, call, database_url):
    first = "applied 96_add.py\nleft for after the deploy: 97_drop.py\n"
    assert call("migrate", "--phase", "pre-deploy") == (0, first + READY, "")
    assert run_apart(recorded(database_url)) == [*FILES, "96_add.py"]
    assert call("migrate", "--phase", "pre-deploy") == (0, "left for after the deploy: 97_drop.py\n" + READY, "")
    assert call("migrate", "--phase", "pre-deploy", "--quiet") == (0, "", "")
    assert call("migrate", "--phase", "post-deploy") == (0, "applied 97_drop.py\nThe database is at head.\n", "")
    assert call("migrate") == (0, "Nothing to do: the database is at head.\n", "")


def test_an_unknown_phase_is_a_usage_error(call):
    code, out, err = call("migrate", "--phase", "post")
    assert (code, out) == (2, "")
    assert "pre-deploy" in err


def test_a_downgrade_drops_nothing_without_a_yes(call, database_url):
    code, out, err = call("downgrade", "--to", "0")
    assert (code, out) == (2, "")
    assert "give --yes" in err
    assert run_apart(recorded(database_url)) == FILES


def test_a_downgrade_says_what_it_undid(call):
    undone = "".join(f"undid {name}\n" for name in FILES[:0:-1])
    assert call("downgrade", "--to", "0", "--yes") == (0, f"{undone}The database is at {FILES[0]}.\n", "")
    assert call("downgrade", "--to", FILES[0]) == (0, f"The database is at {FILES[0]}.\n", "")
    code, _, err = call("downgrade", "--to", "90", "--yes")
    assert (code, err) == (1, f"There is no migration '90'; the newest is {FILES[-1]}.\n")


def test_what_a_downgrade_says_at_the_end_is_what_the_database_says(call, scratch):
    """A file that was merged late and never applied is none of what it is at."""
    write_migration(scratch, "97_20270103000000_c", "SELECT 1")
    write_migration(scratch, "98_20270104000000_d", "SELECT 1")
    assert call("migrate", "--quiet")[0] == 0
    write_migration(scratch, "96_20270105000000_late", "SELECT 1")
    done = (
        "undid 98_20270104000000_d.py\nThe database is at 97_20270103000000_c.py, without 96_20270105000000_late.py.\n"
    )
    assert call("downgrade", "--to", "97", "--yes") == (0, done, "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("async def upgrade(db):\n    return ' -- later\\n '\n", "failed: A migration gave no SQL to run"),
        ("async def upgrade(db):\n    pass\n", "failed: A migration gave no SQL to run"),
        ("<<<<<<< HEAD\nRUN_IN_TRANSACTION = True\n", "is not valid Python: invalid syntax, line 1."),
        ("RUN_IN_TRANSACTION = True\n", "has no function upgrade."),
    ],
)
def test_a_file_that_cannot_be_run_is_a_sentence(text, message, call, scratch, database_url):
    (scratch / "store" / "96_x.py").write_text(text)
    code, out, err = call("migrate")
    assert (code, out, len(err.splitlines())) == (1, "", 1), err
    assert err.startswith("Migration 96_x.py ")
    assert message in err
    assert run_apart(recorded(database_url)) == FILES


async def test_at_a_terminal_a_downgrade_asks(tmp_path, database_url):
    command = (BIN / "veupath-store", "downgrade", "--to", "0")
    for typed, code, left in ((b"n\n", 1, len(FILES)), (b"y\n", 0, 1)):
        finished = await run_at_terminal(*command, cwd=tmp_path, typed=typed, DATABASE_URL=database_url, TERM="xterm")
        assert finished.code == code, finished
        assert FILES[-1] in finished.err
        assert "dropped, with all that was written there since" in finished.err
        assert len(await recorded(database_url)) == left
