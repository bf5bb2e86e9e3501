"""Lists of gene sets, and the searches by strategy and by gene."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final
from uuid import UUID

from veupath_store import limits
from veupath_store.models import GeneSetRow
from veupath_store.repositories.base import Repository
from veupath_store.repositories.conditions import GENE_OPERATOR, MINE
from veupath_store.repositories.hydration import instances
from veupath_store.repositories.pages import Listing, Page, id_key, iterate, time_key
from veupath_store.validation import as_uuid, integer, one_of, text, texts
from veupath_store.values import GeneMatch, GeneSetSummary

_NEWEST: Final = Listing(
    name="gene sets", table="gene_sets", summary=GeneSetSummary, keys=(time_key("created_at"), id_key())
)


class GeneSetLists(Repository[GeneSetRow]):
    """The part of `GeneSetRepository` that reads lists and searches."""

    async def page_summaries(
        self, user_id: UUID | str, site_id: str | None = None, *, cursor: str | None = None, limit: int = 50
    ) -> Page[GeneSetSummary]:
        """One page of the user's gene sets. One indexed read, whatever the page; no gene list is read.

        Args:
            user_id: The owner.
            site_id: One site, or ``None`` for all.
            cursor: `Page.next_cursor` of the page before; ``None`` for the first page.
            limit: How many at most, 1 to `limits.PAGE`.

        Returns:
            The page, newest first.

        Raises:
            InvalidInputError: An argument is refused; a cursor of another list, too.
            UnavailableError: The database does not answer.
        """
        where, values = self._mine(user_id, site_id)
        return await _NEWEST.page(await self._client(), [where], values, cursor, limit)

    def iterate_summaries(self, user_id: UUID | str, site_id: str | None = None) -> AsyncIterator[GeneSetSummary]:
        """All of the user's gene sets, for exports; one read for each `limits.PAGE` of them.

        Args:
            user_id: The owner.
            site_id: One site, or ``None`` for all.

        Returns:
            An asynchronous iterator in the order of `page_summaries`. Without a session no connection is held
            between two reads.

        Raises:
            InvalidInputError: While iterating: an argument is refused.
            UnavailableError: While iterating: the database does not answer.
        """
        return iterate(lambda cursor, limit: self.page_summaries(user_id, site_id, cursor=cursor, limit=limit))

    async def find_by_wdk_strategy(
        self, user_id: UUID | str, wdk_strategy_id: int, site_id: str | None = None
    ) -> GeneSetRow | None:
        """The user's gene set that was imported from a WDK strategy. One indexed read.

        Args:
            user_id: The owner.
            wdk_strategy_id: The strategy.
            site_id: One site, or ``None`` for any.

        Returns:
            The set, the newest where there are several; ``None`` when there is none.

        Raises:
            InvalidInputError: An argument is refused.
            UnavailableError: The database does not answer.
        """
        where, values = self._mine(user_id, site_id)
        values.append(integer(wdk_strategy_id, "wdk_strategy_id", 0, limits.INT64_MAX))
        rows = await self._entire(
            f"SELECT {{columns}} FROM gene_sets WHERE {where} AND wdk_strategy_id = ${len(values)} "
            "ORDER BY created_at DESC, id DESC LIMIT 1",
            values,
        )
        return next(iter(instances(GeneSetRow, rows)), None)

    async def page_containing(
        self,
        user_id: UUID | str,
        gene_ids: Sequence[str],
        site_id: str | None = None,
        *,
        match: GeneMatch = GeneMatch.ANY,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[GeneSetSummary]:
        """Which of the user's gene sets contain a gene. One read of a GIN index; no gene list is returned.

        Args:
            user_id: The owner.
            gene_ids: The genes, compared exactly; `limits.GENES_SOUGHT` at most.
            site_id: One site, or ``None`` for all.
            match: Whether a set must contain any of the genes or all of them.
            cursor: `Page.next_cursor` of the page before; ``None`` for the first page.
            limit: How many at most, 1 to `limits.PAGE`.

        Returns:
            The page, newest first.

        Raises:
            InvalidInputError: An argument is refused; a cursor of another list, too.
            UnavailableError: The database does not answer.
        """
        where, values = self._mine(user_id, site_id)
        values.append(texts(gene_ids, "gene_ids", most=limits.GENES_SOUGHT, longest=limits.GENE_ID, fewest=1))
        where += f" AND gene_ids {GENE_OPERATOR[one_of(match, 'match', GeneMatch)]} ${len(values)}::text[]"
        return await _NEWEST.page(await self._client(), [where], values, cursor, limit, in_index_order=False)

    def _mine(self, user_id: UUID | str, site_id: str | None) -> tuple[str, list[Any]]:
        """The condition and the values of one user's sets, on one site or on all."""
        values: list[Any] = [as_uuid(user_id, "user_id"), self._owner]
        if site_id is None:
            return MINE, values
        return f"{MINE} AND site_id = $3", [*values, text(site_id, "site_id", limits.SITE_ID)]
