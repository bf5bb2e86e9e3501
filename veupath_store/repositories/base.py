"""What all repositories share: the session, the owner, and the two calls that every entity has."""

import copy
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from typing import Any, ClassVar, Generic, Self, TypeVar
from uuid import UUID

from tortoise.expressions import Q
from tortoise.models import Model
from tortoise.queryset import QuerySet

from veupath_store.engine.statements import Statements
from veupath_store.errors import NotFoundError
from veupath_store.races import once_unique
from veupath_store.repositories.prepared import PreparedFor
from veupath_store.session import get_engine
from veupath_store.unit_of_work import Session
from veupath_store.validation import as_uuid

M = TypeVar("M", bound=Model)
T = TypeVar("T")


class Repository(Generic[M]):
    """Reads and writes of one entity.

    A repository holds no state of its own: it is cheap to make and may be thrown away. With a session, all its
    statements are part of that unit of work, and it never commits; without one, each statement is its own.
    Made by itself it sees every user's rows, which is for jobs; request code uses `for_user`.
    """

    model: ClassVar[type[Model]]
    entity: ClassVar[str]
    owner_column: ClassVar[str] = "user_id"

    _by_id: ClassVar[PreparedFor[Any]]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls._by_id = PreparedFor(
            lambda owner, identity: cls.model.filter(cls._readable_by(owner), pk=identity).limit(1), identity=UUID
        )

    def __init__(self, session: Session | None = None) -> None:
        self._session = session
        self._owner: UUID | None = None

    def for_user(self, user_id: UUID | str) -> Self:
        """The same repository, with every read and write restricted to one user's rows in SQL.

        Another user's id then looks exactly like one that does not exist.

        Args:
            user_id: The user.

        Returns:
            A new repository on the same session.

        Raises:
            InvalidInputError: The id is no UUID.
        """
        scoped = copy.copy(self)
        scoped._owner = as_uuid(user_id, "user_id")
        return scoped

    async def get_by_id(self, id: UUID | str) -> M | None:  # noqa: A002 - the entity's own word
        """Read one by its id. One indexed read.

        Args:
            id: Its id.

        Returns:
            The row, or ``None`` when there is none, or it is not this user's.

        Raises:
            InvalidInputError: The id is no UUID.
            UnavailableError: The database does not answer.
        """
        identity = self._identity(id)
        return await self._by_id.first(await self._client(), self._owner, identity=identity)

    async def delete(self, id: UUID | str) -> bool:  # noqa: A002
        """Delete one, with all that belongs to it. One statement.

        Args:
            id: Its id.

        Returns:
            Whether there was one; ``False`` also when it is not this user's.

        Raises:
            InvalidInputError: The id is no UUID.
            UnavailableError: The database does not answer; nothing was deleted.
            OutcomeUnknownError: Without a session, the answer was lost.
        """
        rows: QuerySet[M] = await self._own_rows()
        return await rows.filter(pk=self._identity(id)).delete() > 0

    @classmethod
    def _identity(cls, value: object, path: str = "id") -> UUID:
        """The id of one of the entity's rows, checked."""
        return as_uuid(value, path)

    async def _client(self) -> Statements:
        """The session's client, or the pool."""
        return self._session.client if self._session is not None else await get_engine().open()

    async def _entire(self, sql: str, values: Sequence[Any], **more: str) -> list[Any]:
        """Run a statement that returns entire rows of the model, whose columns stand where it says ``{columns}``.

        By their names, never as ``*``: what a connection has prepared once would fail inside a transaction as soon as
        a migration adds a column.
        """
        client = await self._client()  # first: without it, a model does not know its foreign keys' columns
        return await client.execute_rows(
            sql.format(columns=", ".join(self.model._meta.fields_db_projection.values()), **more), values
        )

    async def _own_rows(self) -> QuerySet[Any]:
        """The rows that this repository may change."""
        client = await self._client()  # first: without it, a model has no connection and cannot make a query
        return self.model.filter(self._owned_by(self._owner)).using_db(client)

    @classmethod
    def _owned_by(cls, owner: UUID | None) -> Q:
        """A user's rows; everybody's for ``None``."""
        only: dict[str, Any] = {} if owner is None else {cls.owner_column: owner}
        return Q(**only)

    @classmethod
    def _readable_by(cls, owner: UUID | None) -> Q:
        """What a user may see; more than they may change where something is public."""
        return cls._owned_by(owner)

    def _refuse_other_owner(self, owner: UUID | None) -> None:
        """What is written is the restricted user's own; for anybody else it looks as if there were no such user."""
        if self._owner is not None and owner != self._owner:
            raise NotFoundError("user")

    async def _once_unique(self, write: Callable[[], Awaitable[T]], constraints: frozenset[str]) -> T:
        """`once_unique`, in a savepoint where there is a session."""
        return await once_unique(write, constraints, self._session.savepoint if self._session else nullcontext)
