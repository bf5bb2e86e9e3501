"""Conversations: streams and their projections."""

from collections.abc import Collection
from typing import Any, Final
from uuid import UUID, uuid4

from tortoise.expressions import Q

from veupath_store import limits
from veupath_store.errors import ConflictError, NotFoundError, PruneRefusedError
from veupath_store.models import Stream, StreamProjection
from veupath_store.repositories.base import ATTEMPTS, Repository
from veupath_store.repositories.names import FREE_NAME
from veupath_store.repositories.projection_patch import ProjectionPatch, ProjectionUpdate
from veupath_store.validation import as_optional_uuid, as_uuid, boolean, integer, integers, page_size, share, text
from veupath_store.values import DismissReason, ProjectionSummary

DEFAULT_NAME: Final = "New Conversation"

_NAME_KEY: Final = "stream_projections_name_key"
_WDK_KEY: Final = "stream_projections_wdk_key"
_SUMMARY: Final = tuple(ProjectionSummary.model_fields)

_NEW_PROJECTION: Final = {
    **dict.fromkeys((*_SUMMARY, "plan")),
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

_DISMISS: Final = """
WITH target AS (
    SELECT stream_id FROM stream_projections WHERE stream_id = $1 AND ($2::uuid IS NULL OR user_id = $2)
),
changed AS (
    UPDATE stream_projections p
    SET dismissed_at = CURRENT_TIMESTAMP, dismissed_reason = $3, updated_at = CURRENT_TIMESTAMP
    FROM target WHERE p.stream_id = target.stream_id AND p.dismissed_at IS NULL
)
SELECT stream_id FROM target"""

_RESTORE: Final = """
WITH target AS (
    SELECT stream_id FROM stream_projections WHERE stream_id = $1 AND ($2::uuid IS NULL OR user_id = $2)
),
changed AS (
    UPDATE stream_projections p
    SET dismissed_at = NULL, dismissed_reason = NULL, plan = '{}', step_count = 0, result_count = NULL,
        message_count = 0, updated_at = CURRENT_TIMESTAMP
    FROM target WHERE p.stream_id = target.stream_id AND p.dismissed_at IS NOT NULL
)
SELECT stream_id FROM target"""

# Locked in the order of their key, so that two prunings at once cannot deadlock.
_PRUNE: Final = """
WITH linked AS (
    SELECT stream_id, wdk_strategy_id FROM stream_projections
    WHERE user_id = $1 AND ($2::uuid IS NULL OR user_id = $2) AND site_id = $3
      AND wdk_strategy_id IS NOT NULL AND dismissed_at IS NULL
    ORDER BY stream_id FOR UPDATE
),
orphaned AS (
    SELECT stream_id FROM linked
    WHERE NOT EXISTS (SELECT FROM unnest($4::bigint[]) AS live(id) WHERE live.id = linked.wdk_strategy_id)
),
counts AS (
    SELECT (SELECT count(*) FROM linked) AS linked, (SELECT count(*) FROM orphaned) AS orphaned
),
changed AS (
    UPDATE stream_projections p
    SET dismissed_at = CURRENT_TIMESTAMP, dismissed_reason = 'wdk_orphan', updated_at = CURRENT_TIMESTAMP
    FROM orphaned, counts
    WHERE p.stream_id = orphaned.stream_id AND counts.orphaned <= counts.linked * $5::float8
    RETURNING p.stream_id
)
SELECT counts.linked, counts.orphaned, (SELECT array_agg(stream_id ORDER BY stream_id) FROM changed) AS dismissed
FROM counts"""


class StreamRepository(Repository[Stream]):
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
        raise ConflictError("Other writers took every name that was tried.", constraint=_NAME_KEY)

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

    async def get_projection(self, stream_id: UUID | str) -> StreamProjection | None:
        """Open a conversation: its projection with ``.stream`` loaded. One query.

        Args:
            stream_id: The conversation.

        Returns:
            The projection, or ``None`` when there is none, or it is not this user's.

        Raises:
            InvalidInputError: The id is no UUID.
            UnavailableError: The database does not answer.
        """
        return await self._one_projection(Q(stream_id=as_uuid(stream_id, "stream_id")))

    async def get_by_wdk_strategy_id(self, user_id: UUID | str, wdk_strategy_id: int) -> StreamProjection | None:
        """The user's conversation that is linked to a WDK strategy, dismissed or not, ``.stream`` loaded. One query.

        Args:
            user_id: The owner.
            wdk_strategy_id: The WDK strategy's id.

        Returns:
            The projection; the last changed one where several sites have that id; ``None`` when there is none.

        Raises:
            InvalidInputError: An argument is refused.
            UnavailableError: The database does not answer.
        """
        return await self._one_projection(
            Q(
                user_id=as_uuid(user_id, "user_id"),
                wdk_strategy_id=integer(wdk_strategy_id, "wdk_strategy_id", 0, limits.INT64_MAX),
            )
        )

    async def list_projections(
        self, user_id: UUID | str, site_id: str | None = None, limit: int = 50
    ) -> list[ProjectionSummary]:
        """The user's conversations that are not dismissed. One indexed read that reads no plan.

        Args:
            user_id: The owner.
            site_id: One site, or ``None`` for all.
            limit: How many at most, 1 to `limits.PAGE`.

        Returns:
            Summaries, the last changed first.

        Raises:
            InvalidInputError: An argument is refused.
            UnavailableError: The database does not answer.
        """
        return await self._list(Q(dismissed_at__isnull=True), user_id, site_id, limit, "updated_at")

    async def list_dismissed_projections(
        self, user_id: UUID | str, site_id: str | None = None, limit: int = 50
    ) -> list[ProjectionSummary]:
        """The user's dismissed conversations. One indexed read that reads no plan.

        Args:
            user_id: The owner.
            site_id: One site, or ``None`` for all.
            limit: How many at most, 1 to `limits.PAGE`.

        Returns:
            Summaries, the last dismissed first.

        Raises:
            InvalidInputError: An argument is refused.
            UnavailableError: The database does not answer.
        """
        return await self._list(Q(dismissed_at__isnull=False), user_id, site_id, limit, "dismissed_at")

    async def update_projection(
        self,
        stream_id: UUID | str,
        *,
        name: str | None = None,
        record_type: str | None = None,
        wdk_strategy_id: int | None = None,
        wdk_strategy_id_set: bool = False,
        is_saved: bool | None = None,
        is_saved_set: bool = False,
        plan: dict[str, Any] | None = None,
        step_count: int | None = None,
        result_count: int | None = None,
        result_count_set: bool = False,
        gene_set_id: UUID | str | None = None,
        gene_set_id_set: bool = False,
        gene_set_auto_imported: bool | None = None,
    ) -> None:
        """Change what is given and nothing else; a ``*_set`` flag makes ``None`` a value.

        One statement: `patch_projection` in the documented form. ``is_saved=None, is_saved_set=True`` means not saved.

        Args:
            stream_id: The conversation.
            name: The wanted name; a number is added where it is taken.
            record_type: The record type.
            wdk_strategy_id: The WDK strategy to claim; another conversation of the same user and site loses it.
            wdk_strategy_id_set: Take ``wdk_strategy_id=None`` for "unlink".
            is_saved: Whether that strategy is saved on the WDK server.
            is_saved_set: Take ``is_saved=None`` for "not saved".
            plan: The whole new plan; steps and step count follow from it.
            step_count: The number of steps, where it is not the plan's.
            result_count: The number of records found.
            result_count_set: Take ``result_count=None`` for "unknown".
            gene_set_id: One of the owner's gene sets.
            gene_set_id_set: Take ``gene_set_id=None`` for "unlink".
            gene_set_auto_imported: ``True`` sets the latch for good; ``False`` changes nothing.

        Raises:
            NotFoundError: No such conversation or gene set, or not this user's.
            InvalidInputError: An argument is refused.
            UnavailableError: The database does not answer; nothing was saved.
            OutcomeUnknownError: Without a session, the answer was lost.
        """
        optional = {
            "name": name,
            "record_type": record_type,
            "plan": plan,
            "step_count": step_count,
            "gene_set_auto_imported": gene_set_auto_imported,
        }
        given: dict[str, Any] = {field: value for field, value in optional.items() if value is not None}
        flagged = {
            "wdk_strategy_id": (wdk_strategy_id, wdk_strategy_id_set),
            "is_saved": (is_saved, is_saved_set),
            "result_count": (result_count, result_count_set),
            "gene_set_id": (gene_set_id, gene_set_id_set),
        }
        given |= {
            field: value
            for field, (value, is_set) in flagged.items()
            if boolean(is_set, f"{field}_set") or value is not None
        }
        if is_saved is None and is_saved_set:
            given["is_saved"] = False
        await self.patch_projection(stream_id, ProjectionPatch(**given))

    async def patch_projection(self, stream_id: UUID | str, patch: ProjectionPatch) -> None:
        """Change the fields that the patch names, and `updated_at`.

        One statement. A name or a WDK id adds a savepoint inside a session, because a concurrent writer may take
        it first; then the statement is repeated. An empty patch changes nothing, `updated_at` included.

        Args:
            stream_id: The conversation.
            patch: What to change.

        Raises:
            NotFoundError: No such conversation or gene set, or not this user's.
            InvalidInputError: The id is no UUID, or the plan is no document that can be kept.
            UnavailableError: The database does not answer; nothing was saved.
            OutcomeUnknownError: Without a session, the answer was lost.
        """
        update = ProjectionUpdate(as_uuid(stream_id, "stream_id"), self._owner, patch)
        client = self._client

        async def write() -> list[Any]:
            return await (await client()).execute_rows(update.sql, update.values)

        if "name" in patch.model_fields_set or patch.wdk_strategy_id is not None:
            rows = await self._once_unique(write, frozenset({_NAME_KEY, _WDK_KEY}))
        else:
            rows = await write()
        if not rows:
            raise NotFoundError(self.entity)

    async def dismiss(self, stream_id: UUID | str) -> None:
        """Hide a conversation from the main list and from WDK sync. Again: the first date stays. One statement.

        Args:
            stream_id: The conversation.

        Raises:
            NotFoundError: No such conversation, or not this user's.
            InvalidInputError: The id is no UUID.
            UnavailableError: The database does not answer; nothing was saved.
            OutcomeUnknownError: Without a session, the answer was lost; repeat the call.
        """
        await self._switch(_DISMISS, stream_id, DismissReason.USER.value)

    async def restore(self, stream_id: UUID | str) -> None:
        """Bring a dismissed conversation back, without its plan, derived counts and message count. One statement.

        The plan may be stale by now; its absence makes the caller fetch it anew. A conversation that is not
        dismissed is left as it is.

        Args:
            stream_id: The conversation.

        Raises:
            NotFoundError: No such conversation, or not this user's.
            InvalidInputError: The id is no UUID.
            UnavailableError: The database does not answer; nothing was saved.
            OutcomeUnknownError: Without a session, the answer was lost; repeat the call.
        """
        await self._switch(_RESTORE, stream_id)

    async def prune_wdk_orphans(self, user_id: UUID | str, site_id: str, live_wdk_ids: Collection[int]) -> list[UUID]:
        """Dismiss the conversations whose WDK strategy is gone, with the default guards of `dismiss_wdk_orphans`.

        One statement. An empty list, or one that would dismiss more than `limits.PRUNE_SHARE` of them, is refused:
        it is more likely partial or foreign than right.

        Args:
            user_id: The owner.
            site_id: The site.
            live_wdk_ids: Every WDK strategy id that the user has on the site.

        Returns:
            The dismissed conversations' ids, sorted. Nothing is deleted.

        Raises:
            PruneRefusedError: The guards refuse; nothing was changed.
            InvalidInputError: An argument is refused.
            UnavailableError: The database does not answer; nothing was saved.
            OutcomeUnknownError: Without a session, the answer was lost; repeat the call.
        """
        return await self.dismiss_wdk_orphans(user_id, site_id, live_wdk_ids)

    async def dismiss_wdk_orphans(
        self,
        user_id: UUID | str,
        site_id: str,
        live_wdk_ids: Collection[int],
        *,
        max_share: float = limits.PRUNE_SHARE,
        allow_empty: bool = False,
    ) -> list[UUID]:
        """Dismiss the conversations whose WDK strategy is gone, with the reason ``wdk_orphan``. One statement.

        Conversations without a WDK id and dismissed ones are left alone.

        Args:
            user_id: The owner.
            site_id: The site.
            live_wdk_ids: Every WDK strategy id that the user has on the site.
            max_share: The share (0 to 1) of the linked conversations that may be dismissed.
            allow_empty: Believe an empty list.

        Returns:
            The dismissed conversations' ids, sorted.

        Raises:
            PruneRefusedError: The list is empty and that is not allowed, or more than the share is orphaned.
            InvalidInputError: An argument is refused.
            UnavailableError: The database does not answer; nothing was saved.
            OutcomeUnknownError: Without a session, the answer was lost; repeat the call.
        """
        live = integers(live_wdk_ids, "live_wdk_ids", most=limits.WDK_IDS, highest=limits.INT64_MAX)
        highest = share(max_share, "max_share")
        values = [
            as_uuid(user_id, "user_id"),
            self._owner,
            text(site_id, "site_id", limits.STREAM_SITE_ID),
            live,
            # A share below nothing lets nothing through: the counts are still wanted for the error.
            highest if boolean(allow_empty, "allow_empty") or live else -1.0,
        ]
        row = (await (await self._client()).execute_rows(_PRUNE, values))[0]
        dismissed = list(row["dismissed"] or [])
        if row["orphaned"] and not dismissed:
            raise PruneRefusedError(linked=row["linked"], orphaned=row["orphaned"])
        return dismissed

    async def _switch(self, sql: str, stream_id: UUID | str, *values: str) -> None:
        identity = as_uuid(stream_id, "stream_id")
        if not await (await self._client()).execute_rows(sql, [identity, self._owner, *values]):
            raise NotFoundError(self.entity)

    async def _one_projection(self, condition: Q) -> StreamProjection | None:
        client = await self._client()
        return await (
            StreamProjection.filter(condition & self._readable())
            .using_db(client)
            .select_related("stream")
            .order_by("-updated_at")
            .first()
        )

    async def _list(
        self, condition: Q, user_id: UUID | str, site_id: str | None, limit: int, newest: str
    ) -> list[ProjectionSummary]:
        condition &= Q(user_id=as_uuid(user_id, "user_id")) & self._readable()
        if site_id is not None:
            condition &= Q(site_id=text(site_id, "site_id", limits.STREAM_SITE_ID))
        client = await self._client()
        rows = (
            StreamProjection.filter(condition)
            .using_db(client)
            .order_by(f"-{newest}", "-stream_id")
            .limit(page_size(limit))
            .values(*_SUMMARY)
        )
        return [ProjectionSummary.model_validate(row) for row in await rows]


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
