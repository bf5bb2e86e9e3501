"""Changing projections."""

from typing import Any, Final, Self
from uuid import UUID

from veupath_store.errors import NotFoundError
from veupath_store.events.claims import released
from veupath_store.models import Stream
from veupath_store.races import NAME_KEY, WDK_KEY
from veupath_store.repositories.projection_patch import ProjectionPatch, ProjectionUpdate
from veupath_store.repositories.recording import Recording
from veupath_store.validation import as_uuid, boolean
from veupath_store.values import DismissReason

_DISMISS: Final = """
WITH target AS (
    SELECT stream_id FROM stream_projections WHERE stream_id = $1 AND ($2::uuid IS NULL OR user_id = $2)
),
changed AS (
    UPDATE stream_projections p
    SET dismissed_at = CURRENT_TIMESTAMP, dismissed_reason = $3, updated_at = CURRENT_TIMESTAMP
    FROM target WHERE p.stream_id = target.stream_id AND p.dismissed_at IS NULL
    RETURNING p.stream_id
)
SELECT stream_id, EXISTS (SELECT FROM changed) AS changed FROM target"""

_RESTORE: Final = """
WITH target AS (
    SELECT stream_id FROM stream_projections WHERE stream_id = $1 AND ($2::uuid IS NULL OR user_id = $2)
),
changed AS (
    UPDATE stream_projections p
    SET dismissed_at = NULL, dismissed_reason = NULL, plan = '{}', step_count = 0, result_count = NULL,
        message_count = 0, updated_at = CURRENT_TIMESTAMP
    FROM target WHERE p.stream_id = target.stream_id AND p.dismissed_at IS NOT NULL
    RETURNING p.stream_id
)
SELECT stream_id, EXISTS (SELECT FROM changed) AS changed FROM target"""
_RESTORED: Final[dict[str, Any]] = {
    "dismissed_reason": None,
    "plan": {},
    "step_count": 0,
    "result_count": None,
    "message_count": 0,
}


class ProjectionWrites(Recording[Stream]):
    """The part of `StreamRepository` that changes projections."""

    async def update_projection(
        self,
        stream_id: UUID | str,
        *,
        name: str | None = None,
        record_type: str | None = None,
        wdk_strategy_id: int | None = None,
        wdk_strategy_id_set: bool = False,
        is_saved: bool | None = None,
        is_saved_set: bool = False,
        plan: dict[str, Any] | None = None,
        step_count: int | None = None,
        result_count: int | None = None,
        result_count_set: bool = False,
        gene_set_id: UUID | str | None = None,
        gene_set_id_set: bool = False,
        gene_set_auto_imported: bool | None = None,
    ) -> None:
        """Change what is given and nothing else; a ``*_set`` flag makes ``None`` a value.

        One statement: `patch_projection` in the documented form. ``is_saved=None, is_saved_set=True`` means not saved.

        Args:
            stream_id: The conversation.
            name: The wanted name; a number is added where it is taken.
            record_type: The record type.
            wdk_strategy_id: The WDK strategy to claim; another conversation of the same user and site loses it.
            wdk_strategy_id_set: Take ``wdk_strategy_id=None`` for "unlink".
            is_saved: Whether that strategy is saved on the WDK server.
            is_saved_set: Take ``is_saved=None`` for "not saved".
            plan: The whole new plan; steps and step count follow from it.
            step_count: The number of steps, where it is not the plan's.
            result_count: The number of records found.
            result_count_set: Take ``result_count=None`` for "unknown".
            gene_set_id: One of the owner's gene sets.
            gene_set_id_set: Take ``gene_set_id=None`` for "unlink".
            gene_set_auto_imported: ``True`` sets the latch for good; ``False`` changes nothing.

        Raises:
            NotFoundError: No such conversation or gene set, or not this user's.
            InvalidInputError: An argument is refused.
            UnavailableError: The database does not answer; nothing was saved.
            OutcomeUnknownError: Without a session, the answer was lost.
        """
        optional = {
            "name": name,
            "record_type": record_type,
            "plan": plan,
            "step_count": step_count,
            "gene_set_auto_imported": gene_set_auto_imported,
        }
        given: dict[str, Any] = {field: value for field, value in optional.items() if value is not None}
        flagged = {
            "wdk_strategy_id": (wdk_strategy_id, wdk_strategy_id_set),
            "is_saved": (is_saved, is_saved_set),
            "result_count": (result_count, result_count_set),
            "gene_set_id": (gene_set_id, gene_set_id_set),
        }
        given |= {
            field: value
            for field, (value, is_set) in flagged.items()
            if boolean(is_set, f"{field}_set") or value is not None
        }
        if is_saved is None and is_saved_set:
            given["is_saved"] = False
        await self.patch_projection(stream_id, ProjectionPatch(**given))

    async def patch_projection(self, stream_id: UUID | str, patch: ProjectionPatch) -> None:
        """Change the fields that the patch names, and `updated_at`.

        One statement. A name or a WDK id adds a savepoint inside a session, because a concurrent writer may take
        it first; then the statement is repeated. An empty patch changes nothing, `updated_at` included.

        Args:
            stream_id: The conversation.
            patch: What to change.

        Raises:
            NotFoundError: No such conversation or gene set, or not this user's.
            InvalidInputError: The id is no UUID, or the plan is no document that can be kept.
            UnavailableError: The database does not answer; nothing was saved.
            OutcomeUnknownError: Without a session, the answer was lost.
        """
        update = ProjectionUpdate(as_uuid(stream_id, "stream_id"), self._owner, patch)
        await self._recorded(lambda inside: inside._update(update))

    async def dismiss(self, stream_id: UUID | str) -> None:
        """Hide a conversation from the main list and from WDK sync. Again: the first date stays. One statement.

        Args:
            stream_id: The conversation.

        Raises:
            NotFoundError: No such conversation, or not this user's.
            InvalidInputError: The id is no UUID.
            UnavailableError: The database does not answer; nothing was saved.
            OutcomeUnknownError: Without a session, the answer was lost; repeat the call.
        """
        reason = DismissReason.USER.value
        await self._switch(_DISMISS, stream_id, {"dismissed_reason": reason}, reason)

    async def restore(self, stream_id: UUID | str) -> None:
        """Bring a dismissed conversation back, without its plan, derived counts and message count. One statement.

        The plan may be stale by now; its absence makes the caller fetch it anew. A conversation that is not
        dismissed is left as it is.

        Args:
            stream_id: The conversation.

        Raises:
            NotFoundError: No such conversation, or not this user's.
            InvalidInputError: The id is no UUID.
            UnavailableError: The database does not answer; nothing was saved.
            OutcomeUnknownError: Without a session, the answer was lost; repeat the call.
        """
        await self._switch(_RESTORE, stream_id, _RESTORED)

    async def _switch(self, sql: str, stream_id: UUID | str, changes: dict[str, Any], *values: str) -> None:
        identity = as_uuid(stream_id, "stream_id")

        async def switch(inside: Self) -> None:
            rows = await (await inside._client()).execute_rows(sql, [identity, self._owner, *values])
            if not rows:
                raise NotFoundError(self.entity)
            if rows[0]["changed"]:
                inside._record(identity, changes)

        await self._recorded(switch)

    async def _update(self, update: ProjectionUpdate) -> UUID | None:
        """Run one patch and record it.

        Returns:
            The conversation that lost its WDK strategy to this one, or ``None``.
        """

        async def write() -> list[Any]:
            return await (await self._client()).execute_rows(update.sql, update.values)

        if update.races:
            rows = await self._once_unique(write, frozenset({NAME_KEY, WDK_KEY}))
        else:
            rows = await write()
        if not rows:
            raise NotFoundError(self.entity)
        changes = update.changes(rows[0])
        if changes:
            self._record(update.stream_id, changes)
        loser: UUID | None = rows[0].get("released")
        if loser is not None:
            self._record_change(released(loser, None))
        return loser
