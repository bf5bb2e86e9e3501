"""Adoption there and back: the catalog, aerich's records, the old tables, and what is refused."""

import pytest

from tests.support.databases import catalog_of, connected
from tests.support.legacy import problems, rows, schema
from tests.support.legacy.real import real_world
from veupath_store.adoption import (
    ProblemKind,
    Variant,
    adopt,
    adopted_id,
    finish_adoption,
    plan_adoption,
    undo_adoption,
)
from veupath_store.adoption.adopt import new_tables
from veupath_store.catalog import differences, read_catalog
from veupath_store.config import StoreSettings
from veupath_store.errors import AdoptionRefusedError, InternalError
from veupath_store.migrations import migrate

pytestmark = pytest.mark.own_database


@pytest.fixture
def settings(empty_url):
    return StoreSettings(database_url=empty_url)


async def legacy(url, world, variant="create_all", revision=schema.NEWEST, before=""):
    """A legacy database with some rows."""
    async with connected(url) as connection:
        await connection.execute(f"{schema.schema_sql(variant, revision)};{before}")
        await rows.insert(connection, world.rows, revision)


async def run(url, statement):
    async with connected(url) as connection:
        return await connection.fetch(statement)


async def everything(url):
    """The catalog and every row of the legacy schema."""
    async with connected(url) as connection:
        there = {
            table: await connection.fetch(f"SELECT {table}::text AS row FROM {table} ORDER BY 1")
            for table in schema.TABLES
        }
        return await read_catalog(connection), there


async def records(url):
    async with connected(url) as connection:
        return await connection.fetch("SELECT id, version, app, content FROM aerich ORDER BY id")


@pytest.mark.parametrize(("variant", "revision"), schema.KINDS)
async def test_every_problem_there_and_back(settings, empty_url, variant, revision, template, server):
    """The catalog and aerich's records are those of a migrated database, and the way back brings every row."""
    world = problems.problem_world(nullable=variant == "alembic")
    await legacy(empty_url, world, variant, revision, problems.BEFORE)
    before = await everything(empty_url)

    plan = await plan_adoption(settings)
    assert await everything(empty_url) == before
    report = await adopt(settings)

    assert (report.variant, report.revision) == (Variant(variant), revision)
    assert plan.problems == report.problems
    assert plan.rows == report.rows == {table: len(world.rows[table]) for table in schema.TABLES}
    assert not differences(await catalog_of(empty_url), await catalog_of(server.url(template)))
    assert await records(empty_url) == await records(server.url(template))
    assert await migrate(settings) == []
    again = await adopt(settings)
    assert again.repeated
    assert again.problems == report.problems
    assert again.written == report.written

    undone = await undo_adoption(settings)
    assert undone.rows == report.rows
    assert not undone.discarded
    assert await everything(empty_url) == before
    assert not await run(empty_url, "SELECT FROM pg_namespace WHERE nspname = 'veupath_legacy'")
