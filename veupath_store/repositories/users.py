"""Users."""

from typing import ClassVar, Final
from uuid import UUID, uuid4

from tortoise.models import Model

from veupath_store.errors import NotFoundError
from veupath_store.inputs import limits
from veupath_store.inputs.validation import as_uuid, text
from veupath_store.models import User
from veupath_store.models.deletions import DELETE_USER
from veupath_store.repositories.base import Repository
from veupath_store.repositories.queries import Prepared, instances
from veupath_store.session.unit_of_work import Session
from veupath_store.values import SYSTEM_USER_ID

# Several tables, which no queryset writes at once. The user's row is locked by a statement before, so that no
# conversation is added meanwhile, and the next statement sees those whose creation this one has waited for.
_LOCK: Final = "SELECT 1 FROM users WHERE id = $1 AND ($2::uuid IS NULL OR id = $2) FOR UPDATE"
_LOGIN_KEY: Final = "users_external_id_key"
# Tortoise's ON CONFLICT returns no row. A login that is there stays. DO UPDATE, not DO NOTHING: under synchronous
# replication DO NOTHING acknowledges a row that another session wrote and that the standby may not have; it would also
# return no row.
_UPSERT: Final = """
INSERT INTO users (id, external_id) VALUES ($1, $2)
ON CONFLICT ({key}) DO UPDATE SET external_id = COALESCE(users.external_id, EXCLUDED.external_id)
RETURNING {{columns}}"""
_UPSERT_ID: Final = _UPSERT.format(key="id")
_UPSERT_LOGIN: Final = _UPSERT.format(key="external_id")
_BY_LOGIN: Final = Prepared[User](
    lambda login, owner=None: User.filter(UserRepository._owned_by(owner), external_id=login).limit(1)
)


class UserRepository(Repository[User]):
    """Reads and writes of users. Deleting one deletes what is theirs; their public control sets stay, ownerless.

    A call that makes a user if need be, and whose answer was lost (`OutcomeUnknownError`), is to be repeated.
    """

    model: ClassVar[type[Model]] = User
    entity: ClassVar[str] = "user"
    owner_column: ClassVar[str] = "id"

    async def get_or_create(self, user_id: UUID | str, *, external_id: str | None = None) -> User:
        """The user with this id, made if need be; race-free. On every authenticated request.

        With a login, too, the account of both: somebody who came as a guest, by the id of a cookie, and logs in then.
        A login without a user becomes the guest's own, for good. One that has a user is that user: so it is
        everywhere that it is used. What the guest has made meanwhile stays the guest's; nothing is moved. An id that
        has another login is not handed over: the login gets an account of its own. So look at the returned id, which
        may be another one than the cookie's.

        One indexed read that writes nothing for a known user, or login; one upsert more for a new one, two where the
        id has another login.

        Args:
            external_id: The login at an identity provider, or ``None`` for the user of the id alone.

        Raises:
            NotFoundError: The repository is restricted to another user, or the login is not its user's.
        """
        identity = as_uuid(user_id, "user_id")
        login = _login(external_id)
        self._refuse_other_owner(identity)
        if login is None:
            return await self.get_by_id(identity) or await self._upsert(_UPSERT_ID, identity, None)
        user = await self._once_unique(lambda: self._of_both(identity, login), frozenset({_LOGIN_KEY}))
        self._refuse_other_owner(user.id)
        return user

    async def _of_both(self, identity: UUID, login: str) -> User:
        """One try; a conflict where somebody else gets the login meanwhile."""
        known = await _BY_LOGIN.first(await self._client(), login=login)
        if known is not None:
            return known
        user = await self._upsert(_UPSERT_ID, identity, login)
        if user.external_id == login:
            return user
        self._refuse_other_owner(uuid4())  # the id has another login, and this one gets a user of its own
        return await self._upsert(_UPSERT_LOGIN, uuid4(), login)

    async def get_or_create_by_external_id(self, external_id: str) -> User:
        """The user with this login, made (with a new id) if need be; race-free.

        One indexed read that writes nothing for a known user; one upsert more for a new one.

        Args:
            external_id: The login at an identity provider; compared exactly, upper and lower case differ.

        Raises:
            NotFoundError: The repository is restricted to a user with another login.
        """
        login = text(external_id, "external_id", limits.EXTERNAL_ID)
        known = await _BY_LOGIN.first(await self._client(), login=login, owner=self._owner)
        if known is not None:
            return known
        if self._owner is not None:
            raise NotFoundError(self.entity)
        return await self._upsert(_UPSERT_LOGIN, uuid4(), login)

    async def get_system_user(self) -> User:
        """The application's own user, with the fixed id `SYSTEM_USER_ID`, made if need be, as by `get_or_create`."""
        return await self.get_or_create(SYSTEM_USER_ID)

    async def create(self, external_id: str | None = None) -> User:
        """A new user with a new id.

        Args:
            external_id: The login at an identity provider, or ``None`` for a guest.

        Raises:
            ConflictError: The login is another user's (``users_external_id_key``).
            NotFoundError: The repository is restricted to one user, who cannot make others.
        """
        login, identity = _login(external_id), uuid4()
        self._refuse_other_owner(identity)
        return await User.create(id=identity, external_id=login, using_db=await self._client())

    async def delete(self, id: UUID | str) -> bool:  # noqa: A002 - the entity's own word
        """Delete a user, with all that is theirs. Two statements, in a unit of work.

        Public control sets stay, without an owner. Where there is an event log, what is in it of theirs is removed soon
        after the commit.
        """
        identity = self._identity(id)

        async def delete(session: Session) -> bool:
            if not await session.client.execute_rows(_LOCK, [identity, self._owner]):
                return False
            await session.client.execute_query(DELETE_USER, [identity])
            return True

        return await self._in_unit(delete)

    async def _upsert(self, sql: str, identity: UUID, login: str | None) -> User:
        return instances(User, await self._entire(sql, [identity, login]))[0]


def _login(external_id: str | None) -> str | None:
    return None if external_id is None else text(external_id, "external_id", limits.EXTERNAL_ID)
