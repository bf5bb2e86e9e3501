"""What all repositories share: the session, the owner, and the two calls that every entity has."""

import copy
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, Final, Generic, Self, TypeVar
from uuid import UUID

from tortoise.expressions import Q
from tortoise.models import Model
from tortoise.queryset import QuerySet

from veupath_store.engine.statements import Statements
from veupath_store.errors import ConflictError, NotFoundError
from veupath_store.session import Session, get_engine
from veupath_store.validation import as_uuid

M = TypeVar("M", bound=Model)
T = TypeVar("T")

NAME_KEY: Final = "stream_projections_name_key"
WDK_KEY: Final = "stream_projections_wdk_key"

ATTEMPTS: Final = 200
"""How often a write that lost a race for a unique value is repeated. Of n writers that race for one value one wins
each round, so that n rounds are enough (tests/integration/test_stream_names.py races 50)."""


class Repository(Generic[M]):
    """Reads and writes of one entity.

    A repository holds no state of its own: it is cheap to make and may be thrown away. With a session, all its
    statements are part of that unit of work, and it never commits; without one, each statement is its own.
    Made by itself it sees every user's rows, which is for jobs; request code uses `for_user`.
    """

    model: ClassVar[type[Model]]
    entity: ClassVar[str]
    owner_column: ClassVar[str] = "user_id"

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
        rows: QuerySet[M] = await self._rows(self._readable())
        return await rows.filter(pk=as_uuid(id, "id")).first()

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
        rows: QuerySet[M] = await self._rows(self._writable())
        return await rows.filter(pk=as_uuid(id, "id")).delete() > 0

    async def _client(self) -> Statements:
        """The session's client, or the pool."""
        return self._session.client if self._session is not None else await get_engine().open()

    async def _rows(self, restriction: Q) -> QuerySet[Any]:
        client = await self._client()  # first: without it, a model has no connection and cannot make a query
        return self.model.filter(restriction).using_db(client)

    def _writable(self) -> Q:
        """The rows that this repository may change."""
        if self._owner is None:
            return Q()
        only: dict[str, Any] = {self.owner_column: self._owner}
        return Q(**only)

    def _readable(self) -> Q:
        """The rows that this repository may see; more than it may change where something is public."""
        return self._writable()

    def _refuse_other_owner(self, owner: UUID | None) -> None:
        """What is written is the restricted user's own; for anybody else it looks as if there were no such user."""
        if self._owner is not None and owner != self._owner:
            raise NotFoundError("user")

    async def _once_unique(self, write: Callable[[], Awaitable[T | None]], constraints: frozenset[str]) -> T | None:
        """Repeat a write that chose a free value until no concurrent writer has taken it first.

        Args:
            write: Chooses a value and writes it.
            constraints: The unique constraints that may be violated meanwhile.

        Returns:
            What `write` returned.

        Raises:
            ConflictError: Another constraint was violated, or `ATTEMPTS` tries all lost.
        """
        attempt = 0
        while True:
            attempt += 1
            try:
                if self._session is None:
                    return await write()
                async with self._session.savepoint():
                    return await write()
            except ConflictError as exc:
                if exc.constraint not in constraints or attempt == ATTEMPTS:
                    raise
