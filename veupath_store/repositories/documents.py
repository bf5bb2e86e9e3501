"""What experiments and gene sets have in common: saves with a version, and ids that are used once.

Three rules, each kept by one statement:

* A save names the version that the caller has seen. ``UPDATE … WHERE version = $3`` lets one of several savers of the
  same version through; the others get `StaleVersionError`.
* A first save (version 0) takes its id in ``document_ids`` and inserts only if that worked. The id stays taken when
  the document is deleted, so that a save that comes late finds neither a row to update nor an id to take.
* A delete takes the id too, before it deletes. It thereby waits for a first save that is under way, and closes the id
  also where no save has arrived yet.

The primary key of ``document_ids`` is what decides. A table of tombstones, written by deletes and looked up by first
saves, leaves a gap: a first save that began before the document was made and deleted sees neither the row nor the
tombstone, and brings the document back (tests/integration/test_document_races.py plays that).
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any, ClassVar, Final, Generic, TypeVar
from uuid import UUID

from tortoise.models import Model

from veupath_store.errors import InvalidInputError, NotFoundError, StaleVersionError
from veupath_store.inputs import limits
from veupath_store.inputs.validation import integer
from veupath_store.models.unlogged import new_tag
from veupath_store.repositories.base import Repository, site_or_none
from veupath_store.repositories.pages import Listing, Page, iterate
from veupath_store.repositories.queries import Condition, Prepared
from veupath_store.values import DocumentSave
from veupath_store.values.value import Value

M = TypeVar("M", bound=Model)
S = TypeVar("S", bound=DocumentSave)
V = TypeVar("V", bound=Value)


class DocumentSql:
    """The statements of one kind of document that no queryset can say: two tables, RETURNING, IS NOT DISTINCT FROM.

    Args:
        table: Its table, which is also its kind in ``document_ids``.
        columns: What a save writes.
        touched: The column with the time of the last save, or ``None``.
        unlink: A table expression that takes links to the deleted document, ``taken``, away; ``$3`` is a fresh tag.
    """

    def __init__(self, table: str, columns: Sequence[str], touched: str | None = None, unlink: str = "") -> None:
        names = ", ".join(columns)
        placed = [f"${number}" for number in range(3, len(columns) + 3)]
        self.insert: Final = (
            "WITH taken AS ("
            "INSERT INTO document_ids (user_id, kind, id) "
            f"SELECT $2, '{table}', $1 WHERE NOT EXISTS (SELECT FROM {table} WHERE id = $1) "
            "ON CONFLICT DO NOTHING RETURNING user_id, id) "
            f"INSERT INTO {table} (id, user_id, {names}) SELECT id, user_id, {', '.join(placed)} FROM taken "
            "ON CONFLICT (id) DO NOTHING RETURNING version"
        )
        # The clock, not the transaction's beginning: a transaction that began early may save last.
        touch = f", {touched} = clock_timestamp()" if touched else ""
        self.raised: Final = f"version = version + 1{touch}"
        assigned = ", ".join(f"{column} = ${number}" for number, column in enumerate(columns, start=4))
        self.update: Final = (
            f"UPDATE {table} SET {assigned}, {self.raised} "
            "WHERE id = $1 AND user_id = $2 AND version = $3 RETURNING version"
        )
        same = " AND ".join(f"{column} IS NOT DISTINCT FROM ${number}" for number, column in enumerate(columns, 4))
        self.equal: Final = f"SELECT FROM {table} WHERE id = $1 AND user_id = $2 AND version = $3 AND {same}"
        # DO UPDATE, not DO NOTHING: as in users.py.
        self.delete: Final = (
            "WITH known AS ("
            f"SELECT user_id, id FROM {table} WHERE id = $1 AND ($2::uuid IS NULL OR user_id = $2) "
            "UNION SELECT id, $1::uuid FROM users WHERE id = $2), "
            "taken AS ("
            "INSERT INTO document_ids (user_id, kind, id, deleted_at) "
            f"SELECT user_id, '{table}', id, CURRENT_TIMESTAMP FROM known "
            "ON CONFLICT (user_id, kind, id) DO UPDATE "
            "SET deleted_at = COALESCE(document_ids.deleted_at, EXCLUDED.deleted_at) RETURNING user_id, id)"
            f"{',' if unlink else ''} {unlink} "
            f"DELETE FROM {table} d USING taken WHERE d.id = taken.id AND d.user_id = taken.user_id RETURNING d.id"
        )
        self.has_links: Final = bool(unlink)


class DocumentRepository(Repository[M], Generic[M, S, V]):
    """What experiments and gene sets have in common: they are documents that are saved as a whole."""

    sql: ClassVar[DocumentSql]
    listing: ClassVar[Listing[Any]]
    save_type: ClassVar[type[DocumentSave]]

    _versions: ClassVar[Prepared[Any]]
    _many: ClassVar[Prepared[Any]]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls._versions = Prepared(
            lambda identity, user_id: cls.model.filter(pk=identity, user_id=user_id).values("version")
        )
        cls._many = Prepared(lambda ids, user_id: cls.model.filter(Condition("id = ANY ({})", ids), user_id=user_id))

    async def write(self, save: S, *, version: int = 0) -> int:
        """Save a document that is described already; return its new version. One small read more when it is refused.

        Without a session it is durable then.

        Args:
            save: The document.
            version: The version that the caller has seen; 0 for a new document.

        Raises:
            StaleVersionError: The stored version is another one; nothing was changed.
            NotFoundError: Also for a document that was deleted, or was never there.
            OutcomeUnknownError: Without a session, the answer was lost; `is_written` tells once the database answers,
                and so does the version that is read back.
        """
        self._check_save(save)
        seen = integer(version, "version", 0, limits.INT32_MAX)
        self._refuse_other_owner(save.user_id)
        client = await self._client()
        if seen:
            rows = await client.execute_rows(self.sql.update, [save.id, save.user_id, seen, *save.values()])
        else:
            rows = await client.execute_rows(self.sql.insert, [save.id, save.user_id, *save.values()])
        if rows:
            new: int = rows[0]["version"]
            return new
        if await self.get_version(save.id, user_id=save.user_id) is None:
            raise NotFoundError(self.entity)
        raise StaleVersionError(self.entity)

    async def is_written(self, save: S, *, version: int) -> bool:
        """Whether the stored document has a version and is equal to a save: after an `OutcomeUnknownError`.

        Compared in the database; ``False`` also where there is no such document.

        Args:
            save: What was to be saved.
            version: The version that it would have now, one more than the one that was seen.
        """
        self._check_save(save)
        reached = integer(version, "version", 1, limits.INT32_MAX)
        self._refuse_other_owner(save.user_id)
        values = [save.id, save.user_id, reached, *save.values()]
        return bool(await (await self._client()).execute_rows(self.sql.equal, values))

    def _check_save(self, save: object) -> None:
        if not isinstance(save, self.save_type):
            raise InvalidInputError("save", f"a {self.save_type.__name__} is needed")

    async def get_version(self, id: UUID | str, *, user_id: UUID | str) -> int | None:  # noqa: A002
        """The version of a document, to be passed to the next save."""
        wanted = {"identity": self._identity(id), "user_id": self._whose(user_id)}
        row = await self._versions.first(await self._client(), **wanted)
        return None if row is None else row["version"]

    async def get_many(self, ids: Sequence[UUID | str], *, user_id: UUID | str) -> list[M]:
        """Read many with their documents: those that exist and are this user's, in the given order, each once.

        Args:
            ids: The documents, `limits.DOCUMENT_IDS` at most.
        """
        if isinstance(ids, str | bytes) or not isinstance(ids, Sequence) or len(ids) > limits.DOCUMENT_IDS:
            raise InvalidInputError("ids", f"a list of {limits.DOCUMENT_IDS} ids at most is needed")
        wanted = list(dict.fromkeys(self._identity(item, f"ids[{index}]") for index, item in enumerate(ids)))
        rows = await self._many.all(await self._client(), ids=wanted, user_id=self._whose(user_id))
        found = {row.pk: row for row in rows}
        return [found[identity] for identity in wanted if identity in found]

    async def page_summaries(
        self, user_id: UUID | str, site_id: str | None = None, *, cursor: str | None = None, limit: int = 50
    ) -> "Page[V]":
        """One page of the user's, without documents: experiments the last saved first, gene sets the newest first."""
        return await self._page(self.listing, cursor, limit, user_id, site_id=site_or_none(site_id))

    def iterate_summaries(self, user_id: UUID | str, site_id: str | None = None) -> AsyncIterator[V]:
        """All of the user's, in the order of `page_summaries`; one read for each `limits.PAGE` of them."""
        return iterate(lambda cursor, limit: self.page_summaries(user_id, site_id, cursor=cursor, limit=limit))

    async def iterate(self, user_id: UUID | str, site_id: str | None = None) -> AsyncIterator[M]:
        """All of the user's, with their documents; one read for each `limits.DOCUMENTS` of them.

        No more than these are in memory at once, however many there are. In the order of `page_summaries`: what is
        saved meanwhile may move to the part that was read already.
        """
        values, cursor = {"user_id": self._whose(user_id), "site_id": site_or_none(site_id)}, None
        while True:
            rows, cursor = await self.listing.entire(await self._client(), cursor, limits.DOCUMENTS, **values)
            for row in rows:
                yield row
            if cursor is None:
                return

    async def _page(
        self, listing: Listing[Any], cursor: str | None, limit: int, user_id: UUID | str, **values: object
    ) -> "Page[V]":
        user = self._whose(user_id)
        return await listing.page(await self._client(), cursor, limit, user_id=user, **values)

    async def delete(self, id: UUID | str) -> bool:  # noqa: A002
        """Delete a document for good: no save brings it back. One statement; two when there was none.

        Restricted to a user, it also closes an id that the user has not saved yet: a first save that is still on its
        way is then refused.
        """
        values = [self._identity(id), self._owner, *([new_tag()] if self.sql.has_links else [])]
        client = await self._client()
        # A first save that was under way has committed while the first statement waited for its id: the second
        # one sees the document.
        return bool(
            await client.execute_rows(self.sql.delete, values) or await client.execute_rows(self.sql.delete, values)
        )
