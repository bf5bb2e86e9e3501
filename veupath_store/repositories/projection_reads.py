"""Reading projections: one, or lists without plans."""

from typing import Final
from uuid import UUID

from tortoise.expressions import Q

from veupath_store import limits
from veupath_store.models import Stream, StreamProjection
from veupath_store.repositories.base import Repository
from veupath_store.validation import as_uuid, integer, page_size, text
from veupath_store.values import ProjectionSummary

SUMMARY: Final = tuple(ProjectionSummary.model_fields)


class ProjectionReads(Repository[Stream]):
    """The part of `StreamRepository` that reads projections."""

    async def get_projection(self, stream_id: UUID | str) -> StreamProjection | None:
        """Open a conversation: its projection with ``.stream`` loaded. One query.

        Args:
            stream_id: The conversation.

        Returns:
            The projection, or ``None`` when there is none, or it is not this user's.

        Raises:
            InvalidInputError: The id is no UUID.
            UnavailableError: The database does not answer.
        """
        return await self._one_projection(Q(stream_id=as_uuid(stream_id, "stream_id")))

    async def get_by_wdk_strategy_id(self, user_id: UUID | str, wdk_strategy_id: int) -> StreamProjection | None:
        """The user's conversation that is linked to a WDK strategy, dismissed or not, ``.stream`` loaded. One query.

        Args:
            user_id: The owner.
            wdk_strategy_id: The WDK strategy's id.

        Returns:
            The projection; the last changed one where several sites have that id; ``None`` when there is none.

        Raises:
            InvalidInputError: An argument is refused.
            UnavailableError: The database does not answer.
        """
        return await self._one_projection(
            Q(
                user_id=as_uuid(user_id, "user_id"),
                wdk_strategy_id=integer(wdk_strategy_id, "wdk_strategy_id", 0, limits.INT64_MAX),
            )
        )

    async def list_projections(
        self, user_id: UUID | str, site_id: str | None = None, limit: int = 50
    ) -> list[ProjectionSummary]:
        """The user's conversations that are not dismissed. One indexed read that reads no plan.

        Args:
            user_id: The owner.
            site_id: One site, or ``None`` for all.
            limit: How many at most, 1 to `limits.PAGE`.

        Returns:
            Summaries, the last changed first.

        Raises:
            InvalidInputError: An argument is refused.
            UnavailableError: The database does not answer.
        """
        return await self._list(Q(dismissed_at__isnull=True), user_id, site_id, limit, "updated_at")

    async def list_dismissed_projections(
        self, user_id: UUID | str, site_id: str | None = None, limit: int = 50
    ) -> list[ProjectionSummary]:
        """The user's dismissed conversations. One indexed read that reads no plan.

        Args:
            user_id: The owner.
            site_id: One site, or ``None`` for all.
            limit: How many at most, 1 to `limits.PAGE`.

        Returns:
            Summaries, the last dismissed first.

        Raises:
            InvalidInputError: An argument is refused.
            UnavailableError: The database does not answer.
        """
        return await self._list(Q(dismissed_at__isnull=False), user_id, site_id, limit, "dismissed_at")

    async def _one_projection(self, condition: Q) -> StreamProjection | None:
        client = await self._client()
        return await (
            StreamProjection.filter(condition & self._readable())
            .using_db(client)
            .select_related("stream")
            .order_by("-updated_at")
            .first()
        )

    async def _list(
        self, condition: Q, user_id: UUID | str, site_id: str | None, limit: int, newest: str
    ) -> list[ProjectionSummary]:
        condition &= Q(user_id=as_uuid(user_id, "user_id")) & self._readable()
        if site_id is not None:
            condition &= Q(site_id=text(site_id, "site_id", limits.STREAM_SITE_ID))
        client = await self._client()
        rows = (
            StreamProjection.filter(condition)
            .using_db(client)
            .order_by(f"-{newest}", "-stream_id")
            .limit(page_size(limit))
            .values(*SUMMARY)
        )
        return [ProjectionSummary.model_validate(row) for row in await rows]
