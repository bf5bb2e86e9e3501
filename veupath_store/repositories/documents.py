"""What experiments and gene sets have in common: saves with a version, and ids that are used once.

Three rules, each kept by one statement:

* A save names the version that the caller has seen. ``UPDATE … WHERE version = $3`` lets one of several savers of the
  same version through; the others are told (`StaleVersionError`).
* A first save (version 0) takes its id in ``document_ids`` and inserts only if that worked. The id stays taken when
  the document is deleted, so that a save that comes late finds neither a row to update nor an id to take.
* A delete takes the id too, before it deletes. It thereby waits for a first save that is under way, and closes the id
  also where no save has arrived yet.

The primary key of ``document_ids`` is what decides. A table of tombstones, written by deletes and looked up by first
saves, leaves a gap: a first save that began before the document was made and deleted sees neither the row nor the
tombstone, and brings the document back (tests/integration/test_document_races.py plays that).
"""

from collections.abc import Sequence
from typing import ClassVar, Final, Generic, TypeVar
from uuid import UUID

from tortoise.models import Model

from veupath_store import limits
from veupath_store.errors import InvalidInputError, NotFoundError, StaleVersionError
from veupath_store.repositories.base import Repository
from veupath_store.validation import as_uuid, integer
from veupath_store.values import DocumentSave

M = TypeVar("M", bound=Model)
S = TypeVar("S", bound=DocumentSave)


class DocumentSql:
    """The statements of one kind of document, built from constants.

    Args:
        table: Its table, which is also its kind in ``document_ids``.
        columns: What a save writes.
        touched: The column with the time of the last save, or ``None``.
    """

    def __init__(self, table: str, columns: Sequence[str], touched: str | None = None) -> None:
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
        # DO UPDATE, not DO NOTHING: see UserRepository._upsert.
        self.delete: Final = (
            "WITH known AS ("
            f"SELECT user_id, id FROM {table} WHERE id = $1 AND ($2::uuid IS NULL OR user_id = $2) "
            "UNION SELECT id, $1::uuid FROM users WHERE id = $2), "
            "taken AS ("
            "INSERT INTO document_ids (user_id, kind, id, deleted_at) "
            f"SELECT user_id, '{table}', id, CURRENT_TIMESTAMP FROM known "
            "ON CONFLICT (user_id, kind, id) DO UPDATE "
            "SET deleted_at = COALESCE(document_ids.deleted_at, EXCLUDED.deleted_at) RETURNING user_id, id) "
            f"DELETE FROM {table} d USING taken WHERE d.id = taken.id AND d.user_id = taken.user_id RETURNING d.id"
        )
        self.version: Final = f"SELECT version FROM {table} WHERE id = $1 AND user_id = $2"


class DocumentRepository(Repository[M], Generic[M, S]):
    """The part of `ExperimentRepository` and `GeneSetRepository` that saves and deletes."""

    sql: ClassVar[DocumentSql]
    save_type: ClassVar[type[DocumentSave]]

    async def write(self, save: S, *, version: int = 0) -> int:
        """Save a document that is described already. One statement; one small read more when it is refused.

        Args:
            save: The document.
            version: The version that the caller has seen; 0 for a new document.

        Returns:
            The version that it has now. Without a session it is durable.

        Raises:
            StaleVersionError: The stored version is another one; nothing was changed.
            NotFoundError: The document was deleted, was never there, or is somebody else's; or there is no such
                user, or the repository is restricted to another one.
            InvalidInputError: The version is no version, or the description is not of such a document.
            UnavailableError: The database does not answer; nothing was saved.
            OutcomeUnknownError: Without a session, the answer was lost; `is_written` tells once the database answers.
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

        One indexed read, which compares in the database.

        Args:
            save: What was to be saved.
            version: The version that it would have now, one more than the one that was seen.

        Returns:
            Whether it is.

        Raises:
            InvalidInputError: The version is no version, or the description is not of such a document.
            UnavailableError: The database does not answer.
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
        """The version of a document, to be passed to the next save. One indexed read.

        Args:
            id: The document.
            user_id: Its owner.

        Returns:
            The version, or ``None`` when there is none, or it is not this user's.

        Raises:
            InvalidInputError: An id is no UUID.
            UnavailableError: The database does not answer.
        """
        owner = as_uuid(user_id, "user_id")
        values = [self._identity(id), owner]
        if self._owner is not None and owner != self._owner:
            return None
        rows = await (await self._client()).execute_rows(self.sql.version, values)
        return rows[0]["version"] if rows else None

    async def delete(self, id: UUID | str) -> bool:  # noqa: A002
        """Delete a document for good: no save brings it back. One statement; two when there was none.

        Restricted to a user, it also closes an id that the user has not saved yet: a first save that is still on its
        way is then refused.

        Args:
            id: The document.

        Returns:
            Whether there was one; ``False`` also when it is not this user's.

        Raises:
            InvalidInputError: The id is no UUID.
            UnavailableError: The database does not answer; nothing was deleted.
            OutcomeUnknownError: Without a session, the answer was lost; repeat the call.
        """
        values = [self._identity(id), self._owner]
        client = await self._client()
        # A first save that was under way has committed while the first statement waited for its id: the second
        # one sees the document.
        return bool(
            await client.execute_rows(self.sql.delete, values) or await client.execute_rows(self.sql.delete, values)
        )
