"""Reading projections: one, or lists without plans."""

from typing import Any, Final
from uuid import UUID

from tortoise.queryset import QuerySet

from veupath_store import limits
from veupath_store.models import StreamProjection
from veupath_store.repositories.base import Repository
from veupath_store.repositories.prepared import PreparedFor
from veupath_store.repositories.projection_lists import ProjectionLists
from veupath_store.validation import as_uuid, integer
from veupath_store.values import ProjectionSummary

SUMMARY: Final = tuple(ProjectionSummary.model_fields)


def _opened(owner: UUID | None, **wanted: Any) -> QuerySet[StreamProjection]:  # noqa: ANN401 - as prepared
    mine = StreamProjection.filter(Repository._owned_by(owner), **wanted)
    return mine.select_related("stream").order_by("-updated_at").limit(1)


_BY_STREAM: Final = PreparedFor[StreamProjection](lambda owner, stream: _opened(owner, stream_id=stream), stream=UUID)
_BY_WDK_ID: Final = PreparedFor[StreamProjection](
    lambda owner, user, wdk: _opened(owner, user_id=user, wdk_strategy_id=wdk), user=UUID, wdk=int
)


class ProjectionReads(ProjectionLists):
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
        stream = as_uuid(stream_id, "stream_id")
        return await _BY_STREAM.first(await self._client(), self._owner, stream=stream)

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
        user = as_uuid(user_id, "user_id")
        wdk = integer(wdk_strategy_id, "wdk_strategy_id", 0, limits.INT64_MAX)
        return await _BY_WDK_ID.first(await self._client(), self._owner, user=user, wdk=wdk)

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
        return (await self.page_projections(user_id, site_id, limit=limit)).items

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
        return (await self.page_projections(user_id, site_id, dismissed=True, limit=limit)).items
