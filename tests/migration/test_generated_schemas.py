"""Tortoise's generate_schemas: refused for the store's models, and recognised where it was done."""

import asyncio
import os
import sys
from uuid import uuid4

import pytest
from fastapi import FastAPI
from tortoise import Tortoise, fields
from tortoise.backends.asyncpg.schema_generator import AsyncpgSchemaGenerator
from tortoise.context import TortoiseContext
from tortoise.contrib.fastapi import RegisterTortoise
from tortoise.models import Model

from tests.support.checks import assert_found, found
from tests.support.databases import catalog_of, execute, fetch
from tests.support.dumps import major_of, programs
from tests.support.processes import BIN
from veupath_store import close_db, init_db
from veupath_store.config import StoreSettings
from veupath_store.errors import ConfigurationError, SchemaError
from veupath_store.schema.catalog import differences, expected_catalog
from veupath_store.schema.migrations import migrate
from veupath_store.values import Level


class Note(Model):
    """A model of an application's own."""

    id = fields.UUIDField(primary_key=True)
    text = fields.TextField()


async def generate(url):
    """What generate_schemas did before it was refused."""
    async with TortoiseContext() as context:
        await context.init(config=StoreSettings(database_url=url).tortoise_orm())
        generator = AsyncpgSchemaGenerator(context.db())
        await generator.generate_from_string(generator.get_create_schema_sql(safe=True))


async def test_the_stores_tables_are_not_generated(empty_url):
    config = StoreSettings(database_url=empty_url).tortoise_orm()
    with pytest.raises(ConfigurationError, match=r"run 'veupath-store migrate'"):
        async with RegisterTortoise(FastAPI(), config=config, generate_schemas=True):
            raise AssertionError("it was not refused")
    await Tortoise.close_connections()
    assert await catalog_of(empty_url) == {}


async def test_an_applications_own_tables_are_generated(database_url, empty_url):
    """On a second connection of the store's engine; the store's is refused in the same process."""
    config = StoreSettings(database_url=database_url).tortoise_orm()
    [own] = StoreSettings(database_url=empty_url).tortoise_orm()["connections"].values()
    config["connections"]["own"] = own
    config["apps"] = {"own": {"models": [__name__], "default_connection": "own"}}
    async with RegisterTortoise(FastAPI(), config=config, generate_schemas=True):
        await Note.create(id=uuid4(), text="mine")
    assert "table note" in await catalog_of(empty_url)


async def test_tables_that_were_generated_are_recognised(empty_url):
    await generate(empty_url)
    settings = StoreSettings(database_url=empty_url)
    for attempt in (migrate(settings), init_db(create_schema=True, settings=settings)):
        with pytest.raises(SchemaError, match="generate_schemas made the tables") as refused:
            await attempt
    await close_db()
    with pytest.raises(SchemaError, match="veupath-store migrate"):
        await init_db(settings=settings)
    await close_db()
    level, message, details = await found("migrations", empty_url)
    assert level is Level.FAILURE
    assert message.startswith("Tortoise's generate_schemas made the tables")
    assert str(refused.value).splitlines() == [message, *details]
    assert details[1:] == ["veupath-store migrate"]


async def steps(url, cwd):
    """Do what `check` says, in order."""
    _, _, details = await found("migrations", url)
    places = f"{programs(await major_of(url))}:{BIN}:{os.environ['PATH']}"
    environment = {"DATABASE_URL": url, "PATH": places, "PYTHONPATH": ":".join(sys.path)}
    for step in details:
        if step.endswith(";"):
            await execute(url, step)
        else:
            process = await asyncio.create_subprocess_shell(step, cwd=cwd, env=environment)
            assert await process.wait() == 0, step
    return details


ROWS = [
    "INSERT INTO users (id) VALUES (gen_random_uuid())",
    "INSERT INTO gene_sets (id, user_id, site_id, name) SELECT gen_random_uuid(), id, 'plasmodb', 'mine' FROM users",
    "INSERT INTO experiments (id, user_id, site_id, data) SELECT gen_random_uuid(), id, 'plasmodb', '{}' FROM users",
    "INSERT INTO streams (id, user_id, site_id) SELECT gen_random_uuid(), id, 'plasmodb' FROM users",
    "INSERT INTO stream_projections (stream_id, user_id, site_id, name, gene_set_id)"
    " SELECT streams.id, user_id, site_id, 'Mine', gene_sets.id FROM streams JOIN gene_sets USING (user_id, site_id)",
]


LINKS = "SELECT stream_id, user_id, gene_set_id FROM stream_projections"
DOCUMENTS = "SELECT id FROM gene_sets UNION ALL SELECT id FROM experiments ORDER BY 1"


@pytest.mark.large
@pytest.mark.parametrize(("rows", "count"), [([], 2), (ROWS, 5)], ids=["of empty tables", "with rows"])
async def test_the_way_out(empty_url, tmp_path, rows, count):
    await generate(empty_url)
    await execute(empty_url, *rows)
    links, documents = await fetch(empty_url, LINKS), await fetch(empty_url, DOCUMENTS)
    assert len(await steps(empty_url, tmp_path)) == count
    assert differences(expected_catalog(), await catalog_of(empty_url)) == []
    assert (await fetch(empty_url, LINKS), await fetch(empty_url, DOCUMENTS)) == (links, documents)
    assert await fetch(empty_url, "SELECT id FROM document_ids ORDER BY 1") == documents
    assert (len(links), len(documents)) == ((1, 2) if rows else (0, 0))


async def test_tables_of_somebody_elses(empty_url):
    """They are not taken for generated ones, and never to be dropped."""
    await execute(empty_url, "CREATE TABLE users (id serial PRIMARY KEY, name text)")
    other = "Other tables have names that the store needs"
    assert await assert_found("migrations", empty_url, Level.FAILURE, other) == ["users"]
    with pytest.raises(SchemaError, match="Other tables"):
        await migrate(StoreSettings(database_url=empty_url))
