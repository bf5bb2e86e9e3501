"""The `aerich` command line, as a deploy and a developer use it, in a copy of the repository."""

import asyncio

import pytest

from tests.support.checkout import copy_repository, write_migration
from tests.support.databases import catalog_of, connected
from tests.support.processes import BIN, run, started
from tests.support.servers import until
from veupath_store.catalog import differences

FILES = ["0_20261124190000_init.py", "1_20261125160000_event_log.py"]


def success(direction, names):
    return "".join(f"Success {direction} {name}\n" for name in names)


@pytest.fixture
def checkout(tmp_path):
    return copy_repository(tmp_path / "checkout")


@pytest.fixture
def aerich(checkout, empty_url):
    async def call(*arguments):
        return await run(BIN / "aerich", *arguments, cwd=checkout, DATABASE_URL=empty_url)

    return call


async def test_upgrade_and_downgrade_and_upgrade_again_with_data_in_it(aerich, empty_url, database_url):
    finished = await aerich("upgrade")
    assert (finished.code, finished.out) == (0, success("upgrading to", FILES)), finished
    again = await aerich("upgrade")
    assert (again.code, again.out) == (0, "No upgrade items found\n"), again
    heads = await aerich("heads")
    assert (heads.code, heads.out) == (0, "No available heads.\n"), heads
    assert differences(await catalog_of(empty_url), await catalog_of(database_url)) == []

    async with connected(empty_url) as connection:
        await connection.execute("""
            INSERT INTO users (id) VALUES (gen_random_uuid());
            INSERT INTO streams (id, user_id, site_id) SELECT gen_random_uuid(), id, 'plasmodb' FROM users;
            INSERT INTO control_sets (id, user_id, name, site_id, record_type)
                SELECT gen_random_uuid(), id, 'Kinases', 'plasmodb', 'transcript' FROM users;
        """)
    down = await aerich("downgrade", "--version", "0", "--yes")
    assert (down.code, down.out) == (0, success("downgrading to", reversed(FILES))), down
    left = {name for name in await catalog_of(empty_url) if "aerich" not in name}
    assert left == set(), "downgrade leaves something behind"
    up = await aerich("upgrade")
    assert (up.code, up.out) == (0, success("upgrading to", FILES)), up
    assert differences(await catalog_of(empty_url), await catalog_of(database_url)) == []


async def test_the_models_have_not_drifted_from_the_last_migration(aerich, checkout):
    """A green `migrate` proves nothing by itself: see the next test, and the comparison with the database."""
    before = sorted((checkout / "migrations" / "store").glob("*.py"))
    finished = await aerich("migrate", "--offline")
    assert (finished.code, finished.out) == (0, "No changes detected\n"), finished
    assert sorted((checkout / "migrations" / "store").glob("*.py")) == before


async def test_the_drift_gate_sees_a_changed_model(aerich, checkout):
    model = checkout / "veupath_store" / "models" / "user.py"
    model.write_text(
        model.read_text().replace("    class Meta:", "    extra = fields.IntField(null=True)\n\n    class Meta:")
    )
    finished = await aerich("migrate", "--offline")
    assert finished.code == 0, finished
    assert f"Success creating migration file {len(FILES)}_" in finished.out, finished
    (written,) = (checkout / "migrations" / "store").glob(f"{len(FILES)}_*.py")
    assert 'ALTER TABLE "users" ADD "extra" INT' in written.read_text()


@pytest.fixture
def two_upgrades(checkout):
    """Two `aerich upgrade` that both have begun when the given lock is let go."""

    patient = {"VEUPATH_STORE_MIGRATION_LOCK_TIMEOUT": "60"}

    async def upgrade(url, lock):
        async with (
            connected(url) as holder,
            connected(url) as observer,
            started(BIN / "aerich", "upgrade", cwd=checkout, DATABASE_URL=url, **patient) as one,
            started(BIN / "aerich", "upgrade", cwd=checkout, DATABASE_URL=url, **patient) as other,
        ):

            async def both_wait():
                return (
                    await observer.fetchval(
                        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                        " AND datname = current_database()"
                    )
                    == 2
                )

            held = holder.transaction()
            await held.start()
            await holder.execute(lock)
            await until(both_wait, 30, "both upgrades wait for the lock")
            await held.rollback()
            return await asyncio.gather(one.finished(), other.finished())

    return upgrade


async def test_of_two_first_upgrades_at_once_one_fails_and_the_file_ran_once(two_upgrades, empty_url, database_url):
    """Plain aerich takes no lock. The first file protects itself: its CREATE TABLE fails the second time."""
    finished = await two_upgrades(empty_url, "CREATE TABLE aerich (id int)")
    assert sorted(one.code for one in finished) == [0, 1], finished
    # The sequence of aerich's own table may end with another name: each of the two chose one that was free.
    different = differences(await catalog_of(empty_url), await catalog_of(database_url))
    assert [item for item in different if "aerich_id_seq" not in item] == []
    async with connected(empty_url) as connection:
        assert await connection.fetchval("SELECT count(*) FROM aerich") == len(FILES)


async def test_of_two_upgrades_at_once_one_fails_whatever_the_file_does(two_upgrades, checkout, database_url):
    """A data migration has nothing that fails the second time; the unique record of it does."""
    name = write_migration(checkout / "migrations", "9_data", "INSERT INTO users (id) VALUES (gen_random_uuid())")
    finished = await two_upgrades(database_url, "LOCK TABLE users IN EXCLUSIVE MODE")
    assert sorted(one.code for one in finished) == [0, 1], finished
    async with connected(database_url) as connection:
        assert await connection.fetchval("SELECT count(*) FROM users") == 1
        assert await connection.fetchval("SELECT count(*) FROM aerich WHERE version = $1", name) == 1


@pytest.mark.large
async def test_behind_an_idle_reader_aerich_gives_up_at_the_migrations_lock_timeout_and_leaves_nothing(
    checkout, database_url
):
    """With the application's lock timeout every query of the table would wait for 5 s behind this one."""
    name = write_migration(
        checkout / "migrations", "9_busy", "CREATE TABLE half (id int); ALTER TABLE users ADD more int"
    )
    environment = {"DATABASE_URL": database_url, "VEUPATH_STORE_MIGRATION_LOCK_TIMEOUT": "0.3"}
    async with connected(database_url) as reader:
        async with reader.transaction():
            await reader.fetch("SELECT FROM users")
            finished = await run(BIN / "aerich", "upgrade", cwd=checkout, **environment)
            assert finished.code == 1, finished
            assert "a lock was not free within the lock timeout" in finished.err
        assert "table half" not in await catalog_of(database_url)
        finished = await run(BIN / "aerich", "upgrade", cwd=checkout, **environment)
        assert (finished.code, finished.out) == (0, f"Success upgrading to {name}\n"), finished


@pytest.mark.large
async def test_aerich_goes_past_the_pooler(checkout, empty_url):
    environment = {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none", "VEUPATH_STORE_PGBOUNCER": "true"}
    finished = await run(BIN / "aerich", "upgrade", cwd=checkout, MIGRATION_DATABASE_URL=empty_url, **environment)
    assert (finished.code, finished.out) == (0, success("upgrading to", FILES)), finished
