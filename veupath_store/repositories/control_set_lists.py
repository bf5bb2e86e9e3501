"""Lists of control sets in pages, and the search by gene."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from veupath_store import limits
from veupath_store.models import ControlSet
from veupath_store.repositories.base import Repository
from veupath_store.repositories.conditions import GENE_OPERATOR
from veupath_store.repositories.pages import Listing, Page, id_key, time_key
from veupath_store.validation import as_optional_uuid, one_of, text, texts
from veupath_store.values import ControlSetSummary, GeneMatch

_NEWEST: Final = Listing(
    name="control sets",
    table="control_sets",
    summary=ControlSetSummary,
    keys=(time_key("created_at"), id_key()),
)
_PUBLIC: Final = "is_public AND site_id = $1"
_OWN: Final = "user_id = $2 AND site_id = $1 AND NOT is_public"


class ControlSetLists(Repository[ControlSet]):
    """The part of `ControlSetRepository` that reads lists in pages."""

    async def page_by_site(
        self,
        site_id: str,
        user_id: UUID | str | None = None,
        tags: Sequence[str] | None = None,
        *,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[ControlSetSummary]:
        """One page of a site's public sets and the user's own there. One indexed read; no gene list is read.

        Args:
            site_id: The site.
            user_id: Whose own sets to add, or ``None`` for the repository's user, or for public ones only.
            tags: Only sets with any of these tags; ``None`` or empty for all. Found in a GIN index.
            cursor: `Page.next_cursor` of the page before; ``None`` for the first page.
            limit: How many at most, 1 to `limits.PAGE`.

        Returns:
            The page, newest first.

        Raises:
            InvalidInputError: An argument is refused; a cursor of another list, too.
            UnavailableError: The database does not answer.
        """
        values: list[Any] = [text(site_id, "site_id", limits.SITE_ID), self._reader(user_id)]
        tagged = ""
        wanted = checked_tags(tags)
        if wanted:
            values.append(wanted)
            tagged = " AND tags ?| $3::text[]"
        where = [f"{_PUBLIC}{tagged}", f"{_OWN}{tagged}"]
        return await _NEWEST.page(await self._client(), where, values, cursor, limit)

    async def page_containing(
        self,
        site_id: str,
        gene_ids: Sequence[str],
        user_id: UUID | str | None = None,
        *,
        match: GeneMatch = GeneMatch.ANY,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[ControlSetSummary]:
        """Which of a site's public sets, and of the user's own, contain a gene. One read of two GIN indexes.

        Args:
            site_id: The site.
            gene_ids: The genes, compared exactly; `limits.GENES_SOUGHT` at most.
            user_id: Whose own sets to add, or ``None`` for the repository's user, or for public ones only.
            match: Whether a set must contain any of the genes or all of them, among its positive ones or among its
                negative ones.
            cursor: `Page.next_cursor` of the page before; ``None`` for the first page.
            limit: How many at most, 1 to `limits.PAGE`.

        Returns:
            The page, newest first.

        Raises:
            InvalidInputError: An argument is refused; a cursor of another list, too.
            UnavailableError: The database does not answer.
        """
        operator = GENE_OPERATOR[one_of(match, "match", GeneMatch)]
        values = [
            text(site_id, "site_id", limits.SITE_ID),
            self._reader(user_id),
            texts(gene_ids, "gene_ids", most=limits.GENES_SOUGHT, longest=limits.GENE_ID, fewest=1),
        ]
        contains = f" AND (positive_ids {operator} $3::text[] OR negative_ids {operator} $3::text[])"
        where = [f"{_PUBLIC}{contains}", f"{_OWN}{contains}"]
        return await _NEWEST.page(await self._client(), where, values, cursor, limit)

    def _reader(self, user_id: UUID | str | None) -> UUID | None:
        """Whose own sets are read: another user's look as if there were none."""
        asked = as_optional_uuid(user_id, "user_id")
        if self._owner is None or asked is None:
            return asked or self._owner
        return asked if asked == self._owner else None


def checked_tags(tags: Sequence[str] | None) -> list[str]:
    """Tags as they are kept and looked for; none for ``None``.

    Raises:
        InvalidInputError: They are no list of texts, or too many or too long.
    """
    return [] if tags is None else texts(tags, "tags", most=limits.TAGS, longest=limits.TAG)
