"""The map from old ids to UUIDs: of all that are not the lower-case text of a UUID themselves."""

import re
from typing import Any, Final
from uuid import UUID, uuid5

from veupath_store.adoption.values import ProblemKind
from veupath_store.adoption.work import Noted, Work
from veupath_store.inputs.legacy_ids import ADOPTION_NAMESPACE, adopted_id

CANONICAL: Final = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"

_MAP: Final = """
CREATE TEMP TABLE adopting_ids (
    kind text NOT NULL, legacy_id text COLLATE "C" NOT NULL, id uuid NOT NULL,
    own boolean NOT NULL
) ON COMMIT DROP"""
_MAP_KEY: Final = "CREATE UNIQUE INDEX ON adopting_ids (kind, legacy_id)"
_COLUMNS: Final = ("kind", "legacy_id", "id", "own")

# A projection may be all that is left of its stream: then the stream's id is the projection's.
_TEXTS: Final = {
    **{
        table: f"SELECT id, '{table}' AS entity FROM old_{table}"
        for table in ("users", "control_sets", "operations", "experiments", "gene_sets", "streams")
    },
    "projections": "SELECT p.id, 'stream_projections' AS entity FROM old_stream_projections p"
    " WHERE NOT EXISTS (SELECT FROM old_streams s WHERE s.id = p.id)",
}

# Of several texts that name one UUID the one in lower case has it, else the first.
_OWN: Final = """
WITH odd AS MATERIALIZED (
    SELECT o.id, o.entity, length(o.id) = 36 AND o.id ~* '{canonical}' AS named FROM ({texts}) o
    WHERE length(o.id) <> 36 OR o.id !~ '{canonical}'
)
SELECT o.id, o.entity, lower.id IS NULL AND row_number() OVER (PARTITION BY lower(o.id) ORDER BY o.id) = 1 AS kept
FROM odd o LEFT JOIN {lower} lower ON lower.id = lower(o.id) WHERE o.named
UNION ALL
SELECT o.id, o.entity, false FROM odd o WHERE NOT o.named"""

_REFERENCES: Final = {
    "users": (
        "SELECT DISTINCT user_id FROM old_control_sets",
        "SELECT DISTINCT user_id FROM old_experiments",
        "SELECT DISTINCT user_id FROM old_gene_sets",
        "SELECT DISTINCT user_id FROM old_streams",
    ),
    "experiments": ("SELECT experiment_id FROM old_streams",),
    "gene_sets": ("SELECT gene_set_id FROM old_stream_projections",),
    "streams": ("SELECT stream_id FROM old_operations",),
}

_DANGLING: Final = """
SELECT DISTINCT r.text AS id FROM ({texts}) AS r(text)
LEFT JOIN adopting_ids m ON m.kind = '{kind}' AND m.legacy_id = r.text
WHERE m.id IS NULL AND (length(r.text) <> 36 OR r.text !~ '{canonical}')"""

_EXPECTED: Final = {
    "experiments": re.compile("exp_[0-9a-f]{12}", re.ASCII),
    "operations": re.compile("op_[0-9a-f]{12}", re.ASCII),
}
"""Ids that were never meant to be UUIDs."""


async def map_ids(work: Work) -> None:
    """Make the map, first of all rows' own ids, then of what is referred to and not there."""
    await work.run(_MAP)
    for kind, texts in _TEXTS.items():
        lower = "old_stream_projections" if kind == "projections" else f"old_{kind}"
        query = _OWN.format(canonical=CANONICAL, texts=texts, lower=lower)
        async for rows in work.batches(query):
            await _map_own(work, "streams" if kind == "projections" else kind, rows)
    await work.run(_MAP_KEY)
    await work.run("ANALYZE pg_temp.adopting_ids")
    for kind, queries in _REFERENCES.items():
        query = _DANGLING.format(kind=kind, texts=" UNION ALL ".join(queries), canonical=CANONICAL)
        async for rows in work.batches(query):
            records = [(kind, row["id"], adopted_id(row["id"]), False) for row in rows]
            await work.copy("adopting_ids", _COLUMNS, records)
    await work.run("ANALYZE pg_temp.adopting_ids")


async def _map_own(work: Work, kind: str, rows: list[Any]) -> None:
    records: list[tuple[Any, ...]] = []
    noted: list[Noted] = []
    for row in rows:
        text, kept = row["id"], row["kept"]
        records.append((kind, text, UUID(text) if kept else uuid5(ADOPTION_NAMESPACE, text), True))
        expected = _EXPECTED.get(kind)
        if not kept and not (expected and expected.fullmatch(text)):
            noted.append((text, ProblemKind.MALFORMED_ID, None, "has a UUID derived from it"))
        if kind == "streams":
            noted.append((text, ProblemKind.RENAMED_LOG, None, "its log has another key in Redis"))
    await work.copy("adopting_ids", _COLUMNS, records)
    await work.note_each(rows[0]["entity"], noted)
