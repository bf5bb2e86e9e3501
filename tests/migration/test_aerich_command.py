"""The `aerich` command line, as a deploy and a developer use it, in a copy of the repository; and its traps."""

import asyncio
import sys

import pytest
from aerich.migrate import Migrate
from tortoise.exceptions import OperationalError

from tests.support.checkout import write_migration
from tests.support.databases import catalog_of, connected, execute, fetchval, recorded
from tests.support.migrating import idle_in_transaction, upstream
from tests.support.processes import BIN, run, started
from tests.support.servers import until
from veupath_store.config import StoreSettings
from veupath_store.errors import InternalError
from veupath_store.schema.catalog import differences
from veupath_store.schema.files import migration_files, position
from veupath_store.schema.lock import ADVISORY_LOCK
from veupath_store.schema.names import APP

FILES = migration_files()


def success(direction, names):
    return "".join(f"Success {direction} {name}\n" for name in names)


@pytest.fixture
def aerich(checkout, empty_url):
    """What the command prints on standard output, and nothing else; where it fails, on standard error."""

    async def call(*arguments, code=0, **environment):
        finished = await run(BIN / "aerich", *arguments, cwd=checkout, **{"DATABASE_URL": empty_url, **environment})
        printed, nothing = (finished.err, finished.out) if code else (finished.out, finished.err)
        assert (finished.code, nothing) == (code, ""), finished
        return printed

    return call


async def test_upgrade_and_downgrade_and_upgrade_again_with_data_in_it(aerich, empty_url, database_url):
    assert await aerich("upgrade") == success("upgrading to", FILES)
    assert await aerich("upgrade") == "No upgrade items found\n"
    assert await aerich("heads") == "No available heads.\n"
    assert differences(await catalog_of(empty_url), await catalog_of(database_url)) == []

    await execute(
        empty_url,
        "INSERT INTO users (id) VALUES (gen_random_uuid())",
        "INSERT INTO streams (id, user_id, site_id) SELECT gen_random_uuid(), id, 'plasmodb' FROM users",
        "INSERT INTO control_sets (id, user_id, name, site_id, record_type)"
        " SELECT gen_random_uuid(), id, 'Kinases', 'plasmodb', 'transcript' FROM users",
    )
    assert await aerich("downgrade", "--version", "0", "--yes") == success("downgrading to", reversed(FILES))
    assert not [name for name in await catalog_of(empty_url) if "aerich" not in name], "it leaves something behind"
    assert await aerich("upgrade") == success("upgrading to", FILES)
    assert differences(await catalog_of(empty_url), await catalog_of(database_url)) == []


async def test_the_models_have_not_drifted_from_the_last_migration(aerich, checkout):
    """A green `migrate` proves nothing by itself: see the next test, and the comparison with the database."""
    before = sorted((checkout / "migrations" / "store").glob("*.py"))
    assert await aerich("migrate", "--offline") == "No changes detected\n"
    assert sorted((checkout / "migrations" / "store").glob("*.py")) == before


@pytest.mark.large
async def test_the_drift_gate_sees_a_changed_model(aerich, checkout):
    model = checkout / "veupath_store" / "models" / "user.py"
    added = "    extra = fields.IntField(null=True)\n\n    class Meta:"
    model.write_text(model.read_text().replace("    class Meta:", added))
    assert f"Success creating migration file {len(FILES)}_" in await aerich("migrate", "--offline")
    (written,) = (checkout / "migrations" / "store").glob(f"{len(FILES)}_*.py")
    assert 'ALTER TABLE "users" ADD "extra" INT' in written.read_text()


ONE_WAITS = """
SELECT count(*) FILTER (WHERE wait_event_type = 'Lock') = 1
    AND count(*) FILTER (WHERE query LIKE 'SELECT pg_try_advisory%') = 1
FROM pg_stat_activity WHERE datname = current_database()"""


@pytest.fixture
def two_upgrades(checkout):
    """Two `aerich upgrade`: one waits for a lock of a table, the other for the advisory lock, until that is let go."""

    async def upgrade(url, lock, *, second=(BIN / "aerich", "upgrade")):
        options = {"cwd": checkout, "DATABASE_URL": url, "VEUPATH_STORE_MIGRATION_LOCK_TIMEOUT": "60"}
        async with (
            connected(url) as holder,
            connected(url) as observer,
            started(BIN / "aerich", "upgrade", **options) as one,
            started(*second, **options) as other,
        ):
            await holder.execute(f"BEGIN; {lock}")
            await until(lambda: observer.fetchval(ONE_WAITS), 60, "one upgrade works, and the other waits")
            await holder.execute("ROLLBACK")
            return await asyncio.gather(one.finished(), other.finished())

    return upgrade


@pytest.mark.large
async def test_of_two_first_upgrades_at_once_one_does_all_and_the_other_finds_nothing(
    two_upgrades, empty_url, database_url
):
    finished = await two_upgrades(empty_url, "CREATE TABLE aerich (id int)")
    assert [(one.code, one.err) for one in finished] == [(0, "")] * 2, finished
    assert {one.out for one in finished} == {success("upgrading to", FILES), "No upgrade items found\n"}
    assert differences(await catalog_of(empty_url), await catalog_of(database_url)) == []
    assert await recorded(empty_url) == FILES


@pytest.mark.large
@pytest.mark.parametrize(
    "second",
    # The checkout's own files, and not those of this repository.
    [("aerich", "upgrade"), ("python", "-c", "from veupath_store.cli import main; main()", "migrate")],
)
async def test_a_data_migration_runs_once_whichever_two_tools_run_it(second, two_upgrades, checkout, database_url):
    """Nothing of it would fail the second time."""
    name = write_migration(checkout / "migrations", "99_data", "INSERT INTO users (id) VALUES (gen_random_uuid())")
    second = (BIN / second[0], *second[1:])
    finished = await two_upgrades(database_url, "LOCK TABLE users IN EXCLUSIVE MODE", second=second)
    assert [(one.code, one.err) for one in finished] == [(0, "")] * 2, finished
    assert sorted(name in one.out for one in finished) == [False, True]
    assert await fetchval(database_url, "SELECT count(*) FROM users") == 1
    assert await recorded(database_url) == [*FILES, name]


@pytest.mark.large
async def test_what_waits_for_the_lock_in_vain_is_told_in_a_sentence_who_has_it(aerich, empty_url):
    async with connected(empty_url, server_settings={"application_name": "the other"}) as holder:
        await holder.execute("SELECT pg_advisory_lock($1)", ADVISORY_LOCK)
        for command in (("upgrade",), ("downgrade", "--yes")):
            said = await aerich(*command, code=1, VEUPATH_STORE_MIGRATION_WAIT="0.3")
            assert said.startswith("Another process has been migrating this database for 0.3 s: process ")
            assert f"{holder.get_server_pid()} (the other), connected since 2" in said
            assert len(said.splitlines()) == 1


async def test_heads_of_an_empty_database_are_all_files_and_looking_makes_no_table(aerich, empty_url):
    assert await aerich("heads") == "".join(f"{name}\n" for name in FILES)
    assert await catalog_of(empty_url) == {}


async def test_an_empty_file_that_was_not_filled_in_is_a_sentence_and_is_not_recorded(aerich, database_url):
    await aerich("migrate", "--offline", "--empty", "--name", "later")
    said = await aerich("upgrade", code=1, DATABASE_URL=database_url)
    assert said.startswith("A migration gave no SQL to run, as a file of 'aerich migrate --empty' does")
    assert len(said.splitlines()) == 1
    assert await recorded(database_url) == FILES


@pytest.mark.large
async def test_without_a_url_aerich_says_what_to_set_in_a_sentence(aerich):
    assert (await aerich("heads", code=1, DATABASE_URL="")).startswith("DATABASE_URL is not set. Set DATABASE_URL to")


@pytest.mark.large
async def test_behind_an_idle_reader_aerich_gives_up_at_the_migrations_lock_timeout_and_leaves_nothing(
    aerich, checkout, database_url
):
    """With the application's lock timeout every query of the table would wait for 5 s behind this one."""
    name = write_migration(
        checkout / "migrations", "99_busy", "CREATE TABLE half (id int); ALTER TABLE users ADD more int"
    )
    environment = {"DATABASE_URL": database_url, "VEUPATH_STORE_MIGRATION_LOCK_TIMEOUT": "0.3"}
    async with idle_in_transaction(database_url):
        assert "a lock was not free within the lock timeout" in await aerich("upgrade", code=1, **environment)
    assert "table half" not in await catalog_of(database_url)
    assert await aerich("upgrade", **environment) == f"Success upgrading to {name}\n"


@pytest.mark.large
async def test_aerich_goes_past_the_pooler(aerich, empty_url):
    environment = {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none", "VEUPATH_STORE_PGBOUNCER": "true"}
    assert await aerich("upgrade", MIGRATION_DATABASE_URL=empty_url, **environment) == success("upgrading to", FILES)


# what veupath_store.schema relies on, or works around


def test_migrations_run_in_the_same_order_as_in_aerich(tmp_path, monkeypatch):
    (tmp_path / APP).mkdir()
    names = ["0_init.py", "2_20270101_z.py", "2_20270102_a.py", "2_20270102_a_b.py", "02_x.py", "9_a.py", "10_b.py"]
    for name in (*names[::-1], "helper.py", "x_y.py", "__init__.py", "3_notes.txt"):
        (tmp_path / APP / name).touch()
    monkeypatch.setattr("veupath_store.schema.files.migrations_location", lambda: tmp_path)
    monkeypatch.setattr(Migrate, "migrate_location", tmp_path / APP, raising=False)
    assert migration_files() == Migrate.get_all_version_files() == sorted(names, key=position)
    assert migration_files() == ["0_init.py", "02_x.py", *names[1:4], "9_a.py", "10_b.py"]


def test_listing_the_migrations_leaves_aerich_alone(monkeypatch):
    """aerich keeps its state on classes: an application's own use of it must not be moved to our directory."""
    monkeypatch.setattr(Migrate, "migrate_location", "theirs", raising=False)
    assert migration_files()
    assert Migrate.migrate_location == "theirs"


async def test_upstream_heads_raises_on_a_database_without_its_table(empty_url):
    """Which is why `pending_migrations` looks for the table first."""
    async with upstream(StoreSettings(database_url=empty_url).tortoise_orm()) as command:
        with pytest.raises(OperationalError):
            await command.heads()


async def test_upstream_takes_every_operational_error_for_nothing_applied(settings, monkeypatch):
    """Which is why `UnavailableError` is none: aerich would run every file again."""
    from aerich.models import Aerich

    async def lost(**_):
        raise OperationalError("the connection is gone")

    monkeypatch.setattr(Aerich, "exists", lost)
    async with upstream(settings.tortoise_orm()) as command:
        with pytest.raises(InternalError, match="42P07"):
            await command.upgrade()


async def test_an_application_that_imports_the_configuration_keeps_its_own_handling_of_errors(tmp_path):
    """Under the command line `aerich` an error of the store is printed as a sentence: see above."""
    code = "import sys, aerich, veupath_store.tortoise_config as _; assert sys.excepthook is sys.__excepthook__"
    finished = await run(sys.executable, "-c", code, cwd=tmp_path)
    assert (finished.code, finished.err) == (0, ""), finished
