"""What all repositories share: the session, the owner, and the read by id."""

import copy
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from typing import Any, ClassVar, Final, Generic, Self, TypeVar
from uuid import UUID, uuid4

from tortoise.expressions import Q
from tortoise.models import Model
from tortoise.queryset import QuerySet

from veupath_store.engine.races import despite_deadlocks, once_unique
from veupath_store.engine.statements import Statements
from veupath_store.errors import NotFoundError, StaleVersionError, StoreError
from veupath_store.inputs import limits
from veupath_store.inputs.validation import as_uuid, text
from veupath_store.repositories.queries import Prepared
from veupath_store.session import async_session_factory, get_engine
from veupath_store.session.unit_of_work import Session
from veupath_store.values import GeneMatch

M = TypeVar("M", bound=Model)
T = TypeVar("T")

GENE_OPERATOR: Final = {GeneMatch.ANY: "?|", GeneMatch.ALL: "?&"}
"""How a jsonb array of gene ids is asked for an array of them; answered by a GIN index with jsonb_ops."""


async def client_of(session: Session | None) -> Statements:
    """The session's client, or the pool."""
    return session.client if session is not None else await get_engine().open()


def site_or_none(site_id: str | None, longest: int = limits.SITE_ID) -> str | None:
    """A site, checked; ``None`` for all sites."""
    return None if site_id is None else text(site_id, "site_id", longest)


class Repository(Generic[M]):
    """Reads and writes of one entity.

    A repository holds no state of its own: it is cheap to make and may be thrown away. With a session, all its
    statements are part of that unit of work, and it never commits; without one, each statement is its own.
    Made by itself it sees every user's rows, which is for jobs; request code uses `for_user`.

    What holds for every call is said here only; each says what else it does.

    * A row that is not there and one that is another user's look exactly alike: what reads one returns ``None``, what
      reads several returns nothing of it, `delete` returns whether there was one, and all else raises `NotFoundError`.
    * A call is one statement unless it says otherwise. A list is read in the order of an index, or found by one, at a
      cost that does not grow with the table; a summary never reads a document that it does not show.
    * An iterator raises while iterating; without a session no connection is held between two of its reads.

    ``id``, ``stream_id``, ``operation_id``, ``experiment_id``, ``gene_set_id``: which row, a `UUID` or its text.
    ``user_id``: the owner. ``site_id``: the site; ``None``, where it may be, for all sites. ``lease``: the lease under
    which a job runs. ``limit``: how many at most, 1 to `limits.PAGE`. ``cursor``: `Page.next_cursor` of the page
    before, ``None`` for the first page. What is a field of a summary, a patch or a save means what it means there.

    Raises:
        InvalidInputError: An argument is refused, before any SQL: an id that is no UUID, a cursor of another list.
        NotFoundError: There is no such user to write for, or the repository is restricted to another one.
        UnavailableError: The database does not answer; nothing was changed, and the call may be repeated.
        OutcomeUnknownError: Without a session, the answer to a write was lost: read before it is repeated.
    """

    model: ClassVar[type[Model]]
    entity: ClassVar[str]
    owner_column: ClassVar[str] = "user_id"

    _by_id: ClassVar[Prepared[Any]]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls._by_id = Prepared(
            lambda identity, owner=None: cls.model.filter(cls._readable_by(owner), pk=identity).limit(1)
        )

    def __init__(self, session: Session | None = None) -> None:
        self._session = session
        self._owner: UUID | None = None

    def for_user(self, user_id: UUID | str) -> Self:
        """The same repository on the same session, with every read and write restricted to one user's rows in SQL."""
        scoped = copy.copy(self)
        scoped._owner = as_uuid(user_id, "user_id")
        return scoped

    async def get_by_id(self, id: UUID | str) -> M | None:  # noqa: A002 - the entity's own word
        """Read one by its id."""
        identity = self._identity(id)
        return await self._by_id.first(await self._client(), identity=identity, owner=self._owner)

    @classmethod
    def _identity(cls, value: object, path: str = "id") -> UUID:
        """The id of one of the entity's rows, checked."""
        return as_uuid(value, path)

    async def _in_unit(self, work: Callable[["Session"], Awaitable[T]]) -> T:
        """Run several statements as one unit of work: the caller's, or one that is repeated when it deadlocks."""
        if self._session is not None:
            return await work(self._session)

        async def unit() -> T:
            async with async_session_factory() as session:
                return await work(session)

        return await despite_deadlocks(unit)

    async def _client(self) -> Statements:
        """The session's client, or the pool."""
        return await client_of(self._session)

    async def _entire(self, sql: str, values: Sequence[Any], model: type[Model] | None = None) -> list[Any]:
        """Run a statement that returns entire rows of a model, whose columns stand where it says ``{columns}``.

        By their names, never as ``*``: what a connection has prepared once would fail inside a transaction as soon as
        a migration adds a column.
        """
        client = await self._client()  # first: without it, a model does not know its foreign keys' columns
        columns = (model or self.model)._meta.fields_db_projection.values()
        return await client.execute_rows(sql.format(columns=", ".join(columns)), values)

    async def _own_rows(self) -> QuerySet[Any]:
        """The rows that this repository may change."""
        client = await self._client()  # first: without it, a model has no connection and cannot make a query
        return self.model.filter(self._owned_by(self._owner)).using_db(client)

    async def _refusal(self, identity: UUID) -> StoreError:
        """Why an UPDATE that is guarded by a version found no row."""
        rows = await self._own_rows()
        return StaleVersionError(self.entity) if await rows.filter(pk=identity).exists() else NotFoundError(self.entity)

    @classmethod
    def _owned_by(cls, owner: UUID | None) -> Q:
        """A user's rows; everybody's for ``None``."""
        only: dict[str, Any] = {} if owner is None else {cls.owner_column: owner}
        return Q(**only)

    @classmethod
    def _readable_by(cls, owner: UUID | None) -> Q:
        """What a user may see; more than they may change where something is public."""
        return cls._owned_by(owner)

    def _whose(self, user_id: UUID | str) -> UUID:
        """The user whose rows are read; somebody without any where the repository is restricted to another one."""
        user = as_uuid(user_id, "user_id")
        return user if self._owner in (None, user) else uuid4()

    def _refuse_other_owner(self, owner: UUID | str | None) -> None:
        """What is written is the restricted user's own; for anybody else it looks as if there were no such user."""
        if self._owner is not None and owner != self._owner:
            raise NotFoundError("user")

    async def _once_unique(self, write: Callable[[], Awaitable[T]], constraints: frozenset[str]) -> T:
        """`once_unique`, in a savepoint where there is a session."""
        return await once_unique(write, constraints, self._session.savepoint if self._session else nullcontext)
