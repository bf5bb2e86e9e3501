"""`check_deployment` on a schema that is not what the migrations made. What a test changes is rolled back."""

import pytest

from tests.support.checks import assert_found, check, found_after, parts
from tests.support.roles import role
from veupath_store.check.schema import about_schema
from veupath_store.config import StoreSettings
from veupath_store.schema.migrations import migrate
from veupath_store.values import Level

OK, WARNING, FAILURE = Level


@pytest.mark.own_database
async def test_migrations_that_are_pending(empty_url):
    assert len(await assert_found("migrations", empty_url, FAILURE, "run 'veupath-store migrate'")) == 5


async def test_behind_the_head_nothing_is_compared(settings):
    findings = await found_after("DELETE FROM aerich WHERE version LIKE '1%'", about_schema, settings)
    assert (findings["migrations"].level, findings["schema"].level) == (FAILURE, WARNING)


async def test_only_migrations_for_after_the_deploy_are_pending(settings, monkeypatch):
    monkeypatch.setattr("veupath_store.check.schema.before_deploy", lambda _: [])
    findings = await found_after("DELETE FROM aerich WHERE version LIKE '1%'", about_schema, settings)
    level, message, details = parts(findings["migrations"])
    assert (level, len(details)) == (WARNING, 1)
    assert "left for after the deploy" in message


async def test_a_database_that_is_ahead(settings):
    ahead = "INSERT INTO aerich (version, app, content) VALUES ('99_x.py', 'store', '{}')"
    level, message, details = parts((await found_after(ahead, about_schema, settings))["migrations"])
    assert (level, details) == (WARNING, ["99_x.py"])
    assert "this one runs on it" in message


STATUSES = "CHECK (status IN ('active', 'completed', 'failed', 'cancelled'))"
CHAT_KEY = "UNIQUE INDEX operations_chat_key ON operations (user_id, stream_id)"
STREAM_KEY = "FOREIGN KEY (user_id, stream_id) REFERENCES streams (user_id, id)"


def again(table, constraint, definition):
    """Statements that make a constraint anew, as it was not."""
    return (
        f"ALTER TABLE {table} DROP CONSTRAINT {constraint}, ADD CONSTRAINT {constraint} {definition}",
        f"different: constraint {table}.{constraint}",
    )


def index_again(table, index, definition):
    return f"DROP INDEX {index}; CREATE {definition}", f"different: index {table}.{index}"


CHANGES = (
    ("DROP INDEX streams_experiment_key", "missing: index streams.streams_experiment_key"),
    ("ALTER INDEX operations_chat_key RENAME TO chat_key", "missing: index operations.operations_chat_key"),
    ("DROP TABLE deleted_ids", "missing: table deleted_ids"),
    ("ALTER TABLE deleted_ids RENAME TO removals; CREATE VIEW deleted_ids AS TABLE removals", "different: table"),
    ("ALTER TABLE control_sets SET UNLOGGED", "different: table control_sets: is table unlogged, should be table"),
    ("ALTER TABLE users ENABLE ROW LEVEL SECURITY", "different: table users"),
    ("CREATE RULE lost AS ON INSERT TO users DO INSTEAD NOTHING", "different: table users"),
    ("ALTER TABLE users DROP created_at", "missing: column users.created_at"),
    (
        "ALTER TABLE users ALTER external_id TYPE text",
        "different: column users.external_id: is text NULL, should be character varying(255) NULL",
    ),
    ('ALTER TABLE users ALTER external_id TYPE varchar(255) COLLATE "C"', "different: column users.external_id"),
    ("ALTER TABLE streams ALTER site_id DROP NOT NULL", "different: column streams.site_id"),
    ("ALTER TABLE operations ALTER status DROP DEFAULT", "different: column operations.status"),
    ("ALTER TABLE operations ALTER status SET DEFAULT 'Active'", "different: column operations.status"),
    ("ALTER TABLE gene_sets ALTER gene_count DROP EXPRESSION", "different: column gene_sets.gene_count"),
    ("ALTER TABLE aerich DROP content", "missing: column aerich.content"),
    ("ALTER TABLE operations DROP CONSTRAINT operations_status_check", "missing: constraint operations."),
    again("operations", "operations_status_check", STATUSES.replace(", 'failed'", "")),
    again("operations", "operations_status_check", STATUSES.replace("'failed'", "'Failed'")),
    again("operations", "operations_status_check", STATUSES.replace("IN", "NOT IN")),
    again("operations", "operations_status_check", f"{STATUSES} NOT VALID"),
    again("operations", "operations_max_attempts_check", "CHECK (max_attempts >= 0)"),
    again("operations", "operations_stream_fkey", STREAM_KEY),
    again("operations", "operations_stream_fkey", f"{STREAM_KEY} ON DELETE CASCADE DEFERRABLE"),
    again("control_sets", "control_sets_seed_check", "CHECK (NOT is_seed OR is_public AND user_id IS NOT NULL)"),
    again("document_ids", "document_ids_pkey", "PRIMARY KEY (user_id, id, kind)"),
    index_again("operations", "operations_list_idx", "INDEX operations_list_idx ON operations (user_id)"),
    index_again("operations", "operations_chat_key", CHAT_KEY),
    index_again(
        "operations",
        "operations_chat_key",
        f"{CHAT_KEY} WHERE status = 'active' AND type IN ('chat', 'workbench') AND stream_id IS NOT NULL",
    ),
    (
        "DROP INDEX streams_experiment_key; CREATE INDEX streams_experiment_key ON users (id)",
        "missing: index streams.streams_experiment_key",
    ),
    index_again(
        "control_sets",
        "control_sets_seed_key",
        "UNIQUE INDEX control_sets_seed_key ON control_sets (user_id, site_id, name) WHERE is_seed",
    ),
    index_again(
        "gene_sets",
        "gene_sets_gene_ids_idx",
        "INDEX gene_sets_gene_ids_idx ON gene_sets USING gin (gene_ids jsonb_path_ops)",
    ),
    index_again(
        "stream_projections",
        "stream_projections_list_idx",
        "INDEX stream_projections_list_idx ON stream_projections (user_id, updated_at DESC, stream_id)"
        " WHERE dismissed_at IS NULL",
    ),
    ("ALTER TABLE users DISABLE TRIGGER USER", "different: trigger users.users_delete_private_control_sets"),
    ("DROP FUNCTION delete_private_control_sets CASCADE", "missing: function delete_private_control_sets()"),
    (
        "CREATE OR REPLACE FUNCTION delete_private_control_sets() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN END'",
        "different: function delete_private_control_sets()",
    ),
)


async def test_what_was_dropped_or_changed(settings):
    for statements, detail in CHANGES:
        level, message, details = parts((await found_after(statements, about_schema, settings))["schema"])
        assert level is FAILURE, statements
        assert "put them back as migrations/schema.sql has them" in message
        assert any(line.startswith(detail) for line in details), details


CHOICES = (
    "ALTER TABLE stream_projections SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02)",
    "ALTER TABLE stream_projections SET (toast.autovacuum_enabled = off)",
    "ALTER INDEX operations_chat_key SET (fillfactor = 60)",
    "ALTER INDEX users_pkey SET (fillfactor = 60)",
    "ALTER INDEX gene_sets_gene_ids_idx SET (fastupdate = off)",
    "ALTER TABLE users ALTER external_id SET STATISTICS 1000",
    "ALTER TABLE streams ALTER user_id SET (n_distinct = -0.1)",
    "ALTER TABLE stream_projections ALTER plan SET STORAGE EXTERNAL",
    "ALTER TABLE stream_projections ALTER plan SET COMPRESSION pglz",
    "CREATE STATISTICS by_site ON user_id, site_id FROM streams",
    "COMMENT ON TABLE users IS 'people'; COMMENT ON COLUMN users.id IS 'theirs'",
    "ALTER TABLE streams CLUSTER ON streams_pkey",
    "ALTER TABLE streams REPLICA IDENTITY FULL",
    "ALTER TABLE streams REPLICA IDENTITY USING INDEX streams_owner_key",
    "CREATE PUBLICATION of_users FOR TABLE users",
    "REINDEX INDEX operations_chat_key; ANALYZE operations",
    "ALTER SEQUENCE aerich_id_seq AS bigint CACHE 20",
    "ALTER TABLE aerich DROP CONSTRAINT aerich_version_key, ALTER content TYPE text, ALTER id DROP DEFAULT",
    "GRANT SELECT ON users TO PUBLIC",
    # A restored dump has the cast at each element of a list.
    "ALTER TABLE operations DROP CONSTRAINT operations_status_check, ADD CONSTRAINT operations_status_check"
    " CHECK (status::text = ANY (ARRAY[('active'::varchar)::text, ('completed'::varchar)::text,"
    " ('failed'::varchar)::text, ('cancelled'::varchar)::text]))",
)


async def test_what_an_operator_may_choose(settings):
    for statements in CHOICES:
        findings = await found_after(statements, about_schema, settings)
        assert {finding.level for finding in findings.values()} == {OK}, (statements, findings)


async def test_storage_parameters_are_shown(settings):
    findings = await found_after("; ".join([CHOICES[0], CHOICES[2]]), about_schema, settings)
    level, _, details = parts(findings["storage options"])
    of_table = "stream_projections: fillfactor=70, autovacuum_vacuum_scale_factor=0.02"
    assert (level, details) == (OK, ["operations.operations_chat_key: fillfactor=60", of_table])


THEIRS = """
    CREATE TABLE theirs (id serial PRIMARY KEY, stream_id uuid REFERENCES streams (id));
    CREATE VIEW their_view AS SELECT id FROM users;
"""
ON_OURS = "CREATE INDEX by_operator ON users (created_at); ALTER TABLE users ADD note text;"
INVALID = "UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{}'::regclass"


async def test_what_others_added_is_never_a_failure(settings):
    assert "additions" not in await found_after(THEIRS, about_schema, settings)
    findings = await found_after(THEIRS + ON_OURS + INVALID.format("by_operator"), about_schema, settings)
    assert parts(findings["additions"])[::2] == (WARNING, ["column users.note", "index users.by_operator"])
    assert findings["schema"].level is OK
    assert parts(findings["indexes"]) == (
        WARNING,
        "Invalid indexes cost writes and serve no read: DROP them, or REINDEX INDEX CONCURRENTLY.",
        ["index users.by_operator"],
    )


async def test_an_index_of_ours_that_is_invalid(settings):
    findings = await found_after(INVALID.format("streams_experiment_key"), about_schema, settings)
    assert parts(findings["indexes"])[::2] == (FAILURE, ["index streams.streams_experiment_key"])
    assert findings["schema"].level is OK


@pytest.mark.large
@pytest.mark.own_database
async def test_a_big_table_without_statistics(settings, watcher, monkeypatch):
    monkeypatch.setattr("veupath_store.check.schema.BIG", 0)
    fill = "INSERT INTO users (id) SELECT gen_random_uuid() FROM generate_series(1, 10)"
    await watcher.execute(f"TRUNCATE users CASCADE; {fill}; ANALYZE aerich")
    assert parts((await found_after("SELECT 1", about_schema, settings))["statistics"])[::2] == (WARNING, ["users"])
    await watcher.execute("ANALYZE users")
    assert (await found_after("SELECT 1", about_schema, settings))["statistics"].level is OK


@pytest.mark.large
async def test_a_schema_of_another_name_is_the_same(empty_url, server):
    name = StoreSettings(database_url=empty_url).target.database
    await server.run('CREATE SCHEMA "Path Finder"', database=name)
    await server.run(f'ALTER DATABASE "{name}" SET search_path TO "Path Finder"')
    await migrate(StoreSettings(database_url=empty_url))
    async with role(
        empty_url,
        'GRANT USAGE ON SCHEMA "Path Finder" TO {role}',
        'GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA "Path Finder" TO {role}',
    ) as (_, url):
        assert (await check(url)).is_well(strict=True)
        assert (await check(url, migration_database_url=empty_url)).is_well(strict=True)


async def test_a_table_that_is_being_rewritten_is_not_waited_for(database_url, watcher):
    async with watcher.transaction():
        await watcher.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        report = await check(database_url, lock_timeout=0.2)
    assert not report.complete
    assert any("lock timeout" in finding.message for finding in report.findings)
