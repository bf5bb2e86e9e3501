"""An adopted database is one like any other: to migrations, to the check, to aerich and to every repository."""

import pytest

from tests.support.databases import connected
from tests.support.legacy.databases import problem_database
from veupath_store import (
    ControlSetRepository,
    ExperimentRepository,
    GeneSetRepository,
    OperationRepository,
    StreamRepository,
    UserRepository,
    close_db,
    init_db,
)
from veupath_store.adoption import adopt
from veupath_store.config import StoreSettings

pytestmark = pytest.mark.own_database


@pytest.fixture
async def settings(server):
    async with problem_database(server, "alembic") as url:
        settings = StoreSettings(database_url=url)
        await adopt(settings)
        yield settings


REPOSITORIES = {
    "users": UserRepository,
    "control_sets": ControlSetRepository,
    "experiments": ExperimentRepository,
    "gene_sets": GeneSetRepository,
    "operations": OperationRepository,
    "streams": StreamRepository,
}


async def test_every_repository_reads_whatever_was_mended(settings):
    async with connected(settings.database_url.get_secret_value()) as connection:
        ids = {
            table: [row["id"] for row in await connection.fetch(f"SELECT id FROM {table}")] for table in REPOSITORIES
        }
    await init_db(settings=settings)
    try:
        for table, repository in REPOSITORIES.items():
            for new in ids[table]:
                assert (await repository().get_by_id(new)).id == new
        listed, streams = set(), StreamRepository()
        for user_id in ids["users"]:
            listed |= {item.stream_id for item in await streams.list_projections(user_id, limit=1_000)}
            listed |= {item.stream_id for item in await streams.list_dismissed_projections(user_id, limit=1_000)}
        assert listed == set(ids["streams"])
        for stream_id in ids["streams"]:
            assert (await streams.get_projection(stream_id)).stream_id == stream_id
    finally:
        await close_db()
