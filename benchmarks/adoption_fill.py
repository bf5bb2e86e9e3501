"""A large legacy database, made by the server itself.

Documents are shaped as the real ones: plans of one to five kilobytes, of which a few have 100, steps beside them, and
some rows of each thousand with something to fix.
"""

from typing import Any, Final

PLANS: Final = 64
"""Plans of different sizes, of which each conversation gets one with values of its own."""

LARGE_EVERY: Final = 1_000
"""One plan of so many has about 100 kB."""

# Ids that look like UUIDs and are always the same for a number.
_FUNCTIONS: Final = """
CREATE FUNCTION pg_temp.id_of(kind text, number bigint) RETURNS text LANGUAGE sql IMMUTABLE AS
    $$ SELECT md5(kind || number)::uuid::text $$;
CREATE FUNCTION pg_temp.node(number bigint, seed bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT format('"id": "step_%s", "searchName": "GenesByTaxon", "displayName": "Organism %s",'
        ' "parameters": {"organism": "[\\"Plasmodium falciparum 3D7\\"]", "go_term": "%s", "ec_source": "%s"}',
        number, number, repeat(md5(seed || 'go' || number), CASE WHEN seed < 0 THEN 16 ELSE 1 END),
        md5(seed || 'ec' || number)) $$;
CREATE FUNCTION pg_temp.tree(steps bigint, seed bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT string_agg('{' || pg_temp.node(n, seed), ', "primaryInput": ' ORDER BY n DESC) || repeat('}', steps::int)
    FROM generate_series(1, steps) n $$;
CREATE FUNCTION pg_temp.nodes(steps bigint, seed bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT string_agg(format('{%s, "kind": "transform", "estimatedSize": %s, "filters": [], "primaryInputStepId": %s}',
        pg_temp.node(n, seed), n, CASE WHEN n > 1 THEN format('"step_%s"', n - 1) ELSE 'null' END), ', ' ORDER BY n)
    FROM generate_series(1, steps) n $$;
CREATE TEMP TABLE shapes AS
    SELECT number, steps, pg_temp.nodes(steps, number) AS nodes, pg_temp.tree(steps, number) AS tree
    FROM (SELECT number, 3 + number % 12 AS steps FROM generate_series(0, {plans} - 1) number
          UNION ALL SELECT -1, 150) sizes;
"""

_FILL: Final = """
INSERT INTO users (id, external_id, created_at)
    SELECT pg_temp.id_of('user', n), 'user ' || n, now() - n * interval '1 minute' FROM generate_series(1, {users}) n;
INSERT INTO experiments (id, site_id, user_id, name, status, data, batch_id, benchmark_id)
    SELECT 'exp_' || lpad(to_hex(n), 12, '0'), 'plasmodb', pg_temp.id_of('user', 1 + n % {users}), 'Run ' || n,
        'completed', format('{"score": %s, "steps": [%s]}', n / 7.0, s.nodes)::json, 'batch ' || n % 100, NULL
    FROM generate_series(1, {tenth}) n JOIN shapes s ON s.number = n % {plans};
INSERT INTO gene_sets (id, user_id, site_id, name, gene_ids, source, parameters, parent_set_ids, step_count)
    SELECT pg_temp.id_of('genes', n), pg_temp.id_of('user', 1 + n % {users}), 'plasmodb', 'Genes ' || n,
        (SELECT json_agg(format('PF3D7_%s', lpad(((n * 37 + g) % 1500000)::text, 7, '0')))
         FROM generate_series(1, 50) g), 'strategy', '{}', '[]', 1
    FROM generate_series(1, {tenth}) n;
INSERT INTO control_sets (id, user_id, name, site_id, record_type, positive_ids, negative_ids, tags, version, is_public)
    SELECT pg_temp.id_of('controls', n), pg_temp.id_of('user', 1 + n % {users}), 'Controls ' || n, 'plasmodb',
        'transcript', '["PF3D7_0102600"]', '["PF3D7_0107600"]', '["drug"]', 1, n % 10 = 0
    FROM generate_series(1, {hundredth}) n;
INSERT INTO streams (id, user_id, site_id, experiment_id, created_at)
    SELECT pg_temp.id_of('stream', n), pg_temp.id_of('user', 1 + n % {users}), 'plasmodb',
        CASE WHEN n <= {tenth} THEN 'exp_' || lpad(to_hex(n), 12, '0') END, now() - n * interval '1 second'
    FROM generate_series(1, {all}) n;
INSERT INTO stream_projections (stream_id, name, record_type, wdk_strategy_id, is_saved, model_id, message_count,
        step_count, plan, steps, root_step_id, result_count, last_event_id, updated_at, dismissed_at, site_id,
        gene_set_id, gene_set_auto_imported)
    SELECT pg_temp.id_of('stream', n), CASE WHEN n % 1000 = 1 THEN 'New Conversation' ELSE 'Chat ' || n END,
        'transcript', CASE WHEN n % 2 = 0 THEN n END, false, 'model-1', 4, s.steps,
        CASE WHEN n % 1000 = 2 THEN '{}' ELSE
            format('{"recordType": "transcript", "root": %s, "metadata": {"name": "Chat %s", "own": "%s%s"}}',
                   s.tree, n, md5('plan' || n), CASE WHEN n % 1000 = 3 THEN '\\u0000' END) END::json,
        format('[%s]', s.nodes)::json, 'step_' || s.steps, n % 5000,
        1740000000000 + n || '-0', now() - n * interval '1 second',
        CASE WHEN n % 20 = 0 THEN now() END, 'plasmodb',
        CASE WHEN n <= {tenth} THEN pg_temp.id_of('genes', n) END, false
    FROM generate_series(1, {all}) n
    JOIN shapes s ON s.number = CASE WHEN n % {large} = 0 THEN -1 ELSE n % {plans} END;
INSERT INTO operations (operation_id, stream_id, type, status, completed_at)
    SELECT 'op_' || lpad(to_hex(n), 12, '0'), pg_temp.id_of('stream', n), 'chat',
        CASE WHEN n % 1000 = 5 THEN 'active' ELSE 'completed' END, CASE WHEN n % 1000 <> 5 THEN now() END
    FROM generate_series(1, {all}) n
"""


async def fill(connection: Any, projections: int) -> None:  # noqa: ANN401 - an asyncpg connection, which has no types
    """Fill the newest legacy schema: so many conversations and operations, a tenth of experiments and gene sets."""
    sizes = {
        "all": projections,
        "tenth": max(1, projections // 10),
        "hundredth": max(1, projections // 100),
        "users": max(1, projections // 200),
        "plans": PLANS,
        "large": LARGE_EVERY,
    }
    await connection.execute("SET session_replication_role = replica")
    for statement in (_FUNCTIONS + _FILL).split(";\n"):
        for name, size in sizes.items():
            statement = statement.replace(f"{{{name}}}", str(size))  # noqa: PLW2901 - JSON has braces of its own
        if statement.strip():
            await connection.execute(statement)
    await connection.execute("VACUUM ANALYZE")
    await connection.execute("CHECKPOINT")
