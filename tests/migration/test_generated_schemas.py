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

from tests.support.checks import found
from tests.support.databases import catalog_of, connected
from tests.support.dumps import programs
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
    async with connected(url) as connection:
        places = f"{programs(connection.get_server_version().major)}:{BIN}:{os.environ['PATH']}"
        for step in details:
            if step.endswith(";"):
                await connection.execute(step)
                continue
            process = await asyncio.create_subprocess_shell(
                step, cwd=cwd, env={"DATABASE_URL": url, "PATH": places, "PYTHONPATH": ":".join(sys.path)}
            )
            assert await process.wait() == 0, step
    return details


@pytest.mark.large
async def test_the_way_out_of_empty_tables(empty_url, tmp_path):
    await generate(empty_url)
    assert len(await steps(empty_url, tmp_path)) == 2
    assert differences(expected_catalog(), await catalog_of(empty_url)) == []


ROWS = """
INSERT INTO users (id) VALUES ('{0}');
INSERT INTO gene_sets (id, user_id, site_id, name) VALUES ('{1}', '{0}', 'plasmodb', 'mine');
INSERT INTO experiments (id, user_id, site_id, data) VALUES ('{2}', '{0}', 'plasmodb', '{{}}');
INSERT INTO streams (id, user_id, site_id) VALUES ('{3}', '{0}', 'plasmodb');
INSERT INTO stream_projections (stream_id, user_id, site_id, name, gene_set_id)
VALUES ('{3}', '{0}', 'plasmodb', 'New Conversation', '{1}');
"""


@pytest.mark.large
async def test_the_way_out_with_rows(empty_url, tmp_path):
    await generate(empty_url)
    user, gene_set, experiment, stream = (uuid4() for _ in range(4))
    async with connected(empty_url) as connection:
        await connection.execute(ROWS.format(user, gene_set, experiment, stream))
    assert len(await steps(empty_url, tmp_path)) == 5
    assert differences(expected_catalog(), await catalog_of(empty_url)) == []
    async with connected(empty_url) as connection:
        linked = await connection.fetchval("SELECT gene_set_id FROM stream_projections WHERE stream_id = $1", stream)
        ids = await connection.fetch("SELECT id FROM document_ids")
    assert linked == gene_set
    assert {row["id"] for row in ids} == {gene_set, experiment}


async def test_tables_of_somebody_elses(empty_url):
    """They are not taken for generated ones, and never to be dropped."""
    async with connected(empty_url) as connection:
        await connection.execute("CREATE TABLE users (id serial PRIMARY KEY, name text)")
    level, message, details = await found("migrations", empty_url)
    assert (level, details) == (Level.FAILURE, ["users"])
    assert "Other tables have names that the store needs" in message
    with pytest.raises(SchemaError, match="Other tables"):
        await migrate(StoreSettings(database_url=empty_url))
