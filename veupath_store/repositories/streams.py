"""Conversations: streams and their projections."""

from typing import Any, Final
from uuid import UUID, uuid4

from veupath_store import limits
from veupath_store.errors import ConflictError, NotFoundError
from veupath_store.models import Stream, StreamProjection
from veupath_store.repositories.base import ATTEMPTS
from veupath_store.repositories.names import FREE_NAME
from veupath_store.repositories.projection_reads import SUMMARY, ProjectionReads
from veupath_store.repositories.projection_writes import NAME_KEY, ProjectionWrites
from veupath_store.repositories.wdk_links import WdkLinks
from veupath_store.validation import as_optional_uuid, as_uuid, text

DEFAULT_NAME: Final = "New Conversation"

_NEW_PROJECTION: Final = {
    **dict.fromkeys((*SUMMARY, "plan")),
    "is_saved": False,
    "message_count": 0,
    "step_count": 0,
    "plan": "{}",
    "gene_set_auto_imported": False,
}

# The projection goes in first, because it is the one whose name may be taken: then there is no stream either.
# Foreign keys are checked at the end of the whole statement.
_CREATE: Final = f"""
WITH RECURSIVE asked(user_id, site_id, named, base) AS (
    VALUES ($1::uuid, $2::varchar, NULL::uuid, $4::text)
), {FREE_NAME},
projection AS (
    INSERT INTO stream_projections (stream_id, user_id, site_id, name)
    SELECT $3::uuid, asked.user_id, asked.site_id, free.name FROM asked, free
    ON CONFLICT (user_id, site_id, name) DO NOTHING
    RETURNING stream_id, user_id, site_id, name, updated_at
),
stream AS (
    INSERT INTO streams (id, user_id, site_id, experiment_id)
    SELECT stream_id, user_id, site_id, $5::uuid FROM projection
    RETURNING id, created_at
)
SELECT stream.created_at, projection.name, projection.updated_at FROM stream, projection"""


class StreamRepository(ProjectionReads, ProjectionWrites, WdkLinks):
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
            ConflictError: The id is taken (``stream_projections_pkey``).
            InvalidInputError: An argument is refused.
            UnavailableError: The database does not answer; nothing was saved.
            OutcomeUnknownError: Without a session, the answer was lost; with a `stream_id` of yours, look for it.
        """
        owner = as_uuid(user_id, "user_id")
        values = [
            owner,
            text(site_id, "site_id", limits.STREAM_SITE_ID),
            as_optional_uuid(stream_id, "stream_id") or uuid4(),
            text(name, "name", limits.NAME, shortest=0) or DEFAULT_NAME,
            as_optional_uuid(experiment_id, "experiment_id"),
        ]
        if self._owner is not None and self._owner != owner:
            raise NotFoundError("user")
        client = await self._client()
        for _ in range(ATTEMPTS):
            rows = await client.execute_rows(_CREATE, values)
            if rows:
                return _new_stream(values, rows[0])
        raise ConflictError("Other writers took every name that was tried.", constraint=NAME_KEY)

    async def find_by_experiment(self, user_id: UUID | str, experiment_id: UUID | str) -> Stream | None:
        """The conversation about an experiment. One indexed read.

        Args:
            user_id: The owner.
            experiment_id: The experiment.

        Returns:
            The stream, the oldest where there are several; ``None`` when there is none.

        Raises:
            InvalidInputError: An id is no UUID.
            UnavailableError: The database does not answer.
        """
        rows = await self._rows(self._readable())
        found: Stream | None = (
            await rows.filter(
                user_id=as_uuid(user_id, "user_id"), experiment_id=as_uuid(experiment_id, "experiment_id")
            )
            .order_by("created_at", "id")
            .first()
        )
        return found


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
