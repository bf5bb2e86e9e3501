"""Which statements certainly leave nothing behind in their session. In doubt one does."""

import pytest

from veupath_store.config import StoreSettings
from veupath_store.engine.connect import begin_sql
from veupath_store.engine.connection import leaves_nothing

KEEPING = [
    "SET search_path = x",
    "SET LOCAL search_path = x",
    "RESET ALL",
    "LISTEN a",
    "PREPARE a AS SELECT 1",
    "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
    "DO $$ BEGIN PERFORM set_config('a.b', 'c', false); END $$",
    "CALL p()",
    "LOAD 'x'",
    "CREATE TEMP TABLE t (a int)",
    "EXPLAIN ANALYZE SELECT 1",
    "SELECT set_config('a.b', 'c', false)",
    "SELECT pg_advisory_lock(1)",
    "select my_function(1)",
    "SELECT pg_catalog.set_config('a.b', 'c', false)",
    "SELECT mine . lower('a')",
    "SELECT mine.lower('a')",
    "SELECT \"set_config\"('a.b', 'c', false)",
    "SELECT 1; SET x = 1",
    "BEGIN; SET x = 1",
    "COMMIT; SET x = 1",
    "WITH x (a) AS (SELECT set_config('a.b', 'c', false)) SELECT 1",
    "INSERT INTO t (a) VALUES (set_config('a.b', 'c', false))",
    "UPDATE t SET a = nextval('s')",
    # Calls that hide behind what looks like a string, a comment, or the name of a query.
    "SELECT E'\\'' || set_config('a.b', 'c', false) || ''",
    "SELECT U&'\\0041' || set_config('a.b', 'c', false)",
    "-- it's\nSELECT set_config('a.b', 'c', false) -- '",
    "SELECT '--' || set_config('a.b', 'c', false)",
    "SELECT 1 AS \"it's\", set_config('a.b', 'c', false) AS \"'\"",
    "SELECT $a$ ' $a$ || set_config('a.b', 'c', false) || $a$ ' $a$",
    "SELECT /* ' */ set_config('a.b', 'c', false) /* ' */",
    "SELECT * FROM my_function(a) AS (id int)",
    "SELECT * FROM t, my_function(a) AS (values int)",
    "SELECT * FROM my_function(a) AS t(a)",
]
LEAVING = [
    "SELECT 1",
    "  select count(*) from t where a in (1, 2) and exists (select 1)",
    "BEGIN",
    begin_sql(StoreSettings(database_url="postgresql://h/d", pgbouncer=True)),
    "COMMIT",
    "COMMIT AND CHAIN",
    "ROLLBACK",
    "SAVEPOINT s1",
    "ROLLBACK TO SAVEPOINT s1; RELEASE SAVEPOINT s1",
    "WITH x (a, b) AS (SELECT 1, 2), y AS MATERIALIZED (DELETE FROM t RETURNING a) SELECT coalesce(a, b) FROM x",
    'INSERT INTO "users" ("id","external_id") VALUES ($1,$2) ON CONFLICT (id) DO UPDATE SET id = EXCLUDED.id',
    "SELECT a FROM unnest($1::uuid[]) AS t(a) WHERE a IN ('x;--', 'it''s set_config(1)') -- SET x",
    "UPDATE t SET a = LEAST(a, 1)::varchar(20) WHERE jsonb_typeof(b) = 'array'",
]


@pytest.mark.parametrize(("sql", "leaves"), [(sql, sql in LEAVING) for sql in (*KEEPING, *LEAVING)])
def test_what_may_leave_something_is_followed_by_a_reset_and_what_reads_and_writes_rows_is_not(sql, leaves):
    assert leaves_nothing(sql) == leaves
