"""A database of real size: 200,000 rows in each table, a heavy user with a tenth of them."""

import asyncio

from tests.support.servers import Server

ROWS = 200_000
HEAVY = ROWS // 10
USERS = 2_000

_USERS = f"""
INSERT INTO users (id) SELECT gen_random_uuid() FROM generate_series(1, {USERS});
CREATE TABLE people AS SELECT id, row_number() OVER (ORDER BY id) AS n FROM users;
CREATE TABLE sources AS
SELECT g AS n, gen_random_uuid() AS id, p.id AS user_id, now() - g * interval '1 second' AS at,
       CASE g / 10 % 10 WHEN 4 THEN 'plasmodb' ELSE 'site' || g % 10 END AS site_id
FROM generate_series(1, {ROWS}) g JOIN people p ON p.n = CASE WHEN g <= {HEAVY} THEN 1 ELSE g % {USERS} + 1 END;
"""
_STREAMS = """
INSERT INTO streams (id, user_id, site_id, experiment_id, created_at)
SELECT id, user_id, site_id, gen_random_uuid(), at FROM sources;
INSERT INTO stream_projections
    (stream_id, user_id, site_id, name, wdk_strategy_id, updated_at, dismissed_at, dismissed_reason, last_event_id,
     unlogged)
SELECT id, user_id, site_id, 'c' || n, CASE WHEN n % 2 = 0 THEN n END, at,
       CASE WHEN n % 5 = 0 THEN at END, CASE WHEN n % 5 = 0 THEN 'user' END, '1-1',
       CASE WHEN n % 1000 = 0 THEN '{"name": "w"}'::jsonb ELSE '{}' END FROM sources;
INSERT INTO stream_events (user_id, stream_id, key, operation_id, type, data)
SELECT user_id, id, gen_random_uuid(), '', 'user_message', '{}' FROM sources;
INSERT INTO deleted_ids (kind, id, log_removed_at)
SELECT 'stream', gen_random_uuid(), CASE WHEN n % 1000 > 0 THEN now() END FROM sources;
INSERT INTO operations (id, user_id, stream_id, type, status, created_at, lease_token, lease_expires_at, attempts)
SELECT gen_random_uuid(), user_id, id, CASE WHEN n % 2 = 0 THEN 'chat' ELSE 'batch' END,
       CASE WHEN n % 50 < 4 THEN 'active' ELSE 'completed' END, at,
       CASE WHEN n % 100 < 2 THEN gen_random_uuid() END, now() + (n - 5000) * interval '1 minute', 1 FROM sources;
"""
_SETS = """
INSERT INTO gene_sets (id, user_id, site_id, name, gene_ids, wdk_strategy_id, created_at)
SELECT gen_random_uuid(), user_id, site_id, 'g' || n, jsonb_build_array('G' || n % 50000, 'H' || n % 70000), n, at
FROM sources;
INSERT INTO experiments (id, user_id, site_id, data, batch_id, benchmark_id, is_primary, created_at, updated_at)
SELECT gen_random_uuid(), user_id, site_id, '{}', concat('b', nullif(n % 100, 0)), concat('m', nullif(n % 100, 0)),
       n % 7 = 0, at, at FROM sources;
INSERT INTO document_ids (user_id, kind, id) SELECT user_id, 'experiments', id FROM experiments;
"""
_CONTROL_SETS = """
INSERT INTO control_sets (id, user_id, name, site_id, record_type, positive_ids, negative_ids, tags, is_public,
                          created_at)
SELECT gen_random_uuid(), user_id, 's' || n, site_id, 't', jsonb_build_array('G' || n % 50000),
       jsonb_build_array('H' || n % 50000), jsonb_build_array('t' || n % 5000), n % 20 = 0, at FROM sources;
"""


async def fill(server: Server, database: str) -> None:
    """Fill a migrated, empty database. Without its secondary indexes meanwhile: that takes half the time."""
    connection = await server.connect(database)
    indexes = await connection.fetch(
        "SELECT c.relname AS name, pg_get_indexdef(i.indexrelid) AS definition FROM pg_index i "
        "JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid "
        "JOIN pg_namespace n ON n.oid = t.relnamespace WHERE n.nspname = 'public' AND t.relname <> 'aerich' "
        "AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid)"
    )
    await connection.execute("; ".join(f"DROP INDEX {index['name']}" for index in indexes))
    await connection.execute(_USERS)
    await _at_once(server, database, [_STREAMS, _SETS, _CONTROL_SETS])
    await _at_once(server, database, [index["definition"] for index in indexes])
    await connection.execute("DROP TABLE people, sources")
    await connection.execute("VACUUM ANALYZE")
    await connection.close()


async def _at_once(server: Server, database: str, scripts: list[str], workers: int = 2) -> None:
    waiting = list(reversed(scripts))

    async def work() -> None:
        connection = await server.connect(database)
        await connection.execute("SET maintenance_work_mem = '256MB'")
        while waiting:
            await connection.execute(waiting.pop(), timeout=300)
        await connection.close()

    await asyncio.gather(*(work() for _ in range(workers)))
