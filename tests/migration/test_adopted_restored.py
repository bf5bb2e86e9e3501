"""The way back of an adopted database that was dumped and restored."""

import pytest

from tests.support.databases import execute, opened
from tests.support.dumps import dumped, restore
from tests.support.legacy.databases import legacy_database, problem_database
from tests.support.legacy.real import real_world
from tests.support.projections import at_rest, logged
from veupath_store.adoption import adopt, undo_adoption
from veupath_store.config import StoreSettings
from veupath_store.errors import AdoptionRefusedError


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


@pytest.mark.parametrize(
    ("statement", "table", "count"),
    [
        ("UPDATE stream_projections SET name = name || '!' WHERE gene_set_auto_imported", "stream_projections", 10),
        ("UPDATE stream_projections SET message_count = 9, updated_at = now()", "stream_projections", 40),
        ("UPDATE experiments SET data = data || '{\"score\": 0}'", "experiments", 40),
        ("DELETE FROM operations WHERE status = 'failed'", "operations", 20),
    ],
)
@pytest.mark.large
async def test_what_was_written_before_a_dump_is_seen_after_its_restore(
    server, empty_url, strategies, tmp_path, statement, table, count
):
    async with legacy_database(server, real_world(strategies[:40]), "create_all") as url:
        await adopt(StoreSettings(database_url=url))
        await execute(url, statement)
        await restore(url, empty_url, tmp_path / "adopted", "--no-owner")
    with pytest.raises(AdoptionRefusedError) as refused:
        await undo_adoption(StoreSettings(database_url=empty_url))
    assert list(refused.value.differences) == [f"{table}: {count} rows were written or deleted since"]
