"""`migrate`, the Python call: what it applies, and where it may be called."""

import asyncio
import logging
from functools import partial

import pytest
from aerich.migrate import Migrate

from tests.support.checkout import write_migration
from tests.support.databases import catalog_of, connected, execute, fetchval, opened, recorded
from tests.support.faults import kill_backends
from tests.support.servers import until
from veupath_store import StreamRepository, UserRepository, async_session_factory, close_db, init_db
from veupath_store.check.readiness import check_readiness
from veupath_store.config import StoreSettings
from veupath_store.errors import ConfigurationError, SchemaError, UnavailableError
from veupath_store.schema.catalog import differences
from veupath_store.schema.downgrades import downgrade
from veupath_store.schema.files import DeployPhase
from veupath_store.schema.lock import ADVISORY_LOCK
from veupath_store.schema.migrations import migrate, migration_files, pending_migrations


@pytest.fixture
def empty(empty_url):
    return StoreSettings(database_url=empty_url)


async def test_eight_at_once_run_each_file_once(empty, empty_url, scratch):
    write_migration(scratch, "96_data", "INSERT INTO users (id) VALUES (gen_random_uuid())")
    applied = await asyncio.gather(*(migrate(empty) for _ in range(8)))
    assert sorted(applied) == [[]] * 7 + [migration_files()]
    assert await recorded(empty_url) == migration_files()
    assert await fetchval(empty_url, "SELECT count(*) FROM users") == 1


async def test_two_databases_at_once_in_one_process(server, scratch):
    """aerich keeps its state on a class: nothing of one database may reach the other."""
    write_migration(scratch, "96_data", "INSERT INTO users (id) VALUES (gen_random_uuid())")
    async with server.database() as one, server.database() as other:
        applied = await asyncio.gather(*(migrate(StoreSettings(database_url=url)) for url in (one, other)))
        assert applied == [migration_files(), migration_files()]
        assert Migrate.upgrade_operators == []
        for url in (one, other):
            assert await recorded(url) == migration_files()


async def test_an_application_that_has_the_store_open_may_migrate(store, user, settings, scratch, empty):
    write_migration(scratch, "96_more", "CREATE TABLE more (id int)")
    async with async_session_factory() as session:
        stream = await StreamRepository(session).create(user.id, "plasmodb")
        assert await migrate(settings) == ["96_more.py"]
        assert await migrate(empty) == migration_files()
        await StreamRepository(session).update_projection(stream.id, name="Kinases")
    assert (await StreamRepository().get_projection(stream.id)).name == "Kinases"
    assert await init_db() is store


@pytest.mark.parametrize("phase", DeployPhase)
async def test_a_database_that_is_ahead_is_left_alone_with_a_warning(settings, database_url, caplog, phase):
    """As on a rollback of the application: the newer version's migrations stay."""
    await execute(database_url, "INSERT INTO aerich (version, app, content) VALUES ('99_future.py', 'store', '{}')")
    before = await catalog_of(database_url)
    with caplog.at_level(logging.WARNING, "veupath_store"):
        assert await migrate(settings, phase=phase) == []
    assert "99_future.py" in caplog.text
    assert await catalog_of(database_url) == before
    async with opened(settings):
        assert (await UserRepository().create()).id
        assert (await check_readiness()).ready


async def test_pending_migrations_are_in_order(settings, scratch):
    for name in ("100_c", "97_b", "96_a"):
        write_migration(scratch, name, "SELECT 1")
    async with opened(settings, require_head=False) as engine:
        assert await pending_migrations(await engine.open()) == ["96_a.py", "97_b.py", "100_c.py"]
    with pytest.raises(SchemaError, match=r"3 migration\(s\) behind \(next: 96_a.py\)"):
        await init_db(settings=settings)
    await init_db(True, settings=settings)
    await close_db()


async def test_init_db_creates_the_schema_and_finds_it_the_second_time(empty, empty_url, database_url):
    for _ in range(2):
        async with opened(empty, create_schema=True):
            assert (await UserRepository().create()).id
            await init_db(create_schema=True, settings=empty)
    assert differences(await catalog_of(empty_url), await catalog_of(database_url)) == []
    assert await fetchval(empty_url, "SELECT count(*) FROM users") == 2


@pytest.mark.parametrize("work", [migrate, partial(downgrade, migration_files()[0])], ids=["migrate", "downgrade"])
async def test_it_gives_up_when_another_process_migrates_for_too_long(database_url, work):
    async with connected(database_url) as holder:
        await holder.execute("SELECT pg_advisory_lock($1)", ADVISORY_LOCK)
        with pytest.raises(UnavailableError, match=r"been migrating this database for 0\.3 s"):
            await work(StoreSettings(database_url=database_url, migration_wait=0.3))


async def test_a_lost_lock_is_a_typed_error(database_url):
    async with connected(database_url) as holder:
        await holder.execute("SELECT pg_advisory_lock($1)", ADVISORY_LOCK)
        waiting = asyncio.create_task(migrate(StoreSettings(database_url=database_url)))
        here = "FROM pg_stat_activity WHERE datname = current_database()"
        waits = f"SELECT count(*) > 0 {here} AND query LIKE 'SELECT pg_try_advisory%'"
        await until(lambda: holder.fetchval(waits), 10, "the migration waits for the lock")
        await kill_backends(holder)
        with pytest.raises(UnavailableError):
            await waiting


async def test_a_pooler_alone_is_refused(database_url):
    """Its advisory lock would stay on one of PgBouncer's server connections for good."""
    with pytest.raises(ConfigurationError, match="MIGRATION_DATABASE_URL"):
        await migrate(StoreSettings(database_url=database_url, pgbouncer=True))
    past_it = StoreSettings(
        database_url="postgresql://nobody@127.0.0.1:1/none", migration_database_url=database_url, pgbouncer=True
    )
    assert await migrate(past_it) == []


async def test_a_wheel_without_its_migrations_is_an_error(monkeypatch, tmp_path):
    (tmp_path / "veupath_store").mkdir()
    monkeypatch.setattr("veupath_store.schema.files.files", lambda _: tmp_path / "veupath_store")
    with pytest.raises(SchemaError, match="lacks the migration files"):
        migration_files()
