"""Conversations: streams and their projections."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID, uuid4

from tortoise.expressions import Q

from veupath_store import limits
from veupath_store.errors import ConflictError, NotFoundError
from veupath_store.events.keys import LogKey
from veupath_store.events.old_names import DERIVED
from veupath_store.models import Stream, StreamProjection
from veupath_store.names import FREE_NAME
from veupath_store.races import ATTEMPTS, NAME_KEY
from veupath_store.repositories.base import Repository
from veupath_store.repositories.prepared import PreparedFor
from veupath_store.repositories.projection_reads import SUMMARY, ProjectionReads
from veupath_store.repositories.users import UserRepository
from veupath_store.repositories.wdk_links import WdkLinks
from veupath_store.validation import as_experiment_id, as_optional_uuid, as_uuid, text
from veupath_store.values import SYSTEM_SITE_ID, SYSTEM_STREAM_ID, SYSTEM_USER_ID
from veupath_store.values.streams import DEFAULT_NAME

_EXPERIMENT_KEY: Final = "streams_experiment_key"

_NEW_PROJECTION: Final = {
    **dict.fromkeys((*SUMMARY, "plan", "wdk_event_id")),
    "is_saved": False,
    "message_count": 0,
    "step_count": 0,
    "plan": "{}",
    "gene_set_auto_imported": False,
}

# The projection goes in first, because it is the one whose name may be taken: then there is no stream either.
# Foreign keys are checked at the end of the whole statement.
_INSERT: Final = f"""
WITH RECURSIVE asked(user_id, site_id, named, base) AS (
    VALUES ($1::uuid, $2::varchar, NULL::uuid, $4::text)
), {FREE_NAME},
projection AS (
    INSERT INTO stream_projections (stream_id, user_id, site_id, name)
    SELECT $3::uuid, asked.user_id, asked.site_id, free.name FROM asked, free
    ON CONFLICT {{arbiter}} DO NOTHING
    RETURNING stream_id, user_id, site_id, name, updated_at
),
stream AS (
    INSERT INTO streams (id, user_id, site_id, experiment_id)
    SELECT stream_id, user_id, site_id, $5::uuid FROM projection
    RETURNING id, created_at
)
SELECT stream.created_at, projection.name, projection.updated_at FROM stream, projection"""
_CREATE: Final = _INSERT.format(arbiter="(user_id, site_id, name)")
_CREATE_IF_FREE: Final = _INSERT.format(arbiter="")


_BY_EXPERIMENT: Final = PreparedFor[Stream](
    lambda owner, user, experiment: Stream.filter(
        Repository._owned_by(owner), user_id=user, experiment_id=experiment
    ).limit(1),
    user=UUID,
    experiment=UUID,
)

_DERIVED: Final = f"""
SELECT id FROM operations WHERE user_id = (SELECT s.user_id FROM streams s WHERE s.id = $1)
    AND stream_id = $1 AND ($2::uuid IS NULL OR user_id = $2) AND {DERIVED}"""


class StreamRepository(ProjectionReads, WdkLinks):
    """Reads and writes of conversations.

    A name is unique within its user and site: a taken one gets `` (1)``, `` (2)``, …
    """

    model = Stream
    entity = "stream"

    async def create(
        self,
        user_id: UUID | str,
        site_id: str,
        *,
        stream_id: UUID | str | None = None,
        name: str = "",
        experiment_id: UUID | str | None = None,
    ) -> Stream:
        """A new conversation: the stream and its projection, both or neither.

        One statement, with about 2 · log2(n) index probes when n conversations have that name; one statement more
        for each concurrent writer that takes the chosen name first.

        Args:
            user_id: The owner.
            site_id: The site, as ``plasmodb``.
            stream_id: Its id; a new one by default.
            name: The wanted name; empty for `DEFAULT_NAME`.
            experiment_id: The experiment that it is about.

        Returns:
            The stream, its ``projection`` loaded; ``stream.projection.name`` is the name that it got.

        Raises:
            NotFoundError: There is no such user, or the repository is restricted to another one.
            ConflictError: The id is taken (``stream_projections_pkey``), or the experiment has a conversation
                (``streams_experiment_key``).
            InvalidInputError: An argument is refused.
            UnavailableError: The database does not answer; nothing was saved.
            OutcomeUnknownError: Without a session, the answer was lost; with a `stream_id` of yours, look for it.
        """
        values = self._new(user_id, site_id, stream_id, name, experiment_id)
        return await self._recorded(lambda inside: inside._create(values))

    async def _create(self, values: list[Any]) -> Stream:
        """Send the INSERT until it gets a name."""
        client = await self._client()
        for _ in range(ATTEMPTS):
            rows = await client.execute_rows(_CREATE, values)
            if rows:
                self._record(values[2], {"name": rows[0]["name"]}, created=True)
                return _new_stream(values, rows[0])
        raise ConflictError("Other writers took every name that was tried.", constraint=NAME_KEY)

    async def ensure(self, user_id: UUID | str, site_id: str, stream_id: UUID | str, *, name: str = "") -> Stream:
        """The user's conversation with this id, made if need be; race-free.

        One indexed read for one that exists; one statement more for a new one.

        Args:
            user_id: The owner.
            site_id: The site of a new one; an existing one keeps its own.
            stream_id: The id.
            name: The wanted name of a new one; empty for `DEFAULT_NAME`.

        Returns:
            The stream.

        Raises:
            NotFoundError: There is no such user, or the id is somebody else's: the two look alike.
            InvalidInputError: An argument is refused.
            UnavailableError: The database does not answer; nothing was saved.
            OutcomeUnknownError: Without a session, the answer was lost; repeat the call.
        """
        values = self._new(user_id, site_id, as_uuid(stream_id, "stream_id"), name, None)
        mine = Q(id=values[2], user_id=values[0])
        return await self._existing_or_new(mine, values, Q(id=values[2]))

    async def get_or_create_for_experiment(
        self, user_id: UUID | str, site_id: str, experiment_id: UUID | str, *, name: str = ""
    ) -> Stream:
        """The user's conversation about an experiment, made if need be; race-free, so that two tabs get one.

        One indexed read for one that exists; one statement more for a new one.

        Args:
            user_id: The owner.
            site_id: The site of a new one.
            experiment_id: The experiment; it need not be saved yet.
            name: The wanted name of a new one; empty for `DEFAULT_NAME`.

        Returns:
            The stream.

        Raises:
            NotFoundError: There is no such user, or the repository is restricted to another one.
            InvalidInputError: An argument is refused.
            UnavailableError: The database does not answer; nothing was saved.
            OutcomeUnknownError: Without a session, the answer was lost; repeat the call.
        """
        values = self._new(user_id, site_id, None, name, as_experiment_id(experiment_id, "experiment_id"))
        return await self._existing_or_new(Q(user_id=values[0], experiment_id=values[4]), values, None)

    async def get_system_stream(self) -> Stream:
        """The application's own conversation, with the fixed id `SYSTEM_STREAM_ID`, made if need be; race-free.

        Two indexed reads where it exists; two statements more where it and its user are made.

        Returns:
            The stream.

        Raises:
            NotFoundError: The repository is restricted to another user than the system's.
            UnavailableError: The database does not answer; nothing was saved.
            OutcomeUnknownError: Without a session, the answer was lost; repeat the call.
        """
        self._refuse_other_owner(SYSTEM_USER_ID)
        await UserRepository(self._session).get_system_user()
        return await self.ensure(SYSTEM_USER_ID, SYSTEM_SITE_ID, SYSTEM_STREAM_ID)

    async def _existing_or_new(self, wanted: Q, values: list[Any], taken: Q | None) -> Stream:
        """What is there, or what was inserted: repeated while other writers take the name or the id first.

        Args:
            wanted: Finds it among the owner's.
            values: What to insert.
            taken: Finds it among everybody's, where an id may be somebody else's.
        """
        found = await self._find(wanted)
        if found is not None:
            return found
        return await self._recorded(lambda inside: inside._found_or_inserted(wanted, values, taken))

    async def _find(self, wanted: Q) -> Stream | None:
        client = await self._client()
        return await Stream.filter(wanted).using_db(client).first()

    async def _found_or_inserted(self, wanted: Q, values: list[Any], taken: Q | None) -> Stream:
        async def find_or_insert() -> Stream | None:
            found = await self._find(wanted)
            if found is not None:
                return found
            rows = await (await self._client()).execute_rows(_CREATE_IF_FREE, values)
            if not rows:
                return None
            self._record(values[2], {"name": rows[0]["name"]}, created=True)
            return _new_stream(values, rows[0])

        for _ in range(ATTEMPTS):
            found = await self._once_unique(find_or_insert, frozenset({_EXPERIMENT_KEY}))
            if found is not None:
                return found
            if taken is not None and await Stream.filter(taken & ~wanted).using_db(await self._client()).exists():
                raise NotFoundError(self.entity)
        raise ConflictError("Other writers took every name that was tried.", constraint=NAME_KEY)

    def _new(
        self,
        user_id: UUID | str,
        site_id: str,
        stream_id: UUID | str | None,
        name: str,
        experiment_id: UUID | str | None,
    ) -> list[Any]:
        """The arguments of `_INSERT`, checked."""
        owner = as_uuid(user_id, "user_id")
        values = [
            owner,
            text(site_id, "site_id", limits.STREAM_SITE_ID),
            as_optional_uuid(stream_id, "stream_id") or uuid4(),
            text(name, "name", limits.NAME, shortest=0) or DEFAULT_NAME,
            None if experiment_id is None else as_experiment_id(experiment_id, "experiment_id"),
        ]
        self._refuse_other_owner(owner)
        return values

    async def _logs_of(self, identity: UUID) -> Sequence[LogKey]:
        client = await self._client()
        # Operations of an adopted database may have logs of their own, and go with the conversation.
        rows = await client.execute_rows(_DERIVED, [identity, self._owner])
        return (LogKey.stream(identity), *(LogKey.operation(row["id"]) for row in rows))

    async def find_by_experiment(self, user_id: UUID | str, experiment_id: UUID | str) -> Stream | None:
        """The conversation about an experiment. One indexed read.

        Args:
            user_id: The owner.
            experiment_id: The experiment.

        Returns:
            The stream, or ``None`` when there is none.

        Raises:
            InvalidInputError: An id is no UUID.
            UnavailableError: The database does not answer.
        """
        user, experiment = as_uuid(user_id, "user_id"), as_experiment_id(experiment_id, "experiment_id")
        return await _BY_EXPERIMENT.first(await self._client(), self._owner, user=user, experiment=experiment)


def _new_stream(values: list[Any], row: Any) -> Stream:  # noqa: ANN401 - an asyncpg record
    """What was just inserted, as models: the given values, and the columns' defaults."""
    user_id, site_id, stream_id, _, experiment_id = values
    stream = Stream._init_from_db(
        id=stream_id, user_id=user_id, site_id=site_id, experiment_id=experiment_id, created_at=row["created_at"]
    )
    given = {"stream_id": stream_id, "user_id": user_id, "site_id": site_id, **row}
    projection = StreamProjection._init_from_db(**{**_NEW_PROJECTION, **given})
    object.__setattr__(stream, "_projection", projection)
    object.__setattr__(projection, "_stream", stream)
    return stream
