"""`veupath-store migrate --phase` and `veupath-store downgrade`, in this process and on migrations made for it."""

import asyncio

import pytest

from tests.support.checkout import write_migration
from tests.support.databases import recorded
from tests.support.processes import BIN, run_at_terminal
from veupath_store.cli import main
from veupath_store.migrations import migration_files

pytestmark = pytest.mark.large

FILES = migration_files()


@pytest.fixture
def call(monkeypatch, capfd, database_url):
    """A command's exit code, and what it printed."""

    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["veupath-store", *arguments])
        monkeypatch.setenv("DATABASE_URL", database_url)
        with pytest.raises(SystemExit) as caught:
            main()
        return caught.value.code or 0, *capfd.readouterr()

    return call


@pytest.fixture
def release(scratch):
    write_migration(scratch, "2_add", "ALTER TABLE users ADD more int", "ALTER TABLE users DROP more")
    write_migration(scratch, "3_drop", "ALTER TABLE experiments DROP batch_id", phase="post-deploy")


READY = "The database is ready for this version. After the deploy, run 'veupath-store migrate'.\n"


def test_before_a_deploy_it_says_what_is_left_for_afterwards(release, call):
    first = "applied 2_add.py\nleft for after the deploy: 3_drop.py\n"
    assert call("migrate", "--phase", "pre-deploy") == (0, first + READY, "")
    assert call("migrate", "--phase", "pre-deploy") == (0, "left for after the deploy: 3_drop.py\n" + READY, "")
    assert call("migrate", "--phase", "pre-deploy", "--quiet") == (0, "", "")
    assert call("migrate", "--phase", "post-deploy") == (0, "applied 3_drop.py\nThe database is at head.\n", "")
    assert call("migrate") == (0, "Nothing to do: the database is at head.\n", "")


def test_an_unknown_phase_is_a_usage_error(call):
    code, out, err = call("migrate", "--phase", "post")
    assert (code, out) == (2, "")
    assert "pre-deploy" in err


def test_an_unfinished_deploy_is_told_in_one_line(release, scratch, call):
    write_migration(scratch, "4_next", "SELECT 1")
    code, out, err = call("migrate", "--phase", "pre-deploy")
    assert (code, out, len(err.splitlines())) == (1, "", 1)
    assert "3_drop.py was left for after an earlier deploy" in err


def test_a_downgrade_drops_nothing_without_a_yes(call, database_url):
    code, out, err = call("downgrade", "--to", "0")
    assert (code, out) == (2, "")
    assert "Undoing migrations needs --yes" in err
    assert asyncio.run(recorded(database_url)) == FILES


def test_a_downgrade_says_what_it_undid(call):
    undone = "".join(f"undid {name}\n" for name in FILES[:0:-1])
    assert call("downgrade", "--to", "0", "--yes") == (0, f"{undone}The database is at {FILES[0]}.\n", "")
    assert call("downgrade", "--to", FILES[0]) == (0, f"The database is at {FILES[0]}.\n", "")
    code, _, err = call("downgrade", "--to", "7", "--yes")
    assert (code, err) == (1, f"There is no migration '7'; the newest is {FILES[-1]}.\n")


async def test_at_a_terminal_a_downgrade_asks(tmp_path, database_url):
    command = (BIN / "veupath-store", "downgrade", "--to", "0")
    for typed, code, left in ((b"n\n", 1, len(FILES)), (b"y\n", 0, 1)):
        finished = await run_at_terminal(*command, cwd=tmp_path, typed=typed, DATABASE_URL=database_url, TERM="xterm")
        assert finished.code == code, finished
        assert FILES[-1] in finished.err
        assert "dropped, with all that was written there since" in finished.err
        assert len(await recorded(database_url)) == left
