"""Users."""

from collections.abc import Sequence
from typing import ClassVar, Final
from uuid import UUID, uuid4

from veupath_store import limits
from veupath_store.errors import NotFoundError
from veupath_store.events.keys import LogKey
from veupath_store.models import User
from veupath_store.repositories.hydration import instances
from veupath_store.repositories.prepared import PreparedFor
from veupath_store.repositories.recording import Recording
from veupath_store.validation import as_uuid, optional_text, text
from veupath_store.values import SYSTEM_USER_ID

# The user's row is locked by a statement of its own, so that no conversation is added meanwhile, and the next statement
# sees those whose creation this one has waited for.
_LOCK: Final = "SELECT 1 FROM users WHERE id = $1 AND ($2::uuid IS NULL OR id = $2) FOR UPDATE"
_LOGS: Final = """
SELECT ARRAY (SELECT s.id FROM streams s WHERE s.user_id = $1) AS streams,
       ARRAY (SELECT o.id FROM operations o WHERE o.user_id = $1
              AND (o.stream_id IS NULL OR substr(o.id::text, 15, 1) = '5')) AS operations"""


class OwnerOfLogs(Recording[User]):
    """A repository of users; deleting one deletes the logs of all that is theirs."""

    model = User
    entity = "user"
    owner_column: ClassVar[str] = "id"

    async def _logs_of(self, identity: UUID) -> Sequence[LogKey]:
        client = await self._client()
        if not await client.execute_rows(_LOCK, [identity, self._owner]):
            return []
        row = (await client.execute_rows(_LOGS, [identity]))[0]
        return [*map(LogKey.stream, row["streams"]), *map(LogKey.operation, row["operations"])]


_BY_LOGIN: Final = PreparedFor[User](
    lambda owner, login: User.filter(OwnerOfLogs._owned_by(owner), external_id=login).limit(1), login=str
)


class UserRepository(OwnerOfLogs):
    """Reads and writes of users. Deleting one deletes what is theirs; their public control sets stay, ownerless."""

    async def get_or_create(self, user_id: UUID | str) -> User:
        """The user with this id, made if need be; race-free. On every authenticated request.

        One indexed read that writes nothing for a known user; one upsert more for a new one.

        Args:
            user_id: The id.

        Returns:
            The user.

        Raises:
            InvalidInputError: The id is no UUID.
            NotFoundError: The repository is restricted to another user.
            UnavailableError: The database does not answer.
            OutcomeUnknownError: Without a session, the answer to the upsert was lost; repeat the call.
        """
        identity = as_uuid(user_id, "user_id")
        self._refuse_other(identity)
        return await self.get_by_id(identity) or await self._upsert("id", identity, None)

    async def get_or_create_by_external_id(self, external_id: str) -> User:
        """The user with this login, made (with a new id) if need be; race-free.

        One indexed read that writes nothing for a known user; one upsert more for a new one.

        Args:
            external_id: The login at an identity provider; compared exactly, upper and lower case told apart.

        Returns:
            The user.

        Raises:
            InvalidInputError: It is empty, too long, or holds characters that cannot be stored.
            NotFoundError: The repository is restricted to a user with another login.
            UnavailableError: The database does not answer.
            OutcomeUnknownError: Without a session, the answer to the upsert was lost; repeat the call.
        """
        login = text(external_id, "external_id", limits.EXTERNAL_ID)
        known = await _BY_LOGIN.first(await self._client(), self._owner, login=login)
        if known is not None:
            return known
        if self._owner is not None:
            raise NotFoundError(self.entity)
        return await self._upsert("external_id", uuid4(), login)

    async def get_system_user(self) -> User:
        """The application's own user, with the fixed id `SYSTEM_USER_ID`, made if need be.

        One indexed read where it exists; one upsert more to make it.

        Returns:
            The user.

        Raises:
            NotFoundError: The repository is restricted to another user.
            UnavailableError: The database does not answer.
            OutcomeUnknownError: Without a session, the answer to the upsert was lost; repeat the call.
        """
        return await self.get_or_create(SYSTEM_USER_ID)

    async def create(self, external_id: str | None = None) -> User:
        """A new user with a new id. One statement.

        Args:
            external_id: The login at an identity provider, or ``None`` for a guest.

        Returns:
            The user.

        Raises:
            ConflictError: The login is another user's (``users_external_id_key``).
            InvalidInputError: It is empty, too long, or holds characters that cannot be stored.
            NotFoundError: The repository is restricted to one user, who cannot make others.
            UnavailableError: The database does not answer; nothing was saved.
            OutcomeUnknownError: Without a session, the answer was lost.
        """
        login = optional_text(external_id, "external_id", limits.EXTERNAL_ID)
        if login is not None:
            text(login, "external_id", limits.EXTERNAL_ID)
        identity = uuid4()
        self._refuse_other(identity)
        return await User.create(id=identity, external_id=login, using_db=await self._client())

    async def _upsert(self, key: str, identity: UUID, login: str | None) -> User:
        # DO UPDATE, not DO NOTHING: under synchronous replication DO NOTHING acknowledges a row that another
        # session wrote and that the standby may not have; it would also return no row.
        client = await self._client()
        rows = await client.execute_rows(
            f"INSERT INTO users (id, external_id) VALUES ($1, $2) "
            f"ON CONFLICT ({key}) DO UPDATE SET {key} = EXCLUDED.{key} RETURNING id, external_id, created_at",
            [identity, login],
        )
        return instances(User, rows)[0]

    def _refuse_other(self, identity: UUID) -> None:
        if self._owner is not None and self._owner != identity:
            raise NotFoundError(self.entity)
