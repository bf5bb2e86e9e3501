"""The statements that bring a WDK server's list of strategies into the table, and the names that they give.

`KNOWN` reads what is there, without locks: mostly nothing has changed, and that is all. `ADD` inserts a list of which
nothing is there. For all else there is `SYNC`, one statement for 1 to 1,000 strategies: it reads again (locking in the
order of the key, so that two syncs at once cannot deadlock), updates what differs, and inserts what is new under a free
name. Only when another writer takes one of those names or ids in the same moment is it sent again, for what is left.

`SYNC` alone would do; it takes twice as long as the other two where they suffice (`make bench`).
"""

from typing import Final

from veupath_store import limits


def _numbered(base: str, number: str) -> str:
    suffix = f"' (' || {number} || ')'"
    return f"(left({base}, {limits.NAME} - length({suffix})) || {suffix})"


_NAME_IS_TAKEN: Final = (
    "EXISTS (SELECT FROM stream_projections taken WHERE taken.user_id = $1 AND taken.site_id = $2 "
    "AND taken.name = {name})"
)


def _taken(name: str) -> str:
    """Whether a name is taken; it must be qualified, or it would mean the table's own column."""
    return _NAME_IS_TAKEN.format(name=name)


KNOWN: Final = """
SELECT stream_id, wdk_strategy_id, dismissed_at IS NOT NULL, record_type, is_saved, result_count, step_count
FROM stream_projections WHERE user_id = $1 AND site_id = $2 AND wdk_strategy_id = ANY ($3::bigint[])"""
"""``$1`` user, ``$2`` site, ``$3`` WDK ids."""

_GIVEN: Final = """given AS (
    SELECT * FROM unnest($3::bigint[], $4::text[], $5::text[], $6::boolean[], $7::integer[], $8::integer[])
        WITH ORDINALITY AS g(wdk_strategy_id, name, record_type, is_saved, result_count, step_count, position)
)"""


def _insertion(rows: str) -> str:
    """Insert rows of the columns of ``given`` and a ``stream_id``, with their streams; the first is the newest."""
    return f"""projection AS (
    INSERT INTO stream_projections
        (stream_id, user_id, site_id, name, record_type, wdk_strategy_id, is_saved, result_count, step_count,
         updated_at)
    SELECT stream_id, $1, $2, name, record_type, wdk_strategy_id, is_saved, result_count, step_count,
           CURRENT_TIMESTAMP - position * interval '1 microsecond'
    FROM {rows} ORDER BY wdk_strategy_id
    ON CONFLICT DO NOTHING
    RETURNING stream_id, wdk_strategy_id, name
),
stream AS (
    INSERT INTO streams (id, user_id, site_id) SELECT stream_id, $1, $2 FROM projection
)
SELECT projection.wdk_strategy_id, projection.stream_id, 'inserted' AS outcome, projection.name,
       given.position::integer AS position
FROM projection JOIN given ON given.wdk_strategy_id = projection.wdk_strategy_id"""


_ALL_FREE: Final = (
    "NOT EXISTS (SELECT FROM stream_projections WHERE user_id = $1 AND site_id = $2 AND name = ANY ($4::text[]))"
)

ADD: Final = f"""
WITH {_GIVEN},
{_insertion(f"(SELECT gen_random_uuid() AS stream_id, given.* FROM given WHERE {_ALL_FREE}) AS named")}"""
"""Arguments and rows as those of `SYNC`; the names differ from each other. Where one of them is taken, or all lost a
race, there is no row."""

SYNC: Final = f"""
WITH RECURSIVE {_GIVEN},
known AS (
    SELECT p.stream_id, p.wdk_strategy_id, p.dismissed_at IS NOT NULL AS dismissed,
           (p.record_type, p.is_saved, p.result_count, p.step_count)
               IS DISTINCT FROM (g.record_type::varchar, g.is_saved, g.result_count, g.step_count) AS changed,
           g.record_type, g.is_saved, g.result_count, g.step_count
    FROM given g JOIN stream_projections p ON p.wdk_strategy_id = g.wdk_strategy_id
    WHERE p.user_id = $1 AND p.site_id = $2
    ORDER BY p.stream_id FOR UPDATE OF p
),
updated AS (
    UPDATE stream_projections p
    SET record_type = k.record_type, is_saved = k.is_saved, result_count = k.result_count, step_count = k.step_count,
        updated_at = CURRENT_TIMESTAMP
    FROM known k
    WHERE p.stream_id = k.stream_id AND p.user_id = $1 AND k.changed AND NOT k.dismissed
    RETURNING p.stream_id
),
-- A new strategy takes its own name when that is free; the others of the same name are numbered.
fresh AS (
    SELECT g.*, row_number() OVER (PARTITION BY g.name ORDER BY g.position) - 1 AS rank,
           count(*) OVER (PARTITION BY g.name) AS wanted
    FROM given g WHERE NOT EXISTS (SELECT FROM known k WHERE k.wdk_strategy_id = g.wdk_strategy_id)
),
base AS (
    SELECT name, max(wanted) AS wanted, {_taken("fresh.name")} AS taken FROM fresh GROUP BY name
),
-- Doubling finds a free number without reading the taken ones (see names.py); numbers below it may be free too,
-- but the ones from half of it on are enough to choose from.
gallop(name, number) AS (
    SELECT name, 1::bigint FROM base WHERE taken OR wanted > 1
    UNION ALL
    SELECT name, number * 2 FROM gallop
    WHERE number < 1000000000 AND {_taken(_numbered("gallop.name", "gallop.number"))}
),
candidate AS (
    SELECT base.name, c.number, row_number() OVER (PARTITION BY base.name ORDER BY c.number) - 1 AS rank
    FROM base
    CROSS JOIN LATERAL (
        SELECT greatest(max(number) / 2, 1) AS low, max(number) AS high FROM gallop WHERE gallop.name = base.name
    ) AS span
    CROSS JOIN LATERAL generate_series(span.low, span.high + 2 * base.wanted) AS c(number)
    WHERE NOT {_taken(_numbered("base.name", "c.number"))}
      AND NOT EXISTS (SELECT FROM base other WHERE other.name = {_numbered("base.name", "c.number")})
),
named AS (
    SELECT gen_random_uuid() AS stream_id, f.wdk_strategy_id, f.record_type, f.is_saved, f.result_count, f.step_count,
           f.position,
           CASE WHEN f.rank = 0 AND NOT b.taken THEN f.name ELSE {_numbered("f.name", "c.number")} END AS name
    FROM fresh f
    JOIN base b ON b.name = f.name
    LEFT JOIN candidate c ON c.name = f.name AND c.rank = f.rank - CASE WHEN b.taken THEN 0 ELSE 1 END
),
{_insertion("(SELECT * FROM named WHERE name IS NOT NULL) AS free")}
UNION ALL
SELECT wdk_strategy_id, stream_id,
       CASE WHEN dismissed THEN 'skipped' WHEN changed THEN 'updated' ELSE 'unchanged' END, NULL, NULL
FROM known"""
"""``$1`` user, ``$2`` site, ``$3`` … ``$8`` arrays of the strategies' fields, each id once. Returns one row for each
strategy that is settled; those without a row lost a race and are to be sent again."""
