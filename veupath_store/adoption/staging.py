"""Every row as it will be, without its documents: temporary tables that the load joins with the old ones.

They are made of temporary views of the old tables, the same at every revision: ids are text, what a revision lacks is
null. A view follows its table to another schema, so that all that reads them need not know where the tables stand.
"""

from typing import Any, Final

from veupath_store.adoption.legacy import COLUMNS, KEYS, TABLES
from veupath_store.adoption.recognition import Recognised
from veupath_store.adoption.values import ProblemKind
from veupath_store.adoption.work import NOBODY, Work, join, resolved
from veupath_store.inputs.legacy_ids import adopted_id
from veupath_store.repositories.free_names import free_names
from veupath_store.values.streams import DEFAULT_NAME

PREFIX: Final = "old_"

STORED: Final = "stored_"
"""Before a column's name: a time as it is stored. Where the driver cannot hold it, the view has the adoption's time."""

TIME: Final = "timestamp with time zone"

# The last microsecond of all is what the driver reads infinity as, and writes it for.
_HELD: Final = "timestamptz '0001-01-01 00:00+00' AND timestamptz '9999-12-31 23:59:59.999998+00'"

_LACKING: Final = {
    "id": '(NULL::text COLLATE "C")',
    "boolean": "false",
    TIME: "NULL::timestamptz",
}

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

# A visible conversation before a dismissed one, then the newest, then the smallest id.
_PREFERRED: Final = "p.dismissed_at IS NOT NULL, p.updated_at DESC, p.id"

_EXPERIMENTS: Final = """
SELECT s.id, row_number() OVER (PARTITION BY s.user_id, s.experiment_id ORDER BY p.updated_at DESC, s.id) AS number
FROM adopting_streams s JOIN adopting_stream_projections p ON p.id = s.id WHERE s.experiment_id IS NOT NULL"""

_WDK_IDS: Final = f"""
SELECT p.id, row_number() OVER (PARTITION BY p.user_id, p.site_id, p.wdk_strategy_id ORDER BY {_PREFERRED}) AS number
FROM adopting_stream_projections p WHERE p.wdk_strategy_id IS NOT NULL"""

# Of two rows that claim one thing the first keeps it.
_CLAIMS: Final = (
    (ProblemKind.DUPLICATE_EXPERIMENT, "streams", "experiment_id", _EXPERIMENTS),
    (ProblemKind.DUPLICATE_WDK_ID, "stream_projections", "wdk_strategy_id", _WDK_IDS),
)
_GIVEN_UP: Final = """
WITH ranked AS ({ranked}), settled AS (
    UPDATE adopting_{entity} changed SET {field} = NULL FROM ranked WHERE ranked.id = changed.id AND ranked.number > 1
    RETURNING changed.legacy_id
)
INSERT INTO adopting_problems (kind, entity, key, field, fixed)
SELECT '{kind}', '{entity}', legacy_id, '{field}', 'made null: another conversation has it' FROM settled"""

_NAMES: Final = f"""
SELECT array_agg((p.id, p.legacy_id, p.name) ORDER BY {_PREFERRED}) AS rows
FROM adopting_stream_projections p GROUP BY p.user_id, p.site_id HAVING count(*) > count(DISTINCT p.name)
ORDER BY p.user_id, p.site_id"""

_NEW_NAMES: Final = "CREATE TEMP TABLE adopting_names (id uuid PRIMARY KEY, name varchar NOT NULL) ON COMMIT DROP"
_RENAME: Final = """
UPDATE adopting_stream_projections p SET name = n.name FROM adopting_names n WHERE n.id = p.id"""


async def make_views(connection: Any, found: Recognised) -> None:  # noqa: ANN401 - an asyncpg connection
    """Make the views ``old_users``, …; each has the column ``place``, by which ranges of a table are read."""
    for table in TABLES:
        columns = (_column(table, name, found.revision) for name in COLUMNS[table])
        await connection.execute(
            f"CREATE TEMP VIEW {PREFIX}{table} AS SELECT ctid AS place, {', '.join(columns)} "
            f"FROM {found.schema}.{table}"
        )


async def drop_views(connection: Any) -> None:  # noqa: ANN401
    """Drop the views, which would else stay for as long as the connection."""
    await connection.execute(f"DROP VIEW {', '.join(f'pg_temp.{PREFIX}{table}' for table in TABLES)}")


async def count_rows(connection: Any) -> dict[str, int]:  # noqa: ANN401
    """How many rows each old table has. Reads all of them."""
    return {table: await connection.fetchval(f"SELECT count(*) FROM {PREFIX}{table}") for table in TABLES}


async def count_bytes(connection: Any, schema: str) -> int:  # noqa: ANN401
    """What the old tables hold on disk, indexes included."""
    size: int = await connection.fetchval(
        "SELECT sum(pg_total_relation_size(format('%s.%I', $1::text, name)::regclass))::bigint"
        " FROM unnest($2::text[]) AS name",
        schema,
        list(TABLES),
    )
    return size


def _column(table: str, name: str, revision: int) -> str:
    column = COLUMNS[table][name]
    shown = "id" if name == KEYS[table] else name
    if column.since > revision:
        lacking = f"{_LACKING[column.type]} AS {shown}"
        return f"{lacking}, {lacking.replace(shown, STORED + shown)}" if column.type == TIME else lacking
    if column.type == TIME:
        held = f"CASE WHEN {name} BETWEEN {_HELD} THEN {name} WHEN {name} IS NOT NULL THEN now() END"
        return f"{held} AS {name}, {name} AS {STORED}{name}"
    # Compared byte by byte: sorted and joined much faster so, and a column may have a collation that refuses patterns.
    is_text = column.type in ("id", "text") or column.type.startswith("character")
    return f'({name}::text COLLATE "C") AS {shown}' if is_text else f"{name} AS {shown}"


async def stage(work: Work) -> None:
    """Make the tables, and settle what is claimed twice. Ids must be mapped before."""
    for table, query in work.steps("matching rows", _STAGED.items()):
        # In the order of the old rows, so that a range of them is a range here.
        await work.make(f"adopting_{table}", f"SELECT * FROM ({query}) rows ORDER BY place")
        await work.run(f"CREATE INDEX ON pg_temp.adopting_{table} (place)")
    for kind, entity, field, ranked in _CLAIMS:
        await work.run(_GIVEN_UP.format(kind=kind, entity=entity, field=field, ranked=ranked))
    await _rename(work)


async def _rename(work: Work) -> None:
    """Of conversations of one name the first keeps it."""
    await work.run(_NEW_NAMES)
    fixed = "got a number: the name is that of another conversation"
    async for groups in work.batches(_NAMES):
        for group in groups:
            renamed = list(free_names(((row[0], row[1]), row[2]) for row in group["rows"]))
            await work.copy("adopting_names", ("id", "name"), [(key, name) for (key, _), name in renamed])
            noted = [(legacy_id, ProblemKind.DUPLICATE_NAME, "name", fixed) for (_, legacy_id), _ in renamed]
            await work.note_each("stream_projections", noted)
    await work.run(_RENAME)
