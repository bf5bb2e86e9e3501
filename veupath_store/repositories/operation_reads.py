"""Reads of operations: one, its status, and lists."""

from typing import Final
from uuid import UUID

from veupath_store import limits
from veupath_store.repositories.conditions import MINE
from veupath_store.repositories.operation_leases import OperationLeases
from veupath_store.repositories.pages import Listing, Page, id_key, time_key
from veupath_store.validation import as_operation_id, as_uuid, one_of
from veupath_store.values import OperationStatusView, OperationSummary, OperationType

SUMMARY: Final = ", ".join(OperationSummary.model_fields)
STATUS: Final = "id, status, cancel_requested_at IS NOT NULL AS cancel_requested, error, completed_at"
_GET_STATUS: Final = f"SELECT {STATUS} FROM operations WHERE id = $1 AND ($2::uuid IS NULL OR user_id = $2)"

_NEWEST: Final = Listing(
    name="operations", table="operations", summary=OperationSummary, keys=(time_key("created_at"), id_key())
)
_ACTIVE: Final = Listing(
    name="active operations", table="operations", summary=OperationSummary, keys=(time_key("created_at"), id_key())
)

_ACTIVE_BY_STREAM: Final = f"""
SELECT {", ".join(f"o.{column}" for column in OperationSummary.model_fields)}
FROM streams s JOIN operations o ON o.user_id = s.user_id AND o.stream_id = s.id
WHERE s.id = $1 AND ($2::uuid IS NULL OR s.user_id = $2) AND o.status = 'active'
ORDER BY o.created_at DESC, o.id DESC LIMIT {limits.PAGE}"""


class OperationReads(OperationLeases):
    """The part of `OperationRepository` that reads."""

    @classmethod
    def _identity(cls, value: object, path: str = "id") -> UUID:
        return as_operation_id(value, path)

    async def get_summary(self, operation_id: UUID | str) -> OperationSummary | None:
        """What a client may see of an operation, its owner included. One indexed read.

        Args:
            operation_id: The operation.

        Returns:
            The operation, or ``None`` when there is none, or it is not this user's.

        Raises:
            InvalidInputError: The id is no UUID.
            UnavailableError: The database does not answer.
        """
        rows = await (await self._client()).execute_rows(
            f"SELECT {SUMMARY} FROM operations WHERE id = $1 AND ($2::uuid IS NULL OR user_id = $2)",
            [self._identity(operation_id, "operation_id"), self._owner],
        )
        return OperationSummary.model_validate(dict(rows[0])) if rows else None

    async def get_status(self, operation_id: UUID | str) -> OperationStatusView | None:
        """How far an operation is; for polling. One small indexed read.

        Args:
            operation_id: The operation.

        Returns:
            Its status, or ``None`` when there is none, or it is not this user's.

        Raises:
            InvalidInputError: The id is no UUID.
            UnavailableError: The database does not answer.
        """
        rows = await (await self._client()).execute_rows(
            _GET_STATUS, [self._identity(operation_id, "operation_id"), self._owner]
        )
        return OperationStatusView.model_validate(dict(rows[0])) if rows else None

    async def page(self, user_id: UUID | str, *, cursor: str | None = None, limit: int = 50) -> Page[OperationSummary]:
        """One page of a user's operations, whatever their status. One indexed read.

        Args:
            user_id: The owner.
            cursor: `Page.next_cursor` of the page before; ``None`` for the first page.
            limit: How many at most, 1 to `limits.PAGE`.

        Returns:
            The page, newest first; empty for another user than the repository's.

        Raises:
            InvalidInputError: An argument is refused; a cursor of another list, too.
            UnavailableError: The database does not answer.
        """
        values = [as_uuid(user_id, "user_id"), self._owner]
        return await _NEWEST.page(await self._client(), [MINE], values, cursor, limit)

    async def page_active(
        self,
        user_id: UUID | str,
        *,
        type: OperationType | str | None = None,  # noqa: A002
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[OperationSummary]:
        """One page of a user's active operations. One read of an index that holds the active ones only.

        Args:
            user_id: The owner.
            type: One kind of job, or ``None`` for all.
            cursor: `Page.next_cursor` of the page before; ``None`` for the first page.
            limit: How many at most, 1 to `limits.PAGE`.

        Returns:
            The page, newest first; empty for another user than the repository's.

        Raises:
            InvalidInputError: An argument is refused; a cursor of another list, too.
            UnavailableError: The database does not answer.
        """
        where, values = f"{MINE} AND status = 'active'", [as_uuid(user_id, "user_id"), self._owner]
        if type is not None:
            kind = one_of(type, "type", OperationType)
            return await _ACTIVE.page(
                await self._client(), [f"{where} AND type = $3"], [*values, kind.value], cursor, limit
            )
        return await _ACTIVE.page(await self._client(), [where], values, cursor, limit)

    async def list_active_by_stream(self, stream_id: UUID | str) -> list[OperationSummary]:
        """The active operations of a conversation: at most one chat, and what else works for it. One indexed read.

        Args:
            stream_id: The conversation.

        Returns:
            The operations, newest first, `limits.PAGE` at most; none for a conversation that is not this user's.

        Raises:
            InvalidInputError: The id is no UUID.
            UnavailableError: The database does not answer.
        """
        rows = await (await self._client()).execute_rows(
            _ACTIVE_BY_STREAM, [as_uuid(stream_id, "stream_id"), self._owner]
        )
        return [OperationSummary.model_validate(dict(row)) for row in rows]
