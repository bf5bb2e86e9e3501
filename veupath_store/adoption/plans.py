"""Plans of conversations that have steps and no plan: built from the steps."""

from typing import Any, Final

from veupath_store.adoption.documents import FEW
from veupath_store.adoption.text import storable
from veupath_store.adoption.values import ProblemKind
from veupath_store.adoption.work import Work
from veupath_store.errors import InvalidInputError
from veupath_store.events.steps import build_plan
from veupath_store.json import decode, encode
from veupath_store.values.streams import DEFAULT_NAME

# json's own operators refuse a document with unstorable text: of such a one the mended document is asked.
_PLANLESS: Final = """
SELECT o.id, o.steps::text AS steps, o.root_step_id, o.record_type, o.name
FROM old_stream_projections o
LEFT JOIN adopting_documents d ON d.entity = 'stream_projections' AND d.field = 'plan' AND d.key = o.id
WHERE CASE WHEN json_typeof(o.steps) = 'array' THEN json_array_length(o.steps) > 0 ELSE false END
  AND CASE WHEN d.key IS NOT NULL THEN d.document ->> 'root' IS NULL
           WHEN json_typeof(o.plan) = 'object' THEN o.plan ->> 'root' IS NULL
           ELSE true END"""

_PUT: Final = """
INSERT INTO adopting_documents (entity, field, key, document)
SELECT 'stream_projections', 'plan', built.key, built.plan::jsonb
FROM unnest($1::text[], $2::text[]) AS built(key, plan)
ON CONFLICT (entity, field, key) DO UPDATE SET document = excluded.document"""


async def build_plans(work: Work) -> None:
    """Build what can be built; ``adopting_documents`` has the plans then."""
    async for rows in work.batches(_PLANLESS, FEW * FEW):
        built: list[tuple[str, str]] = []
        unbuildable: list[str] = []
        mended: list[str] = []
        for row in rows:
            plan = _plan(row)
            if plan is None:
                unbuildable.append(row["id"])
                continue
            built.append((row["id"], plan))
            if storable(row["steps"]) != row["steps"]:
                mended.append(row["id"])
        await work.connection.execute(_PUT, [key for key, _ in built], [plan for _, plan in built])
        note = work.note_each
        entity = "stream_projections"
        await note(ProblemKind.PLAN_BUILT, entity, "plan", [(key, "built from the steps") for key, _ in built])
        await note(
            ProblemKind.PLAN_UNBUILDABLE,
            entity,
            "plan",
            [(key, "the steps make no plan; it stays as it was") for key in unbuildable],
        )
        await note(
            ProblemKind.UNSTORABLE_TEXT,
            entity,
            "steps",
            [(key, "characters that cannot be stored became U+FFFD") for key in mended],
        )


def _plan(row: Any) -> str | None:  # noqa: ANN401 - a record
    try:
        # A text that the decoder refuses, as for its depth, is a ValueError; so is a plan that would be too large.
        steps = decode(storable(row["steps"]))
        plan = build_plan(steps, row["root_step_id"], record_type=row["record_type"], name=row["name"] or DEFAULT_NAME)
        return None if plan is None else encode(plan, "plan")
    except (InvalidInputError, ValueError):
        return None
