"""A database that was dumped and restored is what it was, for `check` and for the migrations."""

import pytest

from tests.support.checks import APPLICATION, check, found
from tests.support.databases import catalog_of, execute, fetchval
from tests.support.dumps import major_of, restore
from tests.support.roles import role
from veupath_store.config import StoreSettings
from veupath_store.errors import SchemaError
from veupath_store.schema.catalog import differences, expected_catalog
from veupath_store.schema.downgrades import downgrade
from veupath_store.schema.migrations import migrate, migration_files
from veupath_store.values import Level

OK, WARNING, FAILURE = Level


async def assert_as_migrated(url):
    assert await migrate(StoreSettings(database_url=url)) == []
    different = differences(expected_catalog(), await catalog_of(url))
    assert not different, "\n".join(different)


@pytest.mark.parametrize("plain", [False, pytest.param(True, marks=pytest.mark.large)])
async def test_a_restored_database_is_as_the_migrations_made_it(plain, database_url, empty_url, server, tmp_path):
    await restore(database_url, empty_url, tmp_path / "dump", "--no-owner", plain=plain)
    await assert_as_migrated(empty_url)
    async with role(empty_url, *APPLICATION) as (_, url):
        assert (await check(url)).is_well(strict=True)
    async with server.database() as twice:
        await restore(empty_url, twice, tmp_path / "dump of a restored one", plain=plain)
        await assert_as_migrated(twice)


@pytest.mark.large
async def test_a_database_that_is_restored_on_a_newer_server(database_url, private_server, tmp_path):
    async with private_server.server.database() as target:
        if await major_of(database_url) == await major_of(target):
            pytest.skip("both servers are of one version: set DATABASE_URL to an older one")
        await restore(database_url, target, tmp_path / "dump", "--no-owner")
        await assert_as_migrated(target)


async def test_a_difference_is_found_in_a_restored_database(database_url, empty_url, tmp_path):
    await restore(database_url, empty_url, tmp_path / "dump")
    name = "operations_status_check"
    listed = "ARRAY[('active'::varchar)::text, ('completed'::varchar)::text, ('failed'::varchar)::text]"
    change = f"DROP CONSTRAINT {name}, ADD CONSTRAINT {name} CHECK (status::text = ANY ({listed}))"
    await execute(empty_url, f"ALTER TABLE operations {change}")
    level, _, details = await found("schema", empty_url)
    assert (level, len(details)) == (FAILURE, 1)
    assert "'cancelled'" in details[0]


@pytest.mark.large
async def test_a_restore_without_owners_and_privileges_lists_what_to_type(database_url, empty_url, tmp_path):
    await restore(database_url, empty_url, tmp_path / "dump", "--no-owner", "--no-privileges")
    async with role(empty_url) as (name, url), role(empty_url) as (owner, owner_url):
        report = await check(url, migration_database_url=owner_url)
        assert not report.complete
        for finding in report.findings:
            if finding.name in ("privileges", "migrating role"):
                assert finding.level is FAILURE
                await execute(empty_url, *finding.details)
        assert f"GRANT SELECT ON aerich TO {name};" in str(report)
        assert f"ALTER FUNCTION delete_private_control_sets() OWNER TO {owner};" in str(report)
        assert (await check(url, migration_database_url=owner_url)).is_well(strict=True)


@pytest.mark.large
async def test_a_restore_without_the_search_path(database_url, empty_url, server, tmp_path):
    """A dump holds the schema, and not the setting of the database that made it visible."""
    await execute(database_url, "ALTER SCHEMA public RENAME TO pathfinder", "CREATE SCHEMA public")
    await restore(database_url, empty_url, tmp_path / "dump")
    level, message, _ = await found("migrations", empty_url)
    assert level is FAILURE
    assert "The tables are in schema pathfinder" in message
    name = StoreSettings(database_url=empty_url).target.database
    await server.run(f'ALTER DATABASE "{name}" SET search_path TO pathfinder')
    assert (await found("schema", empty_url))[0] is OK
    async with role(
        empty_url, "ALTER ROLE {role} SET search_path TO public", "GRANT USAGE ON SCHEMA public TO {role}"
    ) as (_, url):
        level, message, _ = await found("migrating role", empty_url, migration_database_url=url)
    assert level is FAILURE
    assert "Its schema is public, and the application's pathfinder" in message


async def test_a_restore_without_the_record_of_migrations(database_url):
    await execute(database_url, "DROP TABLE aerich")
    level, message, _ = await found("migrations", database_url)
    assert (level, "restore the rows of the table aerich" in message) == (FAILURE, True)


# another application's aerich

THEIR_TABLES = (
    "CREATE TABLE aerich (id serial PRIMARY KEY, version varchar(255) NOT NULL, app varchar(100) NOT NULL,"
    " content jsonb NOT NULL)",
    "CREATE TABLE aerich (id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, version text, app text,"
    " content text, applied_at timestamptz DEFAULT now())",
    "CREATE SEQUENCE versions; CREATE TABLE aerich (content json NOT NULL, app varchar(20) NOT NULL,"
    " version varchar(255) NOT NULL, id bigint PRIMARY KEY DEFAULT nextval('versions'))",
)


@pytest.mark.parametrize("table", THEIR_TABLES)
@pytest.mark.large
async def test_another_applications_aerich_will_do(table, empty_url):
    await execute(empty_url, table, "INSERT INTO aerich (version, app, content) VALUES ('0_x.py', 'lab', '{}')")
    assert await migrate(StoreSettings(database_url=empty_url)) == migration_files()
    async with role(empty_url, *APPLICATION) as (_, url):
        report = await check(url)
        assert report.is_well(), report
        assert {one.level for one in report.findings if one.name in ("migrations", "schema")} == {OK}
    done = await downgrade(migration_files()[0], StoreSettings(database_url=empty_url))
    assert done.undone == migration_files()[:0:-1]
    assert await migrate(StoreSettings(database_url=empty_url)) == migration_files()[1:]
    assert await fetchval(empty_url, "SELECT count(*) FROM aerich WHERE app = 'lab'") == 1


@pytest.mark.large
async def test_another_applications_aerich_that_another_role_owns(empty_url):
    await execute(empty_url, THEIR_TABLES[0])
    async with role(empty_url, "GRANT USAGE, CREATE ON SCHEMA public TO {role}") as (name, url):
        assert (await found("migrating role", url, migration_database_url=url))[0] is FAILURE
        level, _, details = await found("migrating role", empty_url, migration_database_url=url)
        assert (level, len(details)) == (FAILURE, 2)
        await execute(empty_url, *details)
        assert await migrate(StoreSettings(database_url=url)) == migration_files()
        assert (await found("migrating role", url, migration_database_url=url))[0] is OK
        assert f"TO {name};" in details[0]


async def test_a_table_that_only_has_the_name(empty_url):
    await execute(empty_url, "CREATE TABLE aerich (id serial PRIMARY KEY, version text)")
    with pytest.raises(SchemaError, match="it lacks app"):
        await migrate(StoreSettings(database_url=empty_url))
    assert (await found("schema", empty_url))[0] is FAILURE
