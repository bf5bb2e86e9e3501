"""Migrations before and after a deploy: what runs when, and who starts on what."""

import pytest

from tests.support.checkout import write_migration
from tests.support.databases import catalog_of, opened, recorded
from veupath_store import UserRepository, init_db
from veupath_store.check.readiness import check_readiness
from veupath_store.errors import InvalidInputError, SchemaError
from veupath_store.schema.files import DeployPhase, before_deploy, migration_files, phase_in
from veupath_store.schema.migrations import migrate

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
