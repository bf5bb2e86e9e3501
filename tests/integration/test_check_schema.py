"""`check_deployment` on a schema that is not what the migrations made. What a test changes is rolled back."""

import pytest

from tests.support.checks import check, found, found_after, parts
from tests.support.roles import role
from veupath_store.check.schema import about_schema
from veupath_store.config import StoreSettings
from veupath_store.migrations import migrate
from veupath_store.values import Level

OK, WARNING, FAILURE = Level


@pytest.mark.own_database
async def test_migrations_that_are_pending(empty_url):
    level, message, details = await found("migrations", empty_url)
    assert (level, len(details)) == (FAILURE, 2)
    assert "run 'veupath-store migrate'" in message


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


CHANGES = (
    ("DROP INDEX streams_experiment_key", "missing: index streams_experiment_key"),
    ("DROP TABLE log_removals", "missing: table log_removals"),
    ("ALTER TABLE users DROP created_at", "missing: column users.created_at"),
    (
        "ALTER TABLE users ALTER external_id TYPE text",
        "different: column users.external_id: is text NULL, should be character varying(255) NULL",
    ),
    ("ALTER TABLE streams ALTER site_id DROP NOT NULL", "different: column streams.site_id"),
    ("ALTER TABLE operations ALTER status DROP DEFAULT", "different: column operations.status"),
    ("ALTER TABLE gene_sets ALTER gene_count DROP EXPRESSION", "different: column gene_sets.gene_count"),
    ("ALTER TABLE operations DROP CONSTRAINT operations_status_check", "missing: constraint operations."),
    ("ALTER TABLE users DISABLE TRIGGER USER", "different: trigger users.users_delete_private_control_sets"),
    (
        "DROP INDEX operations_list_idx; CREATE INDEX operations_list_idx ON operations (user_id)",
        "different: index operations_list_idx",
    ),
    ("DROP FUNCTION delete_private_control_sets CASCADE", "missing: function delete_private_control_sets()"),
)


async def test_what_was_dropped_or_changed(settings):
    for statements, detail in CHANGES:
        level, message, details = parts((await found_after(statements, about_schema, settings))["schema"])
        assert level is FAILURE, statements
        assert "put them back as migrations/schema.sql has them" in message
        assert any(line.startswith(detail) for line in details), details


THEIRS = """
    CREATE TABLE theirs (id serial PRIMARY KEY, stream_id uuid REFERENCES streams (id));
    CREATE VIEW their_view AS SELECT id FROM users;
"""
ON_OURS = "CREATE INDEX by_operator ON users (created_at); ALTER TABLE users ADD note text;"
INVALID = "UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{}'::regclass"


async def test_what_others_added_is_never_a_failure(settings):
    assert "additions" not in await found_after(THEIRS, about_schema, settings)
    findings = await found_after(THEIRS + ON_OURS + INVALID.format("by_operator"), about_schema, settings)
    assert parts(findings["additions"])[::2] == (WARNING, ["column users.note", "index by_operator"])
    assert findings["schema"].level is OK
    assert parts(findings["indexes"]) == (
        WARNING,
        "Invalid indexes cost writes and serve no read: DROP them, or REINDEX INDEX CONCURRENTLY.",
        ["by_operator"],
    )


async def test_an_index_of_ours_that_is_invalid(settings):
    findings = await found_after(INVALID.format("streams_experiment_key"), about_schema, settings)
    assert parts(findings["indexes"])[::2] == (FAILURE, ["streams_experiment_key"])


@pytest.mark.large
@pytest.mark.own_database
async def test_a_big_table_without_statistics(settings, watcher, monkeypatch):
    monkeypatch.setattr("veupath_store.check.schema.BIG", 0)
    await watcher.execute("INSERT INTO users (id) SELECT gen_random_uuid() FROM generate_series(1, 10); ANALYZE aerich")
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
