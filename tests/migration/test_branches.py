"""`downgrade`; and two branches that each brought migrations, and were merged: to every point and back.

A database's catalog must be that of a database which was migrated straight to that point, from an empty one.
"""

import asyncio
import logging
from dataclasses import dataclass

import pytest

from tests.support.checkout import write_migration
from tests.support.databases import catalog_of, execute, fetchval, recorded
from tests.support.migrating import idle_in_transaction
from veupath_store.config import StoreSettings
from veupath_store.errors import SchemaError
from veupath_store.schema.catalog import differences
from veupath_store.schema.downgrades import Downgraded, downgrade, undoing
from veupath_store.schema.files import DeployPhase, migration_files
from veupath_store.schema.migrations import migrate, run_migrations

BASE = migration_files()
TAGS = ("CREATE TABLE tags (id uuid PRIMARY KEY, user_id uuid REFERENCES users ON DELETE CASCADE)", "DROP TABLE tags")
COLOURS = ("ALTER TABLE tags ADD colour text CHECK (colour <> '')", "ALTER TABLE tags DROP colour")
PINS = (
    "ALTER TABLE streams ADD pinned boolean NOT NULL DEFAULT false;"
    " CREATE INDEX pins ON streams (user_id) WHERE pinned",
    "DROP INDEX pins; ALTER TABLE streams DROP pinned",
)
NOTES = (
    "ALTER TABLE gene_sets ADD note text; ALTER TABLE experiments ALTER name SET DEFAULT 'x'",
    "ALTER TABLE experiments ALTER name SET DEFAULT ''; ALTER TABLE gene_sets DROP note",
)


@dataclass(frozen=True)
class Branches:
    """What two branches bring, by file: what it runs and how it is undone."""

    one: dict[str, tuple[str, str]]
    other: dict[str, tuple[str, str]]

    def write(self, migrations, *names):
        """Check out a state of the project: only the files of these names, and those that were there before."""
        for path in (migrations / "store").glob("*.py"):
            if path.name not in BASE:
                path.unlink()
        for name in names:
            write_migration(migrations, name, *(self.one | self.other)[name])

    @property
    def all(self):
        """All names, in the order that the merge is meant to have."""
        return sorted(self.one | self.other, key=lambda name: (int(name.partition("_")[0]), name))


SCENARIOS = {
    # The branch with number 2 was merged when 3 and 10 had long been applied.
    "late merge": Branches(
        {"97_20270103000000_tags": TAGS, "100_20270110000000_colours": COLOURS}, {"96_20270102000000_pins": PINS}
    ),
    "same number": Branches(
        {"96_20270102000000_tags": TAGS, "97_20270104000000_colours": COLOURS},
        {"96_20270103000000_pins": PINS, "97_20270103000000_notes": NOTES},
    ),
    # The numbers 3 to 8 are nobody's.
    "hole": Branches(
        {"96_20270102000000_tags": TAGS, "99_20270109000000_colours": COLOURS}, {"101_20270103000000_pins": PINS}
    ),
}


@pytest.fixture(params=SCENARIOS)
def branches(request):
    return SCENARIOS[request.param]


@pytest.fixture
async def straight(branches, scratch, server, template):
    """The catalog at each point, of a database that was never anywhere else; points are stems of names."""
    catalogs = {}
    async with server.database(template) as url:
        settings = StoreSettings(database_url=url)
        for count in range(len(branches.all) + 1):
            branches.write(scratch, *branches.all[:count])
            await migrate(settings)
            catalogs[migration_files()[-1]] = await catalog_of(url)
    branches.write(scratch, *branches.all)
    return catalogs


@pytest.mark.large
@pytest.mark.parametrize("first", ["one", "other", "both at once"])
async def test_down_to_each_point_and_up_again_is_as_if_it_had_been_migrated_straight_there(
    first, branches, straight, scratch, settings, database_url
):
    if first != "both at once":
        branches.write(scratch, *getattr(branches, first))
        await migrate(settings)
        branches.write(scratch, *branches.all)
    await migrate(settings)
    names, head = migration_files(), migration_files()[-1]
    assert names == [*BASE, *(f"{name}.py" for name in branches.all)]
    assert differences(await catalog_of(database_url), straight[head]) == []

    for point in [name for name in names if name in straight][::-1]:  # from wherever it is, one step down
        listed = await undoing(point, settings)
        done = await downgrade(point, settings)
        assert done.undone == listed
        await same(straight, point, done, database_url)
    for point in straight:  # and from the head, in one go
        await migrate(settings)
        assert differences(await catalog_of(database_url), straight[head]) == []
        listed = await undoing(point, settings)
        assert listed == names[: names.index(point) : -1]
        done = await downgrade(point, settings)
        assert done.undone == listed
        await same(straight, point, done, database_url)


async def same(straight, point, done, database_url):
    names = migration_files()
    assert done.applied == names[: names.index(point) + 1]
    assert sorted(await recorded(database_url)) == sorted(done.applied)
    assert differences(await catalog_of(database_url), straight[point]) == [], point


LATE = SCENARIOS["late merge"]
SAME = SCENARIOS["same number"]


async def test_a_number_that_two_files_have_says_which_they_are(scratch, settings, database_url):
    SAME.write(scratch, *SAME.all)
    await migrate(settings)
    two = r"2 migrations have the number 96; say which: 96_20270102000000_tags.py, 96_20270103000000_pins.py\."
    with pytest.raises(SchemaError, match=two):
        await downgrade("96", settings)
    assert len(await recorded(database_url)) == len(BASE) + 4
    undone = ["97_20270104000000_colours.py", "97_20270103000000_notes.py", "96_20270103000000_pins.py"]
    assert (await downgrade("96_20270102000000_tags", settings)).undone == undone


@pytest.fixture
async def late(scratch, settings):
    """A file that was merged when later ones had long been applied; it is not applied yet."""
    LATE.write(scratch, *LATE.one)
    await migrate(settings)
    LATE.write(scratch, *LATE.all)
    (late,) = LATE.other
    return late


async def test_a_file_that_was_merged_late_is_applied_with_a_warning(late, settings, caplog):
    with caplog.at_level(logging.WARNING, "veupath_store"):
        assert await migrate(settings) == ["96_20270102000000_pins.py"]
    assert "1 migration(s) were merged late: ['96_20270102000000_pins.py'] come(s) before 100_" in caplog.text


async def test_a_point_that_was_merged_late_and_not_applied_yet_cannot_be_gone_back_to(late, settings):
    with pytest.raises(SchemaError, match=r"does not have migration 96_20270102000000_pins\.py"):
        await downgrade("96", settings)
    done = await downgrade("97", settings)
    assert (done.undone, done.applied) == (["100_20270110000000_colours.py"], [*BASE, "97_20270103000000_tags.py"])


@pytest.mark.parametrize("phase", DeployPhase)
async def test_a_late_file_runs_in_its_own_phase(phase, late, scratch, settings):
    write_migration(scratch, late, *PINS, phase=phase)
    migrated = await run_migrations(settings, phase=DeployPhase.PRE_DEPLOY)
    expected = ([f"{late}.py"], [])
    assert (migrated.applied, migrated.left) == (expected if phase is DeployPhase.PRE_DEPLOY else expected[::-1])
    write_migration(scratch, "102_20270112000000_next", "SELECT 1")
    if phase is DeployPhase.POST_DEPLOY:
        with pytest.raises(SchemaError, match=r"pins.py is for after a deploy, and 102_.*it must get a number after"):
            await run_migrations(settings, phase=DeployPhase.PRE_DEPLOY)


async def test_what_was_confirmed_is_undone_and_nothing_else(scratch, settings, database_url):
    LATE.write(scratch, *LATE.one)
    await migrate(settings)
    confirmed = await undoing(BASE[-1], settings)
    LATE.write(scratch, *LATE.all)
    await migrate(settings)
    with pytest.raises(SchemaError, match=r"Not what was confirmed: now it would be 100_.*, 97_.*, 96_.*Run it again"):
        await downgrade(BASE[-1], settings, confirmed=confirmed)
    assert len(await recorded(database_url)) == len(BASE) + 3
    confirmed = await undoing(BASE[-1], settings)
    assert (await downgrade(BASE[-1], settings, confirmed=confirmed)).undone == confirmed


# downgrade: what it undoes, what it refuses, and how it waits

FIRST, *_, NEWEST = BASE


async def test_down_and_up_again_is_the_same_schema_with_the_rows_that_were_there(settings, database_url):
    before = await catalog_of(database_url)
    await execute(database_url, "INSERT INTO users (id) VALUES (gen_random_uuid())")
    newest_first = BASE[:0:-1]
    assert await undoing(FIRST, settings) == newest_first
    assert (await downgrade(FIRST, settings)).undone == newest_first
    assert await recorded(database_url) == [FIRST]
    assert "table deleted_ids" not in await catalog_of(database_url)
    assert await downgrade("0", settings) == Downgraded(undone=[], applied=[FIRST]), "nothing more to undo"
    assert await migrate(settings) == BASE[1:]
    assert differences(before, await catalog_of(database_url)) == []
    assert await fetchval(database_url, "SELECT count(*) FROM users") == 1


async def test_several_are_undone_newest_first_and_one_that_fails_is_named(settings, database_url, scratch):
    write_migration(scratch, "96_a", "CREATE TABLE a (id int)", "DROP TABLE nowhere")
    write_migration(scratch, "100_b", "CREATE TABLE b (id int)", "DROP TABLE b")
    await migrate(settings)
    failed = r'Undoing migration 96_a.py \(after 100_b.py, .*\) failed.*"nowhere" does not'
    with pytest.raises(SchemaError, match=failed):
        await downgrade(NEWEST, settings)
    assert await recorded(database_url) == migration_files()[:-1], "what was undone before stays so"
    write_migration(scratch, "96_a", "CREATE TABLE a (id int)", "DROP TABLE a")
    assert (await downgrade(NEWEST, settings)).undone == ["96_a.py"]


@pytest.mark.parametrize(
    ("to", "message"), [("90", f"no migration '90'; the newest is {NEWEST}"), ("x", "no migration 'x'")]
)
async def test_an_unknown_target_is_refused(to, message, settings):
    with pytest.raises(SchemaError, match=message):
        await downgrade(to, settings)


async def test_what_this_version_does_not_know_it_does_not_undo(settings, database_url):
    await execute(database_url, "INSERT INTO aerich (version, app, content) VALUES ('99_x.py', 'store', '{}')")
    with pytest.raises(SchemaError, match=r"Only the version that brought 99_x.py can undo it"):
        await downgrade(FIRST, settings)


async def test_a_target_that_the_database_has_not_reached_is_refused(empty_url):
    with pytest.raises(SchemaError, match="does not have migration 0_"):
        await downgrade(FIRST, StoreSettings(database_url=empty_url))


async def test_a_file_without_a_way_back_is_refused(settings, scratch, database_url):
    write_migration(scratch, "96_a", "CREATE TABLE a (id int)", " ")
    await migrate(settings)
    with pytest.raises(SchemaError, match=r"Undoing migration 96_a.py failed: it has no way back\."):
        await downgrade(NEWEST, settings)
    assert "table a" in await catalog_of(database_url)


@pytest.mark.large
async def test_it_steps_back_from_a_busy_table_until_it_is_free(database_url, stepped_back):
    settings = StoreSettings(database_url=database_url, migration_lock_timeout=0.2)
    async with idle_in_transaction(database_url, "SELECT FROM stream_projections"):
        going_back = asyncio.create_task(downgrade(FIRST, settings))
        await stepped_back()
    assert (await going_back).undone == migration_files()[:0:-1]
