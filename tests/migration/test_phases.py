"""Migrations before and after a deploy: what runs when, who starts on what, and what the command line says."""

from functools import partial

import pytest

from tests.support.apart import run_apart
from tests.support.checkout import write_migration
from tests.support.databases import catalog_of, opened, recorded
from tests.support.processes import BIN, run_at_terminal
from veupath_store import UserRepository, init_db
from veupath_store.check.readiness import check_readiness
from veupath_store.errors import InvalidInputError, SchemaError
from veupath_store.schema.files import DeployPhase, before_deploy, phase_in
from veupath_store.schema.migrations import migrate, migration_files

PRE, POST = DeployPhase


async def test_a_phase_is_named_by_its_text_too_and_another_is_refused(release, settings):
    with pytest.raises(InvalidInputError, match="phase"):
        await migrate(settings, phase="predeploy")
    assert await migrate(settings, phase="pre-deploy") == ["96_add.py"]


async def test_new_code_starts_when_only_post_deploy_migrations_are_pending(release, settings):
    with pytest.raises(SchemaError, match=r"1 migration\(s\) behind \(next: 96_add.py\)"):
        await init_db(settings=settings)
    await migrate(settings, phase=PRE)
    async with opened(settings):
        assert (await UserRepository().create()).id
        found = await check_readiness()
        assert (found.ready, found.problem, found.pending_migrations) == (True, None, ("97_drop.py",))


async def test_a_process_is_not_ready_while_a_pre_deploy_migration_is_pending(release, settings):
    async with opened(settings, require_head=False):
        found = await check_readiness()
    expected = (False, "SchemaError", ("96_add.py", "97_drop.py"))
    assert (found.ready, found.problem, found.pending_migrations) == expected


async def test_a_deploy_that_was_never_finished_is_finished_first(release, scratch, settings, database_url):
    """What the next release needs stands behind what the last one left: only an operator knows what still runs."""
    write_migration(scratch, "98_next", "ALTER TABLE users ADD later int")
    with pytest.raises(SchemaError, match=r"97_drop.py is for after a deploy, and 98_next.py.*left over by an earlier"):
        await migrate(settings, phase=PRE)
    assert await recorded(database_url) == migration_files()[:-3], "nothing was begun"
    assert await migrate(settings) == ["96_add.py", "97_drop.py", "98_next.py"]


async def test_a_misspelt_phase_is_refused_before_anything_runs(scratch, settings, database_url):
    write_migration(scratch, "96_x", "DROP TABLE streams CASCADE", phase="post_deploy")
    with pytest.raises(SchemaError, match=r"96_x.py: its PHASE must be 'pre-deploy' or 'post-deploy'"):
        await migrate(settings, phase=PRE)
    with pytest.raises(SchemaError, match=r"96_x.py: its PHASE"):
        await migrate(settings)
    assert "table streams" in await catalog_of(database_url)


@pytest.mark.parametrize(
    ("source", "phase"),
    [
        ("", PRE),
        ("PHASE = 'pre-deploy'", PRE),
        ("PHASE = 'post-deploy'", POST),
        ("PHASE: str = 'post-deploy'", POST),
        ("OTHER = PHASED = 'post-deploy'", PRE),
        ("def f():\n    PHASE = 'post-deploy'", PRE),
    ],
)
def test_the_phase_is_a_constant_of_the_module(source, phase):
    assert phase_in(source, "1_x.py") is phase


@pytest.mark.parametrize("source", ["PHASE = 1", "PHASE = other", "PHASE = None", "PHASE = 'after'"])
def test_another_value_is_none(source):
    with pytest.raises(SchemaError, match=r"1_x\.py"):
        phase_in(source, "1_x.py")


def test_the_first_migrations_are_needed_by_every_version():
    *before, cleanup = migration_files()[:6]
    assert before_deploy([*before, cleanup]) == before
    assert cleanup.endswith("_drop_claims.py")


# by the command line


FILES = migration_files()


@pytest.fixture
def call(call, database_url):
    return partial(call, DATABASE_URL=database_url)


READY = "The database is ready for this version. After the deploy, run 'veupath-store migrate'.\n"


@pytest.mark.large
def test_before_a_deploy_it_says_what_is_left_for_afterwards(release, call, database_url):
    first = "applied 96_add.py\nleft for after the deploy: 97_drop.py\n"
    assert call("migrate", "--phase", "pre-deploy") == (0, first + READY, "")
    assert run_apart(recorded(database_url)) == [*FILES, "96_add.py"]
    assert call("migrate", "--phase", "pre-deploy") == (0, "left for after the deploy: 97_drop.py\n" + READY, "")
    assert call("migrate", "--phase", "pre-deploy", "--quiet") == (0, "", "")
    assert call("migrate", "--phase", "post-deploy") == (0, "applied 97_drop.py\nThe database is at head.\n", "")
    assert call("migrate") == (0, "Nothing to do: the database is at head.\n", "")


@pytest.mark.large
def test_an_unknown_phase_is_a_usage_error(call):
    code, out, err = call("migrate", "--phase", "post")
    assert (code, out) == (2, "")
    assert "pre-deploy" in err


@pytest.mark.large
def test_a_downgrade_drops_nothing_without_a_yes(call, database_url):
    code, out, err = call("downgrade", "--to", "0")
    assert (code, out) == (2, "")
    assert "give --yes" in err
    assert run_apart(recorded(database_url)) == FILES


@pytest.mark.large
def test_a_downgrade_says_what_it_undid(call):
    undone = "".join(f"undid {name}\n" for name in FILES[:0:-1])
    assert call("downgrade", "--to", "0", "--yes") == (0, f"{undone}The database is at {FILES[0]}.\n", "")
    assert call("downgrade", "--to", FILES[0]) == (0, f"The database is at {FILES[0]}.\n", "")
    code, _, err = call("downgrade", "--to", "90", "--yes")
    assert (code, err) == (1, f"There is no migration '90'; the newest is {FILES[-1]}.\n")


@pytest.mark.large
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


@pytest.mark.large
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


@pytest.mark.large
async def test_at_a_terminal_a_downgrade_asks(tmp_path, database_url):
    command = (BIN / "veupath-store", "downgrade", "--to", "0")
    for typed, code, left in ((b"n\n", 1, len(FILES)), (b"y\n", 0, 1)):
        finished = await run_at_terminal(*command, cwd=tmp_path, typed=typed, DATABASE_URL=database_url, TERM="xterm")
        assert finished.code == code, finished
        assert FILES[-1] in finished.err
        assert "dropped, with all that was written there since" in finished.err
        assert len(await recorded(database_url)) == left
