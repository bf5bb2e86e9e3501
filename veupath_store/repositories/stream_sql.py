"""The statements of `StreamRepository` that no queryset can say."""

from typing import Any, Final
from uuid import UUID

from veupath_store.documents.json import encode
from veupath_store.documents.plans import count_searches
from veupath_store.errors import InvalidInputError
from veupath_store.models.unlogged import DECISION, WISH, new_tag, tagged
from veupath_store.repositories.free_names import FREE_NAME
from veupath_store.values import DismissReason
from veupath_store.values.streams import ProjectionPatch


def _creation(arbiter: str) -> str:
    """Several tables, and a name that is free.

    The projection goes in first, because it is the one whose name may be taken: then there is no stream either. Foreign
    keys are checked at the end of the whole statement.
    """
    return f"""
WITH RECURSIVE asked(user_id, site_id, named, base) AS (
    VALUES ($1::uuid, $2::varchar, NULL::uuid, $4::text)
), {FREE_NAME},
projection AS (
    INSERT INTO stream_projections (stream_id, user_id, site_id, name)
    SELECT $3::uuid, asked.user_id, asked.site_id, free.name FROM asked, free
    WHERE NOT EXISTS (SELECT FROM deleted_ids WHERE kind = 'stream' AND id = $3::uuid)
    ON CONFLICT {arbiter} DO NOTHING
    RETURNING {{columns}}
),
stream AS (
    INSERT INTO streams (id, user_id, site_id, experiment_id)
    SELECT stream_id, user_id, site_id, $5::uuid FROM projection
    RETURNING id, created_at
)
SELECT stream.created_at AS stream_created_at, projection.* FROM stream, projection"""


CREATE: Final = _creation("(user_id, site_id, name)")
CREATE_IF_FREE: Final = _creation("")

# `deleted_ids` has no model.
WAS_DELETED: Final = "SELECT FROM deleted_ids WHERE kind = 'stream' AND id = $1"
IS_TAKEN: Final = f"SELECT FROM streams WHERE id = $1 AND user_id <> $2 UNION ALL {WAS_DELETED}"
"""Whether an id is somebody else's, or was that of a conversation that was deleted."""


def _switch(state: str, changes: str) -> str:
    """Whether there is one, and the change where it is in that state: one statement. No queryset says `unlogged ||`."""
    return f"""
WITH target AS (
    SELECT stream_id FROM stream_projections WHERE stream_id = $1 AND ($2::uuid IS NULL OR user_id = $2)
),
changed AS (
    UPDATE stream_projections p
    SET {changes}, updated_at = GREATEST(p.updated_at, CURRENT_TIMESTAMP), unlogged = p.unlogged || $3::jsonb
    FROM target WHERE p.stream_id = target.stream_id AND p.dismissed_at IS {state}
)
SELECT stream_id FROM target"""


DISMISS: Final = _switch("NULL", f"dismissed_at = CURRENT_TIMESTAMP, dismissed_reason = '{DismissReason.USER.value}'")
RESTORE: Final = _switch(
    "NOT NULL",
    "dismissed_at = NULL, dismissed_reason = NULL, plan = '{}', unrooted_steps = NULL, step_count = 0, "
    "plan_version = p.plan_version + 1, result_count = NULL, message_count = 0, messages_after = p.last_event_id",
)

DISMISSED: Final = ("dismissed_at", "dismissed_reason")
RESTORED: Final = (
    *DISMISSED,
    *("plan", "unrooted_steps", "step_count", "result_count", "message_count", "messages_after"),
)

_LATCH: Final = "gene_set_auto_imported"


class ProjectionUpdate:
    """The statement for one patch, built from constants; every value is bound.

    It finds the row only where it is the owner's and has the expected version of the plan, if these are given.
    """

    def __init__(
        self, stream_id: UUID, owner: UUID | None, patch: ProjectionPatch, expected: int | None = None
    ) -> None:
        if not isinstance(patch, ProjectionPatch):
            raise InvalidInputError("patch", "a ProjectionPatch is needed")
        self.values: list[Any] = [stream_id]
        self._patch = patch
        # A latch that is not set changes nothing, the time of the last change included.
        self._given: Final = patch.model_fields_set - (set() if patch.gene_set_auto_imported else {_LATCH})
        self._target = "SELECT stream_id, user_id, site_id FROM stream_projections WHERE stream_id = $1"
        if owner is not None:
            self._target += f" AND user_id = {self._bind(owner)}"
        if expected is not None:
            self._target += f" AND plan_version = {self._bind(expected)}"
        self.sql: str = self._statement()

    @property
    def races(self) -> bool:
        """Whether a concurrent writer may take the name or the WDK id first."""
        return "name" in self._given or self._patch.wdk_strategy_id is not None

    def _bind(self, value: object) -> str:
        self.values.append(value)
        return f"${len(self.values)}"

    def _statement(self) -> str:
        if not self._given:
            return f"{self._target} /* nothing to change: only whether it exists */"
        expressions = [f"target AS MATERIALIZED ({self._target} FOR UPDATE)"]
        sources = ["target"]
        assignments = [*self._columns(), "updated_at = GREATEST(p.updated_at, CURRENT_TIMESTAMP)"]
        unlogged = f"p.unlogged || {self._bind(tagged(self._logged()))}::jsonb"
        if "name" in self._given:
            base = self._bind(self._patch.name)
            expressions += [
                f"asked AS (SELECT user_id, site_id, stream_id AS named, {base}::text AS base FROM target)",
                FREE_NAME,
            ]
            sources.append("free")
            assignments.append("name = free.name")
            # Where a number was added, an application's event that names the conversation may replace it.
            tag = self._bind(new_tag("")) + "::text"
            kind = f"CASE WHEN free.name = {base}::text THEN '{WISH}' ELSE '{DECISION}' END"
            unlogged += f" || jsonb_build_object('name', {kind} || {tag})"
        assignments.append(f"unlogged = {unlogged}")
        returned = ""
        if self._patch.wdk_strategy_id is not None:
            returned += ", (SELECT stream_id FROM released) AS released"
            expressions.append(self._hand_over(self._bind(self._patch.wdk_strategy_id)))
            # Counted so that it runs first: the unique index then sees the other row without the id.
            sources.append("(SELECT count(*) FROM released) AS done")
        return (
            f"WITH RECURSIVE {', '.join(expressions)} "
            f"UPDATE stream_projections p SET {', '.join(assignments)} FROM {', '.join(sources)} "
            f"WHERE p.stream_id = target.stream_id AND p.user_id = target.user_id RETURNING p.stream_id{returned}"
        )

    def _columns(self) -> list[str]:
        """Assignments of the given fields, in a fixed order, so that few different statements come to be."""
        columns = [
            f"{name} = {self._bind(getattr(self._patch, name))}"
            for name in ("record_type", "wdk_strategy_id", "is_saved", "result_count", "gene_set_id")
            if name in self._given
        ]
        if "plan" in self._given:
            plan = self._bind(encode(self._patch.plan, "plan"))
            columns.append(f"plan = {plan}::jsonb, unrooted_steps = NULL, plan_version = p.plan_version + 1")
        if self._given & {"plan", "step_count"}:
            count = self._patch.step_count if "step_count" in self._given else count_searches(self._patch.plan)
            columns.append(f"step_count = {self._bind(count)}")
        if "gene_set_auto_imported" in self._given:
            columns.append(
                f"gene_set_auto_imported = p.gene_set_auto_imported OR {self._bind(self._patch.gene_set_auto_imported)}"
            )
        return columns

    def _logged(self) -> set[str]:
        """The columns that are set, the name left out."""
        follow = {"unrooted_steps", "step_count"} if "plan" in self._given else set()
        return (self._given | follow) - {"name"}

    def _hand_over(self, wdk_strategy_id: str) -> str:
        tags = self._bind(tagged(("wdk_strategy_id", "is_saved"), DECISION))
        return f"""released AS (
            UPDATE stream_projections other
            SET wdk_strategy_id = NULL, is_saved = false, updated_at = GREATEST(other.updated_at, CURRENT_TIMESTAMP),
                unlogged = other.unlogged || {tags}::jsonb
            FROM target
            WHERE other.user_id = target.user_id AND other.site_id = target.site_id
              AND other.wdk_strategy_id = {wdk_strategy_id}::bigint AND other.stream_id <> target.stream_id
            RETURNING other.stream_id
        )"""
