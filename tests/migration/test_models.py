"""Each model says what its table says.

What Tortoise would make of the models is built in a schema of its own, and its catalog compared with the migrated one.
Indexes, checks and triggers are the migrations' alone: Tortoise has no words for most of them.
"""

import ast
import re
from pathlib import Path

import pytest
from tortoise.context import TortoiseContext
from tortoise.utils import get_schema_sql

from tests.support.databases import connected
from veupath_store import models
from veupath_store.config import StoreSettings
from veupath_store.schema.catalog import differences, read_catalog

MODELS = Path(models.__file__).parent

# Tortoise has no composite keys: the tables that have one have no model.
WITHOUT_A_MODEL = ("document_ids", "deleted_ids", "stream_events")

FOREIGN_KEYS = """
    SELECT c.relname AS table_name, k.confrelid::regclass::text AS referred, k.confdeltype::text AS action,
           (SELECT array_agg(a.attname::text ORDER BY n) FROM unnest(k.conkey) WITH ORDINALITY u(num, n)
            JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.num) AS columns,
           (SELECT array_agg(a.attname::text ORDER BY n) FROM unnest(k.confkey) WITH ORDINALITY u(num, n)
            JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.num) AS referred_columns,
           coalesce((SELECT array_agg(a.attname::text) FROM unnest(k.confdelsetcols) u(num)
            JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.num), '{}') AS nulled
    FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
    WHERE k.contype = 'f' AND c.relnamespace = $1::regnamespace
"""


@pytest.fixture
async def connection(database_url):
    """The migrated tables in the schema `public`, those of the models in `of_models`."""
    async with TortoiseContext() as context:
        await context.init(config=StoreSettings(database_url=database_url).tortoise_orm())
        generated = get_schema_sql(context.db(), safe=False)
    async with connected(database_url) as connection:
        await connection.execute("CREATE SCHEMA of_models; SET search_path = of_models;" + generated)
        await connection.execute("SET search_path = public")
        yield connection


def of_kind(catalog, kind):
    return {name: definition for name, definition in catalog.items() if name.split()[0] == kind}


@pytest.mark.parametrize("kind", ["table", "column"])
async def test_models_and_tables_have_the_same(kind, connection):
    """Columns with their types and widths, whether they may be null, and their server defaults."""
    modelled, migrated = [
        {
            name: definition
            for name, definition in of_kind(await read_catalog(connection.fetch, schema), kind).items()
            # What the database derives is read by summaries, never by a model, which would write it.
            if "GENERATED" not in definition
            and not any(table in name for table in WITHOUT_A_MODEL)
            and name != "column aerich.id"  # each has its own sequence
        }
        for schema in ("of_models", "public")
    ]
    different = differences(modelled, migrated)
    assert not different, f"models (first) and migrations (second) differ in a {kind}:\n" + "\n".join(different)


async def test_models_and_tables_have_the_same_keys(connection):
    modelled, migrated = [
        {
            (name.split(".")[0], definition)
            for name, definition in of_kind(await read_catalog(connection.fetch, schema), "constraint").items()
            if definition.startswith(("PRIMARY KEY", "UNIQUE")) and "," not in definition
        }
        for schema in ("of_models", "public")
    ]
    assert modelled == migrated


async def test_each_relation_is_a_foreign_key_with_the_same_action(connection):
    """A foreign key of ours may also hold the owner; the relation's own column refers to the same column."""
    modelled = await connection.fetch(FOREIGN_KEYS, "of_models")
    every = await connection.fetch(FOREIGN_KEYS, "public")
    migrated = [key for key in every if key["table_name"] not in WITHOUT_A_MODEL]
    assert len(modelled) == len(migrated) == 8
    for key in migrated:
        (column, referred_column) = key["columns"][-1], key["referred_columns"][-1]
        own = (key["table_name"], [column], [referred_column], f"of_models.{key['referred']}", key["action"])
        names = ("table_name", "columns", "referred_columns", "referred", "action")
        assert [tuple(twin[name] for name in names) for twin in modelled].count(own) == 1, key
        assert list(zip(key["columns"], key["referred_columns"], strict=True))[:-1] in ([], [("user_id", "user_id")])
        if key["action"] == "n" and len(key["columns"]) > 1:
            assert key["nulled"] == [column], "the owner would be nulled with the link"


def test_widths_come_from_limits():
    """A width that is stated in two places is wrong in one of them."""
    widths = [
        (path.name, ast.unparse(keyword.value))
        for path in MODELS.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == "max_length"
    ]
    assert len(widths) > 15
    assert not [where for where in widths if not re.fullmatch(r"limits\.\w+", where[1])]
