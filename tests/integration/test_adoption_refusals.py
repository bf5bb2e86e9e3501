"""What an adoption refuses before anything is changed, as its dry run does, and what each refusal says to type."""

import re
from types import SimpleNamespace

import pytest

from tests.support.databases import catalog_of, connected, execute, fetch, fetchval
from tests.support.legacy import rows, schema
from tests.support.legacy.databases import legacy
from tests.support.pooler import pgbouncer, pooler
from tests.support.roles import role
from veupath_store.adoption import adopt, plan_adoption, room, undo_adoption
from veupath_store.config import StoreSettings
from veupath_store.errors import AdoptionRefusedError, ConfigurationError, UnavailableError
from veupath_store.servers.database_url import parse_database_url

pytestmark = pytest.mark.own_database

POOLED = "This looks like a PgBouncer: set MIGRATION_DATABASE_URL to a URL that does not go through it"


@pytest.fixture
async def legacy_url(empty_url):
    """A legacy database with one conversation."""
    await legacy(empty_url, one_chat())
    return empty_url


def one_chat():
    world = rows.World()
    world.chat(world.user()["id"])
    return world


async def refusals(url, settings=None):
    """What is said of a database, by the dry run and by the adoption alike; nothing is changed."""
    before, said = await catalog_of(url), []
    for call in (plan_adoption, adopt):
        with pytest.raises(AdoptionRefusedError) as refused:
            await call(settings or StoreSettings(database_url=url))
        said.append(refused.value.differences)
    assert said[0] == said[1]
    assert await catalog_of(url) == before
    return list(said[0])


CASES = """
DROP TABLE operations
  Table operations is missing in schema public: restore it from a backup
ALTER TABLE streams ADD COLUMN mood text
  Column streams.mood (text) is not of revision b4e2f3a5d6c7: keep what it holds elsewhere, then ALTER TABLE streams
  DROP COLUMN mood
ALTER TABLE gene_sets DROP COLUMN search_name
  Column gene_sets.search_name is missing: ALTER TABLE gene_sets ADD COLUMN search_name character varying(255)
ALTER TABLE gene_sets ALTER COLUMN gene_ids TYPE jsonb
  Column gene_sets.gene_ids is jsonb, not json: ALTER TABLE gene_sets ALTER COLUMN gene_ids TYPE json USING
  gene_ids::json
ALTER TABLE users ALTER COLUMN created_at DROP NOT NULL
  Column users.created_at is nullable: ALTER TABLE users ALTER COLUMN created_at SET NOT NULL
ALTER TABLE experiments ALTER COLUMN status SET DEFAULT 'odd'
  Column experiments.status has the default 'odd'::character varying: ALTER TABLE experiments ALTER COLUMN status DROP
  DEFAULT
ALTER TABLE users DROP CONSTRAINT users_external_id_key
  Column users.external_id is not unique: ALTER TABLE users ADD UNIQUE (external_id)
ALTER TABLE users DROP CONSTRAINT users_external_id_key; CREATE UNIQUE INDEX half ON users (external_id); UPDATE
pg_index SET indisvalid = false WHERE indexrelid = 'half'::regclass
  Column users.external_id is not unique: ALTER TABLE users ADD UNIQUE (external_id)
ALTER TABLE experiments SET UNLOGGED
  Table experiments is unlogged: ALTER TABLE experiments SET LOGGED
ALTER TABLE gene_sets ENABLE ROW LEVEL SECURITY
  Table gene_sets has row level security: ALTER TABLE gene_sets DISABLE ROW LEVEL SECURITY
CREATE VIEW seen AS SELECT id FROM streams
  View seen depends on streams: drop it, and make it again after
CREATE MATERIALIZED VIEW seen AS SELECT id FROM users
  Materialized view seen depends on users
CREATE RULE quiet AS ON DELETE TO users DO INSTEAD NOTHING
  Rule quiet on table users depends on users
CREATE TABLE notes (id int, stream_id char(36)); ALTER TABLE notes ADD FOREIGN KEY (stream_id) REFERENCES streams
  Constraint notes_stream_id_fkey on table notes depends on streams: drop it, and make it again after
CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; CREATE TRIGGER touch BEFORE UPDATE ON
users FOR EACH ROW EXECUTE FUNCTION f()
  Trigger touch on table users depends on users: drop it, and make it again after
CREATE POLICY mine ON users USING (true)
  Policy mine on table users depends on users: drop it, and make it again after
CREATE FUNCTION chats() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(*) FROM streams; END
  Function chats() depends on streams: drop it, and make it again after
CREATE FUNCTION f(users) RETURNS int LANGUAGE sql AS 'SELECT 1'
  Function f(users) depends on users
CREATE TABLE kept (who users)
  Table kept depends on users
CREATE PUBLICATION two FOR TABLE streams, users
  Publication two has streams: ALTER PUBLICATION two DROP TABLE streams, and publish the new tables after
CREATE PUBLICATION one FOR ALL TABLES
  Publication one has users: DROP PUBLICATION one, and publish
CREATE PUBLICATION here FOR TABLES IN SCHEMA public
  Publication here has users: ALTER PUBLICATION here DROP TABLES IN SCHEMA public, and publish
SET allow_system_table_mods = on; INSERT INTO pg_seclabel VALUES ('users'::regclass, 'pg_class'::regclass, 2, 'anon',
'MASKED')
  COLUMN users.external_id has a security label of anon: SECURITY LABEL FOR anon ON COLUMN users.external_id IS NULL,
  and label
SET allow_system_table_mods = on; INSERT INTO pg_seclabel VALUES ('streams'::regclass, 'pg_class'::regclass, 0,
'selinux', 'secret')
  TABLE streams has a security label of selinux: SECURITY LABEL FOR selinux ON TABLE streams IS NULL
CREATE TABLE document_ids (id int)
  A table named document_ids exists: rename or drop it
CREATE TYPE document_ids AS ENUM ()
  A type named document_ids exists: rename or drop it
CREATE TYPE document_ids AS (id int)
  A type named document_ids exists: rename or drop it
CREATE DOMAIN aerich AS int
  A type named aerich exists: rename or drop it
CREATE SEQUENCE deleted_ids
  A sequence named deleted_ids exists: rename or drop it
CREATE TABLE notes (id int, stream_id char(36)); CREATE INDEX gene_sets_list_idx ON notes (id)
  An index named gene_sets_list_idx exists
CREATE FUNCTION delete_private_control_sets() RETURNS int LANGUAGE sql AS 'SELECT 1'
  A function named delete_private_control_sets() exists: rename or drop it
CREATE SCHEMA veupath_legacy
  Schema veupath_legacy is there already, without the record of an adoption
CREATE TABLE alembic_version (version_num varchar(32)); INSERT INTO alembic_version VALUES ('c0ffee')
  alembic_version says c0ffee; the newest that is known is b4e2f3a5d6c7: run `alembic downgrade b4e2f3a5d6c7`
CREATE TABLE alembic_version (version_num varchar(32)); INSERT INTO alembic_version VALUES ('6986444486d4')
  alembic_version says 6986444486d4, but the columns are those of b4e2f3a5d6c7: run `alembic stamp b4e2f3a5d6c7`
CREATE TABLE alembic_version (version_num varchar(32))
  alembic_version says nothing, but the columns are those of b4e2f3a5d6c7: run `alembic stamp
"""
"""Statements that change a legacy database; below each, indented, how a line of what is said of it begins."""


def cases():
    """The statements, each with what is said."""
    pairs = re.findall(r"((?:^\S.*\n)+)((?:^ .*\n)+)", CASES, re.MULTILINE)
    return [(statement.strip(), " ".join(said.split())) for statement, said in pairs]


@pytest.mark.parametrize(("statement", "said"), cases())
async def test_anything_else_is_refused_with_what_to_type(empty_url, statement, said):
    await legacy(empty_url, one_chat(), before=statement)
    lines = await refusals(empty_url)
    assert any(line.startswith(said) for line in lines), lines
    assert all(": " in line for line in lines), "each says what to do"


async def test_every_difference_is_listed_at_once(empty_url):
    changes = "ALTER TABLE streams ADD COLUMN mood text; ALTER TABLE users DROP COLUMN external_id"
    await legacy(empty_url, before=changes)
    assert len(await refusals(empty_url)) == 3


@pytest.mark.parametrize("revision", schema.REVISIONS)
async def test_the_schema_of_alembic_without_its_version_is_stamped(empty_url, revision):
    await legacy(empty_url, None, "alembic", revision, "DROP TABLE alembic_version")
    assert await refusals(empty_url) == [
        f"This is Alembic's schema without its `alembic_version`: run `alembic stamp {revision}`"
    ]


async def test_an_empty_database_is_refused(empty_url):
    assert await refusals(empty_url) == [
        "No table of the old schema is in schema public: see that DATABASE_URL names the right database"
    ]


@pytest.mark.parametrize("name", ["app", '"Old App"', "sets", "users"])
async def test_tables_of_another_schema_are_named(legacy_url, name):
    """Where the connections' search_path leads elsewhere."""
    await execute(legacy_url, f"ALTER SCHEMA public RENAME TO {name}", "CREATE SCHEMA public")
    [line] = await refusals(legacy_url)
    assert line.startswith(f"The old tables are in schema {name}: put it first in search_path, as by ALTER ROLE ")
    # For this database alone: the role is the whole server's.
    put = re.sub(r".*(ALTER ROLE \S+)", r"\1 IN DATABASE {}", line).format(parse_database_url(legacy_url).database)
    await execute(legacy_url, put)
    assert not (await adopt(StoreSettings(database_url=legacy_url))).repeated
    assert not (await undo_adoption(StoreSettings(database_url=legacy_url))).discarded


@pytest.mark.parametrize(("variant", "revision"), schema.KINDS)
async def test_of_a_genuine_database_nothing_is_said(empty_url, variant, revision):
    await legacy(empty_url, None, variant, revision)
    assert (await plan_adoption(StoreSettings(database_url=empty_url))).tolerated == []


async def test_of_tables_that_create_all_made_and_alembic_stamped_nothing_is_said(empty_url):
    stamp = "CREATE TABLE alembic_version (version_num varchar(32)); INSERT INTO alembic_version VALUES "
    await legacy(empty_url, before=f"{stamp} ('{schema.NEWEST}')")
    assert (await plan_adoption(StoreSettings(database_url=empty_url))).tolerated == []


async def test_what_does_not_matter_is_listed(empty_url):
    changes = (
        "CREATE INDEX mine ON streams (created_at); ALTER TABLE streams DROP CONSTRAINT streams_user_id_fkey;"
        "ALTER TABLE users ALTER COLUMN created_at SET DEFAULT CURRENT_TIMESTAMP; DROP INDEX ix_proj_wdk;"
        "ALTER TABLE gene_sets ALTER COLUMN id TYPE varchar(80); COMMENT ON COLUMN users.id IS 'who';"
        "COMMENT ON TABLE users IS 'them'; GRANT SELECT, UPDATE ON users TO PUBLIC; GRANT INSERT ON streams TO PUBLIC;"
        "CREATE STATISTICS sites ON site_id, user_id FROM streams"
    )
    await legacy(empty_url, one_chat(), before=changes)
    assert sorted((await adopt(StoreSettings(database_url=empty_url))).tolerated) == [
        "Column gene_sets.id is character varying(80)",
        "Index mine of streams is not of the old schema, and is not made again",
        "Statistics object sites is not made for the new streams: make it again after",
        "The comments on users are not copied: COMMENT ON TABLE users",
        "The foreign key from streams.user_id to users is missing",
        "The grants to PUBLIC are not copied: GRANT INSERT, SELECT, UPDATE ON ALL TABLES IN SCHEMA public TO PUBLIC",
    ]


@pytest.mark.parametrize("how", ["DESC", 'COLLATE "C"', "varchar_pattern_ops", ") WITH (fillfactor=70"])
async def test_logins_are_unique_by_an_index_of_any_order(legacy_url, how):
    unique = f"CREATE UNIQUE INDEX logins ON users (external_id {how})"
    await execute(legacy_url, "ALTER TABLE users DROP CONSTRAINT users_external_id_key", unique)
    assert (await plan_adoption(StoreSettings(database_url=legacy_url))).tolerated == [
        "Index logins of users is not of the old schema, and is not made again"
    ]


GIVEN = (
    *(f"ALTER TABLE {table} OWNER TO {{role}}" for table in schema.TABLES),
    "GRANT CREATE ON SCHEMA public TO {role}",
    "DO $$ BEGIN EXECUTE format('GRANT CREATE, TEMPORARY ON DATABASE %I TO {role}', current_database()); END $$",
    "DO $$ BEGIN EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database()); END $$",
)
OWNERS = "SELECT DISTINCT pg_get_userbyid(relowner) AS role FROM pg_class WHERE relnamespace = ANY ($1::regnamespace[])"


async def owners(url, *schemas):
    return [row["role"] for row in await fetch(url, OWNERS, list(schemas))]


@pytest.mark.parametrize("who", ["a superuser", "a member", "the owner"])
async def test_the_new_tables_are_the_old_owners(legacy_url, who):
    async with role(legacy_url, *GIVEN) as (owner, owner_url), role(legacy_url, f"GRANT {owner} TO {{role}}") as member:
        url = {"a superuser": legacy_url, "a member": member[1], "the owner": owner_url}[who]
        await adopt(StoreSettings(database_url=url))
        assert await owners(legacy_url, "public", "veupath_legacy") == [owner]
        await undo_adoption(StoreSettings(database_url=url))
        assert await owners(legacy_url, "public") == [owner]


async def test_what_a_role_lacks_is_listed_with_the_grants(legacy_url):
    async with role(legacy_url, *GIVEN[: len(schema.TABLES)], GIVEN[-1]) as (owner, url):
        lines = await refusals(url)
        assert [line.partition(":")[0] for line in lines] == [
            "The role may not make a schema",
            "The role may not make temporary tables",
            "The role may not create in schema public",
        ]
        await execute(legacy_url, *(line.partition(": ")[2] for line in lines))
        assert owner in lines[-1]
        assert not (await adopt(StoreSettings(database_url=url))).repeated


@pytest.mark.parametrize(
    "grants", [["GRANT SELECT ON users TO {role}"], ["ALTER ROLE {role} NOINHERIT", "GRANT {owner} TO {role}"]]
)
async def test_another_role_than_the_owner_is_refused(legacy_url, grants):
    """One that could not undo it, too: a member without the owner's rights."""
    async with role(legacy_url, *GIVEN) as (owner, _):
        grants = [grant.replace("{owner}", owner) for grant in grants]
        async with role(legacy_url, *grants) as (other, url):
            heir = f"one that inherits its rights, by GRANT {owner} TO {other}"
            assert await refusals(url) == [f"The tables belong to {owner}: adopt as that role, or as {heir}"]
            await execute(legacy_url, f"ALTER TABLE users OWNER TO {other}")
            [line] = await refusals(legacy_url)
            assert line.startswith(f"The tables belong to {', '.join(sorted((owner, other)))}: give them to one role")


async def test_the_schema_of_the_owners_name_is_not_taken_for_the_tables(legacy_url):
    """``"$user"`` in a search path is another schema for the owner than for a superuser."""
    async with role(legacy_url, *GIVEN, "CREATE SCHEMA AUTHORIZATION {role}") as (owner, _):
        assert [line.partition(":")[0] for line in await refusals(legacy_url)] == [
            "The old tables are in schema public"
        ]
        assert owner


async def test_a_pooler_is_refused(legacy_url):
    async with pooler(legacy_url) as url:
        assert await refusals(legacy_url, StoreSettings(database_url=url)) == [POOLED]


async def test_a_pgbouncer_is_refused_and_a_direct_url_helps(legacy_url, tmp_path):
    async with pgbouncer(legacy_url, tmp_path) as url:
        assert await refusals(legacy_url, StoreSettings(database_url=url, pgbouncer=True)) == [POOLED]
        # What it says of itself comes before what the sessions would show.
        with pytest.raises(ConfigurationError, match="as a PgBouncer does"):
            await plan_adoption(StoreSettings(database_url=url))
        direct = StoreSettings(database_url=url, pgbouncer=True, migration_database_url=legacy_url)
        assert not (await adopt(direct)).repeated


async def test_a_running_application_is_waited_for_in_short_turns_and_named(legacy_url):
    """A transaction that reads a table: the adoption steps back each time, and changes nothing."""
    settings = StoreSettings(database_url=legacy_url, migration_lock_timeout=0.1, migration_attempts=2)
    async with connected(legacy_url) as reader:
        await reader.execute("SET application_name = psql; BEGIN; SELECT FROM streams")
        before = await catalog_of(legacy_url)
        with pytest.raises(UnavailableError) as locked:
            await adopt(settings)
        process = await reader.fetchval("SELECT pg_backend_pid()")
        assert f"streams is locked by process {process} (psql), in a transaction since " in str(locked.value)
        assert f"SELECT pg_terminate_backend({process})" in str(locked.value)
        assert await catalog_of(legacy_url) == before
        await reader.execute("COMMIT")
    assert not (await adopt(settings)).repeated


async def test_too_little_disk_is_refused(legacy_url, monkeypatch):
    plan = await plan_adoption(StoreSettings(database_url=legacy_url))
    needed = plan.estimate_bytes
    assert plan.bytes < needed < 3 * plan.bytes
    directories = []

    def usage(directory):
        directories.append(directory)
        return SimpleNamespace(free=needed - 1)

    monkeypatch.setattr(room.shutil, "disk_usage", usage)
    [line] = await refusals(legacy_url)
    assert re.fullmatch(
        r"The server's disk has [0-9.]+ MB free, and an adoption takes about [0-9.]+ MB: free some, or add some", line
    )
    assert {str(directory) for directory in directories} == {await fetchval(legacy_url, "SHOW data_directory")}
    # Another cluster's directory, as on another machine, says nothing.
    monkeypatch.setattr(room.sys, "byteorder", "big")
    assert not (await adopt(StoreSettings(database_url=legacy_url))).repeated


async def test_a_role_that_sees_no_directory_is_not_refused_for_the_disk(legacy_url, monkeypatch):
    monkeypatch.setattr(room.shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    async with role(legacy_url, *GIVEN) as (_, url):
        assert not (await adopt(StoreSettings(database_url=url))).repeated


async def test_a_small_limit_of_temporary_files_is_refused_where_they_are_needed(legacy_url, monkeypatch):
    settings, url = StoreSettings(database_url=legacy_url), legacy_url
    await execute(url, f"ALTER DATABASE {settings.target.database} SET temp_file_limit = '1kB'")
    assert (await plan_adoption(settings)).bytes > 0
    # As of a database whose rows are not sorted in memory.
    monkeypatch.setattr(room, "_IN_MEMORY", 0)
    [line] = await refusals(url)
    assert line.startswith("temp_file_limit is 1kB, and sorting takes about ")
    await execute(url, line.partition("superuser, ")[2])
    assert not (await adopt(settings)).repeated
