"""Adoption there and back: the catalog, aerich's records, and the old tables."""

import pytest
from pydantic import SecretStr

from tests.support import redis_servers
from tests.support.databases import catalog_of, connected, fetch, make_migrated, opened
from tests.support.dumps import dumped, restore
from tests.support.legacy import rows, schema
from tests.support.legacy.databases import legacy, legacy_database, problem_database
from tests.support.legacy.real import real_world
from tests.support.projections import at_rest, logged
from veupath_store.adoption import ProblemKind, adopt, adopted_id, finish_adoption, load, plan_adoption, undo_adoption
from veupath_store.config import StoreSettings
from veupath_store.errors import AdoptionRefusedError, InternalError, NotFoundError, UnavailableError
from veupath_store.schema.catalog import read_catalog
from veupath_store.servers.database_url import parse_database_url

pytestmark = pytest.mark.own_database

UNDO, FINISH, OLD = undo_adoption, finish_adoption, "veupath_legacy"
NOTES_KEY = "notes_user_id_fkey on table notes"
RECORD = "(version, app, content) VALUES ('0_init.py', 'notes', '{}')"


@pytest.fixture
def settings(empty_url):
    return StoreSettings(database_url=empty_url)


@pytest.fixture
async def real(empty_url, strategies):
    """The real strategies in a legacy database."""
    await legacy(empty_url, real_world(strategies))


async def everything(url):
    """The catalog and every row of the legacy schema."""
    async with connected(url) as connection:
        there = {
            table: await connection.fetch(f"SELECT {table}::text AS row FROM {table} ORDER BY 1")
            for table in schema.TABLES
        }
        return await read_catalog(connection.fetch), there


async def records(url):
    return await fetch(url, "SELECT id, version, app, content FROM aerich ORDER BY id")


async def test_the_progress_goes_up_in_every_phase(settings, real):
    told = []
    await adopt(settings, progress=told.append)
    phases = list(dict.fromkeys(step.phase for step in told))
    assert "writing rows" in phases
    for phase in phases:
        done = [step.done for step in told if step.phase == phase]
        assert done == sorted(done), phase
    assert all(step.done <= step.total for step in told)


async def test_a_database_of_the_store_has_nothing_to_adopt(empty_url):
    await make_migrated(empty_url)
    settings = StoreSettings(database_url=empty_url)
    assert (await plan_adoption(settings)).variant is None
    report = await adopt(settings)
    assert (report.variant, report.repeated) == (None, True)
    with pytest.raises(AdoptionRefusedError, match="nothing to go back to"):
        await undo_adoption(settings)
    assert not (await finish_adoption(settings)).dropped


@pytest.mark.parametrize(
    ("statement", "table", "rows_lost"),
    [
        pytest.param("UPDATE experiments SET version = 2 WHERE is_primary", "experiments", 14, marks=pytest.mark.large),
        ("INSERT INTO users (id) VALUES (gen_random_uuid())", "users", 1),
        pytest.param("DELETE FROM operations", "operations", 106, marks=pytest.mark.large),
        ("UPDATE stream_projections SET name = name || '!' WHERE gene_set_auto_imported", "stream_projections", 13),
        ("UPDATE stream_projections SET message_count = 9, updated_at = now()", "stream_projections", 53),
        ("UPDATE experiments SET data = data || '{\"score\": 0}'", "experiments", 53),
        ("INSERT INTO deleted_ids (kind, id) VALUES ('stream', gen_random_uuid())", "deleted_ids", 1),
    ],
)
async def test_the_way_back_is_refused_after_a_write(settings, empty_url, real, statement, table, rows_lost):
    before = await everything(empty_url)
    await adopt(settings)
    await fetch(empty_url, statement)
    adopted = await catalog_of(empty_url)
    with pytest.raises(AdoptionRefusedError, match=f"{table}: ") as refused:
        await undo_adoption(settings)
    assert len(refused.value.differences) == 1
    assert await catalog_of(empty_url) == adopted
    undone = await undo_adoption(settings, discard_newer=True)
    assert undone.discarded == {table: rows_lost}
    assert await everything(empty_url) == before


async def test_the_end_drops_the_old_tables(settings, empty_url, real):
    await adopt(settings)
    adopted = await catalog_of(empty_url)
    finished = await finish_adoption(settings)
    assert finished.dropped
    assert finished.bytes > 0
    assert not await fetch(empty_url, "SELECT FROM pg_namespace WHERE nspname = 'veupath_legacy'")
    assert await catalog_of(empty_url) == adopted
    assert (await adopt(settings)).repeated
    with pytest.raises(AdoptionRefusedError):
        await undo_adoption(settings)


@pytest.mark.parametrize(
    ("call", "statement", "said"),
    [
        (UNDO, "CREATE TABLE notes (user_id uuid REFERENCES users)", f"constraint {NOTES_KEY} depends on table users"),
        (UNDO, f"INSERT INTO aerich {RECORD}", "aerich: 1 rows were written or deleted since"),
        (FINISH, f"CREATE VIEW seen AS SELECT id FROM {OLD}.users", f"view seen depends on table {OLD}.users"),
        (FINISH, f"CREATE TABLE {OLD}.notes ()", f"table {OLD}.notes depends on schema {OLD}"),
    ],
)
async def test_nothing_of_somebody_elses_is_dropped(settings, empty_url, call, statement, said):
    await legacy(empty_url, rows.World())
    await adopt(settings)
    await fetch(empty_url, statement)
    adopted = await everything(empty_url), await records(empty_url)
    with pytest.raises(AdoptionRefusedError) as refused:
        await call(settings)
    assert refused.value.differences == (said,)
    assert (await everything(empty_url), await records(empty_url)) == adopted


async def test_columns_may_have_any_collation(settings, empty_url, strategies):
    """Two that differ cannot be compared as they are."""
    collations = {"streams": "C", "stream_projections": "POSIX"}
    changes = (f'ALTER TABLE {it} ALTER site_id TYPE varchar(50) COLLATE "{its}"' for it, its in collations.items())
    await legacy(empty_url, real_world(strategies[:40]), before=";".join(changes))
    assert (await adopt(settings)).problems == []


async def test_no_timeout_of_the_database_ends_it(settings, empty_url, monkeypatch):
    await legacy(empty_url, rows.World())
    monkeypatch.setattr(load, "_STREAMS", f"SELECT pg_sleep(1.1); {load._STREAMS}")
    timeouts = await fetch(empty_url, "SELECT name FROM pg_settings WHERE name ~ '^(statement|transaction)_timeout$'")
    for row in timeouts:
        await fetch(empty_url, f"ALTER DATABASE {parse_database_url(empty_url).database} SET {row['name']} = '1s'")
    assert not (await adopt(settings)).repeated
    assert not (await undo_adoption(settings)).discarded


async def test_what_fails_once_the_tables_are_locked_is_not_begun_again(settings, empty_url, strategies, monkeypatch):
    """As when somebody cancels it, or the disk is full: of a large database each try takes minutes."""
    await legacy(empty_url, real_world(strategies[:40]))
    told = []
    monkeypatch.setattr(load, "_STREAMS", "SELECT pg_cancel_backend(pg_backend_pid()), pg_sleep(60)")
    with pytest.raises(UnavailableError, match="cancelled"):
        await adopt(settings, progress=told.append)
    assert [step.phase for step in told].count("locking") == 1


async def test_a_redis_that_is_away_is_found_before_anything_is_locked(settings, empty_url):
    await legacy(empty_url, rows.World())
    told = []
    with pytest.raises(UnavailableError, match="no server listens there"):
        await adopt(settings.model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:1")}), progress=told.append)
    assert told == []


async def test_a_row_that_is_lost_stops_the_adoption(settings, empty_url, real, monkeypatch):
    """What is compared before COMMIT."""
    before = await everything(empty_url)
    monkeypatch.setattr(load, "_STREAMS", f"{load._STREAMS} LIMIT 1")
    with pytest.raises((InternalError, NotFoundError)):
        await adopt(settings)
    assert await everything(empty_url) == before


async def test_a_log_under_another_key_is_copied(empty_url, redis_url, log_prefix):
    """Redis keys stay as they are: a stream whose id was no UUID has its log under both."""
    world = rows.World()
    owner = world.user()["id"]
    upper, plain = rows.identity(7).upper(), rows.identity(8)
    for key in ("short", upper, plain, "without a log"):
        world.chat(owner, stream={"id": key})
    await legacy(empty_url, world)
    with redis_servers.client(redis_url) as client:
        for key in ("short", upper, plain):
            client.xadd(f"{log_prefix}stream:{key}", {"type": "user_message", "data": "{}", "op": ""}, id="5-0")
        settings = StoreSettings(database_url=empty_url, redis_url=redis_url, log_prefix=log_prefix)
        report = await adopt(settings)
        keys = {name.decode().rpartition(":")[2] for name in client.scan_iter(match=f"{log_prefix}stream:*")}
    assert keys == {"short", upper, plain, str(adopted_id("short")), upper.lower()}
    renamed = {problem.key: problem.fixed for problem in report.problems if problem.kind is ProblemKind.RENAMED_LOG}
    assert renamed.keys() == {"short", upper, "without a log"}
    assert renamed["short"] == renamed[upper] != renamed["without a log"]
    assert (await adopt(settings)).problems == report.problems


# dumped and restored


async def caught_up(settings):
    async with opened(settings):
        await at_rest()


@pytest.mark.parametrize("variant", ["alembic", pytest.param("create_all", marks=pytest.mark.large)])
async def test_after_the_way_back_a_dump_is_what_it_was(server, redis_url, log_prefix, tmp_path, variant):
    async with problem_database(server, variant) as url:
        before = await dumped(url, tmp_path / "before")
        await adopt(StoreSettings(database_url=url))
        await caught_up(logged(url, redis_url, log_prefix))
        assert not (await undo_adoption(StoreSettings(database_url=url))).discarded
        assert await dumped(url, tmp_path / "after") == before


@pytest.mark.large
async def test_the_way_back_of_a_restored_database_is_open_while_only_positions_changed(
    server, empty_url, redis_url, log_prefix, strategies, tmp_path
):
    async with legacy_database(server, real_world(strategies[:40]), "create_all") as url:
        before = await dumped(url, tmp_path / "before")
        await adopt(StoreSettings(database_url=url))
        await caught_up(logged(url, redis_url, log_prefix))
        await restore(url, empty_url, tmp_path / "adopted", "--no-owner")
    assert not (await undo_adoption(StoreSettings(database_url=empty_url))).discarded
    assert await dumped(empty_url, tmp_path / "after") == before
