"""The databases of the pytest plugin: as new before each test, by whatever an earlier one has done."""

import asyncio

import pytest

from tests.support.databases import catalog_of, connected
from tests.support.servers import new_name
from veupath_store import close_db, init_db
from veupath_store.config import StoreSettings
from veupath_store.integrations.testing import DatabaseServer, Factories
from veupath_store.integrations.testing.emptying import SharedDatabase
from veupath_store.schema.migrations import migration_files

OWN = """
CREATE SCHEMA lab;
CREATE TABLE lab.notes (id serial PRIMARY KEY, user_id uuid REFERENCES users, text text);
CREATE TABLE parts (id int) PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10)"""
USED = """
INSERT INTO lab.notes (user_id) SELECT id FROM users;
INSERT INTO parts VALUES (1)"""

_TABLES = """
SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables
WHERE schemaname IN ('public', 'lab') AND tablename <> 'aerich'"""


@pytest.fixture(scope="module")
def databases(server):
    made = DatabaseServer(StoreSettings(database_url=server.url("postgres"), redis_url=None))
    yield made
    made.close()


@pytest.fixture(scope="module")
def extended(databases, template):
    """A template with tables of an application's own."""
    name = databases.create(template)
    databases.execute(OWN, database=name)
    databases.run(lambda: databases._let_go(name))  # nobody may be connected to a template
    yield name
    databases.drop(name)


@pytest.fixture(scope="module")
def shared(databases, extended):
    made = SharedDatabase(databases, extended)
    yield made
    made.drop()


async def use(url):
    await init_db(settings=StoreSettings(database_url=url))
    factories = Factories()
    user = await factories.user()
    for method in ("stream", "control_set", "experiment", "gene_set", "operation"):
        await getattr(factories, method)(user)
    await close_db()
    async with connected(url) as connection:
        await connection.execute(USED)


async def rows(url):
    async with connected(url) as connection:
        names = [row["name"] for row in await connection.fetch(_TABLES)]
        return {name: await connection.fetchval(f"SELECT count(*) FROM {name}") for name in names}


async def test_all_rows_go_and_the_schema_stays(databases, shared):
    name = shared.cleaned()
    url, catalog = databases.url(name), await catalog_of(databases.url(name))
    await use(url)
    assert sum((await rows(url)).values()) > 8
    assert shared.cleaned() == name
    assert not any((await rows(url)).values())
    assert await catalog_of(url) == catalog
    async with connected(url) as connection:
        assert await connection.fetchval("SELECT count(*) FROM aerich") == len(migration_files())


async def test_sequences_begin_anew(databases, shared):
    url = databases.url(shared.cleaned())
    for _ in range(2):
        async with connected(url) as connection:
            assert await connection.fetchval("INSERT INTO lab.notes DEFAULT VALUES RETURNING id") == 1
            await connection.execute("SELECT nextval('aerich_id_seq')")
        shared.cleaned()


@pytest.mark.parametrize(
    "change",
    [
        "CREATE TABLE more (id int)",
        "ALTER TABLE users ADD COLUMN colour text",
        "ALTER TABLE users ALTER COLUMN created_at SET DEFAULT 'epoch'",
        "ALTER TABLE users ALTER COLUMN created_at DROP NOT NULL",
        "DROP INDEX gene_sets_list_idx",
        "ALTER TABLE control_sets DROP CONSTRAINT control_sets_seed_check",
        "CREATE OR REPLACE FUNCTION delete_private_control_sets() RETURNS trigger LANGUAGE plpgsql "
        "AS $$ BEGIN RETURN OLD; END $$",
        "ALTER TABLE users DISABLE TRIGGER users_delete_private_control_sets",
        "CREATE VIEW seen AS SELECT 1 AS one",
        "CREATE TYPE mood AS ENUM ('good')",
        "CREATE SCHEMA other",
        "ALTER TABLE lab.notes ENABLE ROW LEVEL SECURITY",
        "DELETE FROM aerich",
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET work_mem = ''1MB''', current_database()); END $$",
    ],
)
def test_a_change_of_the_schema_is_seen(databases, shared, change):
    name = shared.cleaned()
    databases.execute(change, database=name)
    assert not databases.run(shared._emptied)
    databases.run(shared._look)  # quicker than a new one; the next test shows that there is one


async def test_after_a_change_of_the_schema_the_database_is_a_new_one(databases, template):
    shared = SharedDatabase(databases, template)
    try:
        name = shared.cleaned()
        databases.execute("DROP TABLE operations", database=name)
        again = shared.cleaned()
        assert again != name
        assert "public.operations" in await rows(databases.url(again))
        with pytest.raises(Exception, match="does not exist"):
            await rows(databases.url(name))
    finally:
        shared.drop()


def test_what_is_no_change_of_the_schema_is_none(databases, shared):
    name = shared.cleaned()
    databases.execute("VACUUM ANALYZE", "CREATE TEMP TABLE passing (id int)", "DROP TABLE passing", database=name)
    assert shared.cleaned() == name


async def test_whom_an_earlier_test_left_behind_holds_nothing_up(databases, shared):
    url = databases.url(shared.cleaned())
    async with connected(url) as left:
        await left.execute("BEGIN; INSERT INTO users (id) VALUES (gen_random_uuid()); LOCK TABLE users")
        async with asyncio.timeout(10):
            await asyncio.to_thread(shared.cleaned)
        with pytest.raises(Exception, match=r"terminat|clos"):
            await left.execute("COMMIT")


async def test_a_role_that_is_no_superuser_gets_clean_databases_as_well(server, databases):
    role = new_name()
    databases.execute(f'CREATE ROLE "{role}" LOGIN CREATEDB')
    url = databases.url("postgres").replace("postgres@", f"{role}@", 1)
    theirs = DatabaseServer(StoreSettings(database_url=url, redis_url=None))
    template = theirs.create()
    theirs.migrate(template)
    shared = SharedDatabase(theirs, template)
    try:
        name = shared.cleaned()
        for _ in range(2):
            theirs.execute("INSERT INTO users (id) VALUES (gen_random_uuid())", database=name)
            assert shared.cleaned() == name
            assert not any((await rows(theirs.url(name))).values())
    finally:
        shared.drop()
        theirs.drop(template)
        theirs.close()
        databases.execute(f'DROP ROLE "{role}"')


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("postgres://ann:w%40rd@db.example:5433/app", "postgres://ann:w%40rd@db.example:5433/x"),
        (" postgresql://a@h1,h2:7/app?target_session_attrs=any\n", "postgresql://a@h1,h2:7/x?target_session_attrs=any"),
        ("postgresql://a@/app?host=/run/pg", "postgresql://a@/x?host=/run/pg"),
    ],
)
def test_the_url_of_a_database_differs_from_the_given_one_in_its_name_only(given, wanted):
    server = DatabaseServer(StoreSettings(database_url=given, redis_url=None))
    assert server.url("x") == wanted
    server.close()
