"""Changing a projection: which fields, and the one statement that does it."""

from collections.abc import Callable
from typing import Annotated, Any, Final
from uuid import UUID

from pydantic import BeforeValidator, Field, SkipValidation

from veupath_store import limits
from veupath_store.errors import InvalidInputError
from veupath_store.json import decode, encode
from veupath_store.names import FREE_NAME
from veupath_store.plans import check_plan, count_searches
from veupath_store.validation import as_optional_uuid, boolean, integer, text
from veupath_store.values.checked import Checked


def _plan(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidInputError("plan", "a JSON object is needed")
    check_plan(value, "plan")
    return value


def _count(path: str) -> Callable[[object], int]:
    return lambda value: integer(value, path, 0, limits.INT32_MAX)


def _or_none(check: Callable[[object], Any]) -> Callable[[object], Any]:
    return lambda value: None if value is None else check(value)


class ProjectionPatch(Checked):
    """The fields of a projection to change. A field that is not given stays; a field given as ``None`` is cleared.

    Attributes:
        name: The wanted name; a number is added where it is taken.
        record_type: The record type.
        wdk_strategy_id: The WDK strategy to claim, or ``None`` to unlink. Another conversation of the same user and
            site that has it loses it.
        is_saved: Whether that strategy is saved on the WDK server.
        plan: The whole new plan. `step_count` follows from it unless it is given too.
        step_count: The number of steps.
        result_count: The number of records found, or ``None`` for unknown.
        gene_set_id: One of the owner's gene sets, or ``None`` to unlink.
        gene_set_auto_imported: A latch: ``True`` sets it for good, ``False`` changes nothing.

    Raises:
        InvalidInputError: A field is unknown or its value is refused.
    """

    name: Annotated[str, BeforeValidator(lambda value: text(value, "name", limits.NAME))] = ""
    record_type: Annotated[str, BeforeValidator(lambda value: text(value, "record_type", limits.RECORD_TYPE))] = ""
    wdk_strategy_id: Annotated[
        int | None, BeforeValidator(_or_none(lambda value: integer(value, "wdk_strategy_id", 0, limits.INT64_MAX)))
    ] = None
    is_saved: Annotated[bool, BeforeValidator(lambda value: boolean(value, "is_saved"))] = False
    # Not copied or converted, as keys would be: `encode` refuses what would not read back equal.
    plan: Annotated[dict[str, Any], SkipValidation(), BeforeValidator(_plan)] = Field(default_factory=dict)
    step_count: Annotated[int, BeforeValidator(_count("step_count"))] = 0
    result_count: Annotated[int | None, BeforeValidator(_or_none(_count("result_count")))] = None
    gene_set_id: Annotated[UUID | None, BeforeValidator(lambda value: as_optional_uuid(value, "gene_set_id"))] = None
    gene_set_auto_imported: Annotated[bool, BeforeValidator(lambda value: boolean(value, "gene_set_auto_imported"))] = (
        False
    )


_LATCH: Final = "gene_set_auto_imported"


class ProjectionUpdate:
    """The statement for one patch, built from constants; every value is bound."""

    def __init__(self, stream_id: UUID, owner: UUID | None, patch: ProjectionPatch) -> None:
        if not isinstance(patch, ProjectionPatch):
            raise InvalidInputError("patch", "a ProjectionPatch is needed")
        self.stream_id: Final = stream_id
        self.values: list[Any] = [stream_id]
        self._patch = patch
        self._plan: str | None = None
        # A latch that is not set changes nothing, the time of the last change included.
        self._given: Final = patch.model_fields_set - (set() if patch.gene_set_auto_imported else {_LATCH})
        self._target = "SELECT stream_id, user_id, site_id FROM stream_projections WHERE stream_id = $1"
        if owner is not None:
            self._target += f" AND user_id = {self._bind(owner)}"
        self.sql = self._statement()

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
        assignments = [*self._columns(), "updated_at = CURRENT_TIMESTAMP"]
        if "name" in self._given:
            base = self._bind(self._patch.name)
            expressions += [
                f"asked AS (SELECT user_id, site_id, stream_id AS named, {base}::text AS base FROM target)",
                FREE_NAME,
            ]
            sources.append("free")
            assignments.append("name = free.name")
        returned = ", p.name, p.step_count, p.gene_set_auto_imported"
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
        if "wdk_strategy_id" in self._given:
            columns.append("wdk_event_id = NULL")  # the claim is this one; its event, if any, sets it
        if "plan" in self._given:
            self._plan = encode(self._patch.plan, "plan")
            columns.append(f"plan = {self._bind(self._plan)}::jsonb")
        if self._given & {"plan", "step_count"}:
            columns.append(f"step_count = {self._bind(self._step_count())}")
        if "gene_set_auto_imported" in self._given:
            columns.append(
                f"gene_set_auto_imported = p.gene_set_auto_imported OR {self._bind(self._patch.gene_set_auto_imported)}"
            )
        return columns

    def changes(self, row: Any) -> dict[str, Any]:  # noqa: ANN401 - an asyncpg record
        """What the statement changed, by column, given the row that it returned.

        The plan is the one that was sent: the caller's own may have changed since.
        """
        resolved = {"name", "step_count", "gene_set_auto_imported"}
        columns = self._given | ({"step_count"} if "plan" in self._given else set())
        changes = {name: row[name] if name in resolved else getattr(self._patch, name) for name in sorted(columns)}
        return changes if self._plan is None else {**changes, "plan": decode(self._plan)}

    def _step_count(self) -> int:
        return self._patch.step_count if "step_count" in self._given else count_searches(self._patch.plan)

    @staticmethod
    def _hand_over(wdk_strategy_id: str) -> str:
        return f"""released AS (
            UPDATE stream_projections other
            SET wdk_strategy_id = NULL, wdk_event_id = NULL, is_saved = false, updated_at = CURRENT_TIMESTAMP
            FROM target
            WHERE other.user_id = target.user_id AND other.site_id = target.site_id
              AND other.wdk_strategy_id = {wdk_strategy_id}::bigint AND other.stream_id <> target.stream_id
            RETURNING other.stream_id
        )"""
