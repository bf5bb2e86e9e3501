"""Lists of conversations in pages."""

from collections.abc import AsyncIterator
from typing import Any, Final
from uuid import UUID

from veupath_store import limits
from veupath_store.errors import InvalidInputError
from veupath_store.models import Stream
from veupath_store.repositories.base import Repository
from veupath_store.repositories.conditions import MINE
from veupath_store.repositories.pages import Key, Listing, Page, id_key, iterate, time_key
from veupath_store.validation import as_uuid, boolean, one_of, text
from veupath_store.values import ProjectionSort, ProjectionSummary

_TABLE: Final = "stream_projections"
_RECENT: Final = Listing(
    name="projections", table=_TABLE, summary=ProjectionSummary, keys=(time_key("updated_at"), id_key("stream_id"))
)
_DISMISSED: Final = Listing(
    name="dismissed", table=_TABLE, summary=ProjectionSummary, keys=(time_key("dismissed_at"), id_key("stream_id"))
)
_BY_NAME: Final = Listing(
    name="by name",
    table=_TABLE,
    summary=ProjectionSummary,
    keys=(Key(column="name", field="name", kind=str, sql_type="text"), id_key("stream_id")),
    descending=False,
)
_TO_IMPORT: Final = Listing(
    name="to import", table=_TABLE, summary=ProjectionSummary, keys=(id_key("stream_id"),), descending=False
)

_LEFT_TO_IMPORT: Final = (
    f"{MINE} AND site_id = $3 AND wdk_strategy_id IS NOT NULL "
    "AND dismissed_at IS NULL AND gene_set_id IS NULL AND NOT gene_set_auto_imported"
)


class ProjectionLists(Repository[Stream]):
    """The part of `StreamRepository` that reads lists in pages."""

    async def page_projections(
        self,
        user_id: UUID | str,
        site_id: str | None = None,
        *,
        dismissed: bool = False,
        sort: ProjectionSort = ProjectionSort.RECENT,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[ProjectionSummary]:
        """One page of the user's conversations. One indexed read, whatever the page; no plan is read.

        Args:
            user_id: The owner.
            site_id: One site, or ``None`` for all.
            dismissed: The dismissed ones instead of the others.
            sort: The order; by name needs a site and is not for dismissed ones.
            cursor: `Page.next_cursor` of the page before; ``None`` for the first page.
            limit: How many at most, 1 to `limits.PAGE`.

        Returns:
            The page. A conversation that changes between two pages moves to the front of the recent ones, as it
            does in the list itself; no other is skipped or repeated.

        Raises:
            InvalidInputError: An argument is refused; a cursor of another list, too.
            UnavailableError: The database does not answer.
        """
        listing = _listing(one_of(sort, "sort", ProjectionSort), boolean(dismissed, "dismissed"), site_id)
        where = [MINE]
        where.append("dismissed_at IS NOT NULL" if dismissed else "dismissed_at IS NULL")
        values: list[Any] = [as_uuid(user_id, "user_id"), self._owner]
        if site_id is not None:
            values.append(text(site_id, "site_id", limits.STREAM_SITE_ID))
            where.append("site_id = $3")
        return await listing.page(await self._client(), [" AND ".join(where)], values, cursor, limit)

    def iterate_projections(
        self, user_id: UUID | str, site_id: str | None = None, *, dismissed: bool = False
    ) -> AsyncIterator[ProjectionSummary]:
        """All of the user's conversations, for exports; one read for each `limits.PAGE` of them.

        Args:
            user_id: The owner.
            site_id: One site, or ``None`` for all.
            dismissed: The dismissed ones instead of the others.

        Returns:
            An asynchronous iterator in the order of `page_projections`. Without a session no connection is held
            between two reads.

        Raises:
            InvalidInputError: While iterating: an argument is refused.
            UnavailableError: While iterating: the database does not answer.
        """
        return iterate(
            lambda cursor, limit: self.page_projections(
                user_id, site_id, dismissed=dismissed, cursor=cursor, limit=limit
            )
        )

    async def page_gene_set_imports(
        self, user_id: UUID | str, site_id: str, *, cursor: str | None = None, limit: int = 50
    ) -> Page[ProjectionSummary]:
        """One page of the conversations whose gene set is still to be imported. One read of an index of just these.

        That is: with a WDK strategy, not dismissed, without a gene set, and never imported automatically.

        Args:
            user_id: The owner.
            site_id: The site.
            cursor: `Page.next_cursor` of the page before; ``None`` for the first page.
            limit: How many at most, 1 to `limits.PAGE`.

        Returns:
            The page, in the order of the ids.

        Raises:
            InvalidInputError: An argument is refused; a cursor of another list, too.
            UnavailableError: The database does not answer.
        """
        values = [as_uuid(user_id, "user_id"), self._owner, text(site_id, "site_id", limits.STREAM_SITE_ID)]
        return await _TO_IMPORT.page(await self._client(), [_LEFT_TO_IMPORT], values, cursor, limit)


def _listing(sort: ProjectionSort, dismissed: bool, site_id: str | None) -> Listing[ProjectionSummary]:
    if sort is ProjectionSort.RECENT:
        return _DISMISSED if dismissed else _RECENT
    if dismissed or site_id is None:
        raise InvalidInputError("sort", "by name, a site is needed, and dismissed conversations are not listed")
    return _BY_NAME
