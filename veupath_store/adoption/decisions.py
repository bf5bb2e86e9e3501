"""What two rows claim and one can have: experiments, WDK ids, names. The first keeps it, the others are changed."""

from typing import Any, Final

from veupath_store.adoption.values import ProblemKind
from veupath_store.adoption.work import Work
from veupath_store.repositories.free_names import free_names

# A visible conversation before a dismissed one, then the newest, then the smallest id.
_PREFERRED: Final = "p.dismissed_at IS NOT NULL, p.updated_at DESC, p.id"

_EXPERIMENTS: Final = """
SELECT s.id, row_number() OVER (PARTITION BY s.user_id, s.experiment_id ORDER BY p.updated_at DESC, s.id) AS number
FROM adopting_streams s JOIN adopting_stream_projections p ON p.id = s.id WHERE s.experiment_id IS NOT NULL"""

_WDK_IDS: Final = f"""
SELECT p.id, row_number() OVER (PARTITION BY p.user_id, p.site_id, p.wdk_strategy_id ORDER BY {_PREFERRED}) AS number
FROM adopting_stream_projections p WHERE p.wdk_strategy_id IS NOT NULL"""

_GIVEN_UP: Final = """
WITH ranked AS ({ranked}), settled AS (
    UPDATE adopting_{entity} changed SET {field} = NULL FROM ranked WHERE ranked.id = changed.id AND ranked.number > 1
    RETURNING changed.legacy_id
)
INSERT INTO adopting_problems (kind, entity, key, field, fixed)
SELECT '{kind}', '{entity}', legacy_id, '{field}', 'made null: another conversation has it' FROM settled"""

_NAMES: Final = f"""
SELECT p.id, p.legacy_id, p.user_id, p.site_id, p.name FROM adopting_stream_projections p
WHERE (p.user_id, p.site_id) IN (SELECT user_id, site_id FROM adopting_stream_projections
                                 GROUP BY user_id, site_id, name HAVING count(*) > 1)
ORDER BY p.user_id, p.site_id, {_PREFERRED}"""

_NEW_NAMES: Final = "CREATE TEMP TABLE adopting_names (id uuid PRIMARY KEY, name varchar NOT NULL) ON COMMIT DROP"
_RENAME: Final = """
UPDATE adopting_stream_projections p SET name = n.name FROM adopting_names n WHERE n.id = p.id"""


async def decide(work: Work) -> None:
    """Settle what is claimed twice. Rows must be staged before."""
    await _give_up(work, ProblemKind.DUPLICATE_EXPERIMENT, "streams", "experiment_id", _EXPERIMENTS)
    await _give_up(work, ProblemKind.DUPLICATE_WDK_ID, "stream_projections", "wdk_strategy_id", _WDK_IDS)
    await _rename(work)


async def _give_up(work: Work, kind: ProblemKind, entity: str, field: str, ranked: str) -> None:
    await work.run(_GIVEN_UP.format(kind=kind, entity=entity, field=field, ranked=ranked))


async def _rename(work: Work) -> None:
    await work.run(_NEW_NAMES)
    group: list[Any] = []
    async for rows in work.batches(_NAMES):
        for row in rows:
            if group and (row["user_id"], row["site_id"]) != (group[0]["user_id"], group[0]["site_id"]):
                await _rename_group(work, group)
                group = []
            group.append(row)
    await _rename_group(work, group)
    await work.run(_RENAME)


async def _rename_group(work: Work, group: list[Any]) -> None:
    renamed = list(free_names((row, row["name"]) for row in group))
    if not renamed:
        return
    await work.copy("adopting_names", ("id", "name"), [(row["id"], name) for row, name in renamed])
    fixed = "got a number: the name is that of another conversation"
    noted = [(row["legacy_id"], ProblemKind.DUPLICATE_NAME, "name", fixed) for row, _ in renamed]
    await work.note_each("stream_projections", noted)
