"""Every row as it will be, without its documents: temporary tables that the load joins with the old ones.

Each table has ``place`` (the old row's), ``legacy_id`` and ``id``.
"""

from typing import Final

from veupath_store.adoption.work import NOBODY, Work, join, resolved
from veupath_store.inputs.legacy_ids import adopted_id
from veupath_store.values.streams import DEFAULT_NAME

OWNER: Final = adopted_id(NOBODY.rpartition(":")[2])
"""The id of the user to whom rows without an owner are given."""

_OWNER: Final = f"'{OWNER}'::uuid"
_USERS: Final = f"SELECT o.place, o.id AS legacy_id, {resolved('o.id')} AS id FROM old_users o {join('users', 'o.id')}"

_OWNED: Final = f"""
SELECT o.place, o.id AS legacy_id, {resolved("o.id")} AS id, COALESCE(u.id, {_OWNER}) AS user_id, u.id IS NULL AS orphan
FROM old_{{table}} o {{ids}} {join("users", "o.user_id", "n")}
LEFT JOIN adopting_users u ON u.id = {resolved("o.user_id", "n")}"""

_CONTROL_SETS: Final = f"""
SELECT o.place, o.id AS legacy_id, {resolved("o.id")} AS id,
       CASE WHEN u.id IS NULL AND NOT COALESCE(o.is_public, false) THEN {_OWNER} ELSE u.id END AS user_id,
       u.id IS NULL AND (o.user_id IS NOT NULL OR NOT COALESCE(o.is_public, false)) AS orphan
FROM old_control_sets o {join("control_sets", "o.id")} {join("users", "o.user_id", "n")}
LEFT JOIN adopting_users u ON u.id = {resolved("o.user_id", "n")}"""

# A stream that is made for a projection has no place.
_STREAMS: Final = f"""
WITH there AS (
    SELECT o.place, o.id AS legacy_id, {resolved("o.id")} AS id, COALESCE(u.id, {_OWNER}) AS user_id,
           u.id IS NULL AS orphan, COALESCE(o.site_id, '') AS site_id,
           CASE WHEN o.experiment_id <> '' THEN {resolved("o.experiment_id", "e")} END AS experiment_id,
           COALESCE(o.created_at, now()) AS created_at
    FROM old_streams o {join("streams", "o.id")} {join("users", "o.user_id", "n")}
    {join("experiments", "o.experiment_id", "e")}
    LEFT JOIN adopting_users u ON u.id = {resolved("o.user_id", "n")}
)
SELECT * FROM there
UNION ALL
SELECT NULL, p.id, {resolved("p.id")}, {_OWNER}, true, COALESCE(p.site_id, ''), NULL, COALESCE(p.updated_at, now())
FROM old_stream_projections p {join("streams", "p.id")}
WHERE NOT EXISTS (SELECT FROM there WHERE there.id = {resolved("p.id")})"""

_POSITION: Final = """
CASE WHEN p.last_event_id ~ '^[0-9]{1,20}-[0-9]{1,20}$' THEN
    split_part(p.last_event_id, '-', 1)::numeric < 18446744073709551616
    AND split_part(p.last_event_id, '-', 2)::numeric < 18446744073709551616 ELSE false END"""

# A projection that is made for a stream has no place.
_PROJECTIONS: Final = f"""
SELECT p.place, COALESCE(p.id, s.legacy_id) AS legacy_id, s.id, s.user_id, s.site_id,
       COALESCE(NULLIF(p.name, ''), '{DEFAULT_NAME}')::varchar AS name,
       CASE WHEN p.wdk_strategy_id >= 0 THEN p.wdk_strategy_id END AS wdk_strategy_id,
       CASE WHEN {_POSITION} THEN p.last_event_id END AS last_event_id,
       COALESCE(p.updated_at, CASE WHEN p.id IS NULL THEN s.created_at ELSE now() END) AS updated_at,
       p.dismissed_at, g.id AS gene_set_id, p.gene_set_id IS NOT NULL AND g.id IS NULL AS unlinked,
       NOT COALESCE({_POSITION}, false) AND (p.last_event_id IS NOT NULL OR p.message_count > 0) AS misplaced
FROM adopting_streams s
LEFT JOIN (SELECT p.*, {resolved("p.id")} AS key FROM old_stream_projections p {join("streams", "p.id")}) p
    ON p.key = s.id
{join("gene_sets", "p.gene_set_id")}
LEFT JOIN adopting_gene_sets g ON g.id = {resolved("p.gene_set_id")} AND g.user_id = s.user_id"""

_OPERATIONS: Final = f"""
SELECT o.place, o.id AS legacy_id, {resolved("o.id")} AS id, s.id AS stream_id,
       COALESCE(s.user_id, {_OWNER}) AS user_id, s.id IS NULL AS orphan
FROM old_operations o {join("operations", "o.id")} {join("streams", "o.stream_id", "n")}
LEFT JOIN adopting_streams s ON s.id = {resolved("o.stream_id", "n")}"""

_STAGED: Final = {
    "users": _USERS,
    "control_sets": _CONTROL_SETS,
    "experiments": _OWNED.format(table="experiments", ids=join("experiments", "o.id")),
    "gene_sets": _OWNED.format(table="gene_sets", ids=join("gene_sets", "o.id")),
    "streams": _STREAMS,
    "stream_projections": _PROJECTIONS,
    "operations": _OPERATIONS,
}
"""Each reads those before it."""


async def stage(work: Work) -> None:
    """Make the tables. Ids must be mapped before."""
    for number, (table, query) in enumerate(_STAGED.items()):
        work.tell("matching rows", number, len(_STAGED))
        # In the order of the old rows, so that a range of them is a range here.
        await work.make(f"adopting_{table}", f"SELECT * FROM ({query}) rows ORDER BY place")
        await work.run(f"CREATE INDEX ON pg_temp.adopting_{table} (place)")
    work.tell("matching rows", len(_STAGED), len(_STAGED))
