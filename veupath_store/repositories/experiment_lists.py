"""Lists of experiments."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final
from uuid import UUID

from veupath_store import limits
from veupath_store.errors import InvalidInputError
from veupath_store.models import ExperimentRow
from veupath_store.repositories.base import Repository
from veupath_store.repositories.conditions import MINE
from veupath_store.repositories.hydration import instances
from veupath_store.repositories.pages import Key, Listing, Page, id_key, iterate, time_key
from veupath_store.validation import as_experiment_id, as_uuid, text
from veupath_store.values import ExperimentSummary

_RECENT: Final = Listing(
    name="experiments", table="experiments", summary=ExperimentSummary, keys=(time_key("updated_at"), id_key())
)
_OF_BATCH: Final = Listing(
    name="batch",
    table="experiments",
    summary=ExperimentSummary,
    keys=(time_key("created_at"), id_key()),
    descending=False,
)
_OF_BENCHMARK: Final = Listing(
    name="benchmark",
    table="experiments",
    summary=ExperimentSummary,
    keys=(
        Key(column="(NOT is_primary)", field="is_primary", kind=bool, sql_type="boolean", inverted=True),
        time_key("created_at"),
        id_key(),
    ),
    descending=False,
)
_MANY: Final = f"SELECT {{columns}} FROM experiments WHERE {MINE} AND id = ANY ($3::uuid[])"


class ExperimentLists(Repository[ExperimentRow]):
    """The part of `ExperimentRepository` that reads several experiments."""

    @classmethod
    def _identity(cls, value: object, path: str = "id") -> UUID:
        return as_experiment_id(value, path)

    async def get_many(self, ids: Sequence[UUID | str], *, user_id: UUID | str) -> list[ExperimentRow]:
        """Read many by their ids. One statement.

        Args:
            ids: The experiments, `limits.DOCUMENT_IDS` at most.
            user_id: Their owner.

        Returns:
            Those that exist and are this user's, in the given order, each once.

        Raises:
            InvalidInputError: An argument is refused.
            UnavailableError: The database does not answer.
        """
        if isinstance(ids, str | bytes) or not isinstance(ids, Sequence) or len(ids) > limits.DOCUMENT_IDS:
            raise InvalidInputError("ids", f"a list of {limits.DOCUMENT_IDS} ids at most is needed")
        asked = list(dict.fromkeys(self._identity(item, f"ids[{index}]") for index, item in enumerate(ids)))
        values = [as_uuid(user_id, "user_id"), self._owner, asked]
        rows = await self._entire(_MANY, values)
        found = {row.id: row for row in instances(ExperimentRow, rows)}
        return [found[identity] for identity in asked if identity in found]

    async def page_summaries(
        self, user_id: UUID | str, site_id: str | None = None, *, cursor: str | None = None, limit: int = 50
    ) -> Page[ExperimentSummary]:
        """One page of the user's experiments. One indexed read, whatever the page; no document is read.

        Args:
            user_id: The owner.
            site_id: One site, or ``None`` for all.
            cursor: `Page.next_cursor` of the page before; ``None`` for the first page.
            limit: How many at most, 1 to `limits.PAGE`.

        Returns:
            The page, the last saved first.

        Raises:
            InvalidInputError: An argument is refused; a cursor of another list, too.
            UnavailableError: The database does not answer.
        """
        site = "" if site_id is None else text(site_id, "site_id", limits.SITE_ID)
        return await self._page(_RECENT, user_id, "site_id", site, cursor=cursor, limit=limit)

    def iterate_summaries(self, user_id: UUID | str, site_id: str | None = None) -> AsyncIterator[ExperimentSummary]:
        """All of the user's experiments, for exports; one read for each `limits.PAGE` of them.

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

    async def page_by_batch(
        self, user_id: UUID | str, batch_id: str, *, cursor: str | None = None, limit: int = 50
    ) -> Page[ExperimentSummary]:
        """One page of the experiments of a batch. One indexed read; no document is read.

        Args:
            user_id: The owner.
            batch_id: The batch.
            cursor: `Page.next_cursor` of the page before; ``None`` for the first page.
            limit: How many at most, 1 to `limits.PAGE`.

        Returns:
            The page, the oldest first.

        Raises:
            InvalidInputError: An argument is refused; a cursor of another list, too.
            UnavailableError: The database does not answer.
        """
        batch = text(batch_id, "batch_id", limits.BATCH_ID)
        return await self._page(_OF_BATCH, user_id, "batch_id", batch, cursor=cursor, limit=limit)

    async def page_by_benchmark(
        self, user_id: UUID | str, benchmark_id: str, *, cursor: str | None = None, limit: int = 50
    ) -> Page[ExperimentSummary]:
        """One page of the experiments of a benchmark. One indexed read; no document is read.

        Args:
            user_id: The owner.
            benchmark_id: The benchmark.
            cursor: `Page.next_cursor` of the page before; ``None`` for the first page.
            limit: How many at most, 1 to `limits.PAGE`.

        Returns:
            The page, the primary ones first, then the oldest first.

        Raises:
            InvalidInputError: An argument is refused; a cursor of another list, too.
            UnavailableError: The database does not answer.
        """
        benchmark = text(benchmark_id, "benchmark_id", limits.BATCH_ID)
        return await self._page(_OF_BENCHMARK, user_id, "benchmark_id", benchmark, cursor=cursor, limit=limit)

    async def _page(
        self,
        listing: Listing[ExperimentSummary],
        user_id: UUID | str,
        column: str,
        value: str,
        *,
        cursor: str | None,
        limit: int,
    ) -> Page[ExperimentSummary]:
        """One page of the rows whose column, a constant of this module, has a value; empty for any."""
        values: list[Any] = [as_uuid(user_id, "user_id"), self._owner]
        where = MINE
        if value:
            values.append(value)
            where = f"{MINE} AND {column} = $3"
        return await listing.page(await self._client(), [where], values, cursor, limit)
