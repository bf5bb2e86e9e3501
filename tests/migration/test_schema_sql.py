"""migrations/schema.sql, the migrations and the models say the same."""

from pathlib import Path

from tests.support.databases import catalog_of, connected, execute
from veupath_store.schema.catalog import differences, expected_catalog, read_catalog

SCHEMA_SQL = Path(__file__).parents[2] / "migrations" / "schema.sql"


async def test_schema_sql_and_the_migrations_make_the_same_database(empty_url, database_url):
    await execute(empty_url, SCHEMA_SQL.read_text())
    different = differences(await catalog_of(empty_url), await catalog_of(database_url))
    assert not different, "schema.sql (first) and the migrations (second) differ:\n" + "\n".join(different)


async def test_every_kind_of_object_is_in_the_catalog(database_url):
    """A comparison of nothing with nothing would be green."""
    catalog = await catalog_of(database_url)
    kinds = {name.split()[0] for name in catalog}
    assert kinds == {"table", "column", "constraint", "index", "trigger", "function"}
    assert catalog["column users.external_id"] == "character varying(255) NULL"
    assert catalog["column users.created_at"] == "timestamp with time zone NOT NULL DEFAULT CURRENT_TIMESTAMP"


async def test_objects_of_an_extension_are_left_out(database_url):
    before = await catalog_of(database_url)
    await execute(
        database_url,
        "CREATE TABLE extra (id serial PRIMARY KEY)",
        "CREATE FUNCTION more() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        *(
            f"ALTER EXTENSION plpgsql ADD {what}"
            for what in ("TABLE extra", "SEQUENCE extra_id_seq", "FUNCTION more()")
        ),
    )
    assert differences(before, await catalog_of(database_url)) == []


async def test_the_catalog_that_is_shipped_is_the_one_that_the_migrations_make(database_url):
    """On whichever version of PostgreSQL this runs."""
    different = differences(expected_catalog(), await catalog_of(database_url))
    assert not different, "write it anew: python -m tests.write_catalog\n" + "\n".join(different)


async def test_a_catalog_is_the_same_in_another_schema(empty_url, database_url):
    async with connected(empty_url) as connection:
        await connection.execute('CREATE SCHEMA "Path Finder"; SET search_path TO "Path Finder"')
        await connection.execute(SCHEMA_SQL.read_text())
        for path in ('"Path Finder"', "public"):
            await connection.execute(f"SET search_path TO {path}")
            different = differences(expected_catalog(), await read_catalog(connection.fetch, '"Path Finder"'))
            assert not different, "\n".join(different)
