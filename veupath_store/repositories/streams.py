"""Conversations: streams and their projections."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, ClassVar, Final
from uuid import UUID, uuid4

from tortoise.models import Model
from tortoise.queryset import QuerySet

from veupath_store.engine.races import ATTEMPTS, NAME_KEY, WDK_KEY
from veupath_store.errors import ConflictError, InvalidInputError, NotFoundError
from veupath_store.inputs import limits
from veupath_store.inputs.validation import (
    as_experiment_id,
    as_optional_uuid,
    as_uuid,
    boolean,
    integer,
    integers,
    name_of,
    one_of,
    share,
    text,
)
from veupath_store.models import Stream, StreamProjection
from veupath_store.models.deletions import DELETE_STREAM
from veupath_store.models.unlogged import tagged
from veupath_store.repositories import stream_sql as sql
from veupath_store.repositories.base import Repository, site_or_none
from veupath_store.repositories.pages import Key, Listing, Page, iterate
from veupath_store.repositories.queries import Prepared, instance
from veupath_store.repositories.users import UserRepository
from veupath_store.repositories.wdk_sync import dismiss_orphans, sync
from veupath_store.values import (
    SYSTEM_SITE_ID,
    SYSTEM_STREAM_ID,
    SYSTEM_USER_ID,
    ProjectionSort,
    ProjectionSummary,
    SyncReport,
    WdkStrategy,
)
from veupath_store.values.streams import DEFAULT_NAME, ProjectionPatch

_EXPERIMENT_KEY: Final = "streams_experiment_key"

_FOUND: Final = Prepared[Stream](lambda user_id, **one: Stream.filter(user_id=user_id, **one).limit(1))


def _opened(owner: UUID | None = None, **one: UUID | int) -> QuerySet[StreamProjection]:
    mine = StreamProjection.filter(Repository._owned_by(owner), **one)
    return mine.select_related("stream").order_by("-updated_at").limit(1)


_OPENED: Final = Prepared[StreamProjection](_opened)


def _listed(
    name: str, *keys: Key, descending: bool = True, dismissed: bool = False, **more: bool
) -> Listing[ProjectionSummary]:
    looked_up = {
        column: f"(SELECT s.{column} FROM streams s "
        "WHERE s.user_id = stream_projections.user_id AND s.id = stream_projections.stream_id)"
        for column in ("created_at", "experiment_id")
    }
    return Listing(
        name=name,
        summary=ProjectionSummary,
        build=lambda user_id, **only: StreamProjection.filter(
            user_id=user_id, dismissed_at__isnull=not dismissed, **more, **only
        ),
        keys=(*keys, Key("stream_id", UUID)),
        descending=descending,
        looked_up=looked_up,
    )


_RECENT: Final = _listed("projections", Key("updated_at", datetime))
_DISMISSED: Final = _listed("dismissed", Key("dismissed_at", datetime), dismissed=True)
_BY_NAME: Final = _listed("by name", Key("name", str), descending=False)
_TO_IMPORT: Final = _listed(
    "to import",
    descending=False,
    wdk_strategy_id__isnull=False,
    gene_set_id__isnull=True,
    gene_set_auto_imported=False,
)


class StreamRepository(Repository[Stream]):
    """Reads and writes of conversations.

    A name is unique within its user and site: a taken one gets `` (1)``, `` (2)``, …
    """

    model: ClassVar[type[Model]] = Stream
    entity: ClassVar[str] = "stream"

    async def create(
        self,
        user_id: UUID | str,
        site_id: str,
        *,
        stream_id: UUID | str | None = None,
        name: str = "",
        experiment_id: UUID | str | None = None,
    ) -> Stream:
        """A new conversation: the stream, with its ``projection`` loaded, which has the name that it got.

        Both are made, or neither, in one statement, with about 2 · log2(n) index probes when n conversations have that
        name; one statement more for each concurrent writer that takes the chosen name first.

        Args:
            stream_id: Its id; a new one by default.
            name: The wanted name; blank for `DEFAULT_NAME`.
            experiment_id: The experiment that it is about.

        Raises:
            ConflictError: The id is taken (``stream_projections_pkey``), or was that of a conversation that was
                deleted (``deleted_ids_pkey``); or the experiment has a conversation (``streams_experiment_key``).
            OutcomeUnknownError: Without a session, the answer was lost; with a `stream_id` of yours, look for it.
        """
        values = self._new(user_id, site_id, stream_id, name, experiment_id)
        for _ in range(ATTEMPTS):
            rows = await self._entire(sql.CREATE, values, StreamProjection)
            if rows:
                return _new_stream(values, rows[0])
            if await (await self._client()).execute_rows(sql.WAS_DELETED, [values[2]]):
                raise ConflictError(
                    "The id was that of a conversation that was deleted.", constraint="deleted_ids_pkey"
                )
        raise ConflictError("Other writers took every name that was tried.", constraint=NAME_KEY)

    async def ensure(self, user_id: UUID | str, site_id: str, stream_id: UUID | str, *, name: str = "") -> Stream:
        """The user's conversation with this id, made if need be; race-free.

        One indexed read for one that exists, which keeps its site and name; one statement more for a new one,
        which gets its name as by `create`.

        Raises:
            NotFoundError: There is no such user, or the id is somebody else's: the two look alike.
        """
        values = self._new(user_id, site_id, as_uuid(stream_id, "stream_id"), name, None)
        return await self._existing_or_new(values, {"user_id": values[0], "id": values[2]})

    async def get_or_create_for_experiment(
        self, user_id: UUID | str, site_id: str, experiment_id: UUID | str, *, name: str = ""
    ) -> Stream:
        """The user's conversation about an experiment, made if need be; race-free, so that two tabs get one.

        One indexed read for one that exists, which keeps its site and name; one statement more for a new one,
        which gets its name as by `create`. The experiment need not be saved yet.
        """
        values = self._new(user_id, site_id, None, name, as_experiment_id(experiment_id, "experiment_id"))
        return await self._existing_or_new(values, {"user_id": values[0], "experiment_id": values[4]})

    async def get_system_stream(self) -> Stream:
        """The application's own conversation, with the fixed id `SYSTEM_STREAM_ID`, made if need be; race-free.

        Two indexed reads where it exists; two statements more where it and its user are made.
        """
        self._refuse_other_owner(SYSTEM_USER_ID)
        await UserRepository(self._session).get_system_user()
        return await self.ensure(SYSTEM_USER_ID, SYSTEM_SITE_ID, SYSTEM_STREAM_ID)

    async def find_by_experiment(self, user_id: UUID | str, experiment_id: UUID | str) -> Stream | None:
        """The conversation about an experiment."""
        experiment = as_experiment_id(experiment_id, "experiment_id")
        return await _FOUND.first(await self._client(), user_id=self._whose(user_id), experiment_id=experiment)

    async def get_projection(self, stream_id: UUID | str) -> StreamProjection | None:
        """Open a conversation: its projection with ``.stream`` loaded. One query."""
        stream = as_uuid(stream_id, "stream_id")
        return await _OPENED.first(await self._client(), stream_id=stream, owner=self._owner)

    async def get_by_wdk_strategy_id(self, user_id: UUID | str, wdk_strategy_id: int) -> StreamProjection | None:
        """The user's conversation that is linked to a WDK strategy, dismissed or not, ``.stream`` loaded. One query.

        The last changed one where several sites have that id.
        """
        user = self._whose(user_id)
        wdk = integer(wdk_strategy_id, "wdk_strategy_id", 0, limits.INT64_MAX)
        return await _OPENED.first(await self._client(), wdk_strategy_id=wdk, owner=user)

    async def list_projections(
        self, user_id: UUID | str, site_id: str | None = None, limit: int = 50
    ) -> list[ProjectionSummary]:
        """The user's conversations that are not dismissed, the last changed first."""
        return (await self.page_projections(user_id, site_id, limit=limit)).items

    async def list_dismissed_projections(
        self, user_id: UUID | str, site_id: str | None = None, limit: int = 50
    ) -> list[ProjectionSummary]:
        """The user's dismissed conversations, the last dismissed first."""
        return (await self.page_projections(user_id, site_id, dismissed=True, limit=limit)).items

    async def page_projections(
        self,
        user_id: UUID | str,
        site_id: str | None = None,
        *,
        dismissed: bool = False,
        sort: ProjectionSort | str = ProjectionSort.RECENT,
        cursor: str | None = None,
        limit: int = 50,
    ) -> "Page[ProjectionSummary]":
        """One page of the user's conversations.

        A conversation that changes between two pages moves to the front of the recent ones, as it does in the list
        itself; no other is skipped or repeated.

        Args:
            dismissed: The dismissed ones instead of the others.
            sort: The order; by name needs a site and is not for dismissed ones.
        """
        listing = _listing(one_of(sort, "sort", ProjectionSort), boolean(dismissed, "dismissed"), site_id)
        user, site = self._whose(user_id), site_or_none(site_id, limits.STREAM_SITE_ID)
        return await listing.page(await self._client(), cursor, limit, user_id=user, site_id=site)

    def iterate_projections(
        self, user_id: UUID | str, site_id: str | None = None, *, dismissed: bool = False
    ) -> AsyncIterator[ProjectionSummary]:
        """All of the user's conversations, in the order of `page_projections`; one read for each `limits.PAGE`."""
        return iterate(
            lambda cursor, limit: self.page_projections(
                user_id, site_id, dismissed=dismissed, cursor=cursor, limit=limit
            )
        )

    async def page_gene_set_imports(
        self, user_id: UUID | str, site_id: str, *, cursor: str | None = None, limit: int = 50
    ) -> "Page[ProjectionSummary]":
        """One page of the conversations whose gene set is still to be imported, in the order of their ids.

        That is: with a WDK strategy, not dismissed, without a gene set, and never imported automatically. An index
        holds just these.
        """
        user, site = self._whose(user_id), text(site_id, "site_id", limits.STREAM_SITE_ID)
        return await _TO_IMPORT.page(await self._client(), cursor, limit, user_id=user, site_id=site)

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
        plan: Mapping[str, object] | None = None,
        step_count: int | None = None,
        result_count: int | None = None,
        result_count_set: bool = False,
        gene_set_id: UUID | str | None = None,
        gene_set_id_set: bool = False,
        gene_set_auto_imported: bool | None = None,
        expected: int | None = None,
    ) -> None:
        """Change what is given and nothing else; a ``*_set`` flag makes ``None`` a value: unlinked, unknown, not saved.

        `patch_projection` in the documented form, which says also what is raised, and what `expected` is. The other
        arguments are the fields of a `ProjectionPatch`.
        """
        values: dict[str, Any] = {
            "name": name,
            "record_type": record_type,
            "wdk_strategy_id": wdk_strategy_id,
            "is_saved": is_saved,
            "plan": plan,
            "step_count": step_count,
            "result_count": result_count,
            "gene_set_id": gene_set_id,
            "gene_set_auto_imported": gene_set_auto_imported,
        }
        flags = {
            "wdk_strategy_id": wdk_strategy_id_set,
            "is_saved": is_saved_set,
            "result_count": result_count_set,
            "gene_set_id": gene_set_id_set,
        }
        cleared = {field for field, is_set in flags.items() if boolean(is_set, f"{field}_set")}
        given = {field: value for field, value in values.items() if value is not None or field in cleared}
        if is_saved is None and is_saved_set:
            given["is_saved"] = False
        await self.patch_projection(stream_id, ProjectionPatch(**given), expected=expected)

    async def patch_projection(
        self, stream_id: UUID | str, patch: ProjectionPatch, *, expected: int | None = None
    ) -> None:
        """Change the fields that the patch names, and `updated_at`.

        One statement. A name or a WDK id adds a savepoint inside a session, because a concurrent writer may take
        it first; then the statement is repeated. An empty patch changes nothing, `updated_at` included.

        Of two tabs that save the plan that both have seen, with `expected`, one wins, and the other is refused, at the
        cost of a small read. Whatever changes the plan counts, a job's events too; messages and other fields do not.

        Args:
            patch: What to change.
            expected: The `plan_version` that the caller has seen; ``None`` to change whatever is there.

        Raises:
            StaleVersionError: The plan was changed since; nothing was saved.
            NotFoundError: Also for a gene set that is not this user's.
        """
        seen = None if expected is None else integer(expected, "expected", 0, limits.INT32_MAX)
        await self._update(stream_id, patch, seen)

    async def dismiss(self, stream_id: UUID | str) -> None:
        """Hide a conversation from the main list and from WDK sync. Again: the first date stays."""
        await self._switch(sql.DISMISS, stream_id, sql.DISMISSED)

    async def restore(self, stream_id: UUID | str) -> None:
        """Bring a dismissed conversation back, without its plan, derived counts and messages.

        The plan may be stale by now; its absence makes the caller fetch it anew. Messages that its row has counted so
        far are neither counted nor listed any more. A conversation that is not dismissed is left as it is.
        """
        await self._switch(sql.RESTORE, stream_id, sql.RESTORED)

    async def sync_wdk(
        self, user_id: UUID | str, site_id: str, strategies: Sequence[WdkStrategy | Mapping[str, Any]]
    ) -> SyncReport:
        """Bring the WDK server's list of a user's strategies into the table, and report on each, in the given order.

        What is new becomes a conversation under a unique name; what changed is updated; what did not change is not
        touched, `updated_at` included; what the user dismissed is skipped. An item that cannot be kept is refused by
        itself.

        A strategy that was renamed on the server since the last sync gives its conversation the new name, with a number
        where that is taken. A name that was given here stays until then. A strategy that was linked here keeps the
        conversation's name, and a blank name changes nothing.

        One statement, for any number of strategies, when nothing is new or changed; else two, of which one writes,
        inside a session in a savepoint. One more where all are new and one of their names is taken, and for each
        concurrent writer that takes a name or an id first.

        Args:
            strategies: `limits.SYNC` at most, `WdkStrategy` or dictionaries of its fields; the first newest. Of
                several with one id the first counts, the others are refused.

        Raises:
            ConflictError: Other writers won every race.
        """
        owner, site = as_uuid(user_id, "user_id"), text(site_id, "site_id", limits.STREAM_SITE_ID)
        self._refuse_other_owner(owner)
        return await sync(self._session, owner, site, strategies)

    async def claim_wdk_strategy(
        self, stream_id: UUID | str, wdk_strategy_id: int, *, is_saved: bool = False
    ) -> UUID | None:
        """Link a conversation to a WDK strategy, taking it from another one of the same user and site.

        Atomic: never two conversations with one id, never none. One statement; inside a session a savepoint, and
        once more for each concurrent claim that comes first.

        Returns:
            The conversation that lost the strategy, or ``None`` when none had it.
        """
        claimed = integer(wdk_strategy_id, "wdk_strategy_id", 0, limits.INT64_MAX)  # None would unlink
        return await self._update(stream_id, ProjectionPatch(wdk_strategy_id=claimed, is_saved=is_saved))

    async def prune_wdk_orphans(self, user_id: UUID | str, site_id: str, live_wdk_ids: Collection[int]) -> list[UUID]:
        """Dismiss the conversations whose WDK strategy is gone: `dismiss_wdk_orphans` with its default guards.

        An empty list, or one that would dismiss more than `limits.PRUNE_SHARE` of the linked conversations, is refused:
        it is more likely partial or foreign than right. Nothing is deleted.

        Raises:
            PruneRefusedError: The guards refuse; nothing was changed.
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
        """Dismiss the conversations whose WDK strategy is gone, with the reason ``wdk_orphan``.

        Returns their ids, sorted. Conversations without a WDK id, dismissed ones and those of another user than the
        repository's are left alone.

        Args:
            live_wdk_ids: Every WDK strategy id that the user has on the site.
            max_share: The share (0 to 1) of the linked conversations that may be dismissed.
            allow_empty: Believe an empty list.

        Raises:
            PruneRefusedError: The list is empty and that is not allowed, or more than the share is orphaned.
        """
        live = integers(live_wdk_ids, "live_wdk_ids", most=limits.WDK_IDS, highest=limits.INT64_MAX)
        highest = share(max_share, "max_share")
        user, site = self._whose(user_id), text(site_id, "site_id", limits.STREAM_SITE_ID)
        # A share below nothing lets nothing through: the counts are still wanted for the error.
        most = highest if boolean(allow_empty, "allow_empty") or live else -1.0
        return await dismiss_orphans(await self._client(), user, site, live, most)

    async def delete(self, id: UUID | str) -> bool:  # noqa: A002 - the entity's own word
        """Delete a conversation, with all that belongs to it. Its id is never used again.

        Where there is an event log, its log is removed soon after the commit.
        """
        return bool(await (await self._client()).execute_rows(DELETE_STREAM, [self._identity(id), self._owner]))

    def _new(
        self,
        user_id: UUID | str,
        site_id: str,
        stream_id: UUID | str | None,
        name: str,
        experiment_id: UUID | str | None,
    ) -> list[Any]:
        """The arguments of `CREATE`, checked."""
        owner = as_uuid(user_id, "user_id")
        values = [
            owner,
            text(site_id, "site_id", limits.STREAM_SITE_ID),
            as_optional_uuid(stream_id, "stream_id") or uuid4(),
            name_of(name, shortest=0) or DEFAULT_NAME,
            None if experiment_id is None else as_experiment_id(experiment_id, "experiment_id"),
        ]
        self._refuse_other_owner(owner)
        return values

    async def _existing_or_new(self, values: list[Any], wanted: dict[str, UUID]) -> Stream:
        """Find what is `wanted` among the owner's, or insert: again while others take the name or the id first."""
        client = await self._client()

        async def find_or_insert() -> Stream | None:
            found = await _FOUND.first(client, **wanted)
            if found is not None:
                return found
            rows = await self._entire(sql.CREATE_IF_FREE, values, StreamProjection)
            return _new_stream(values, rows[0]) if rows else None

        found = await _FOUND.first(client, **wanted)
        if found is not None:
            return found
        for _ in range(ATTEMPTS):
            found = await self._once_unique(find_or_insert, frozenset({_EXPERIMENT_KEY}))
            if found is not None:
                return found
            if "id" in wanted and await client.execute_rows(sql.IS_TAKEN, [values[2], values[0]]):
                raise NotFoundError(self.entity if await UserRepository(self._session).get_by_id(values[0]) else "user")
        raise ConflictError("Other writers took every name that was tried.", constraint=NAME_KEY)

    async def _switch(self, statement: str, stream_id: UUID | str, columns: tuple[str, ...]) -> None:
        values = [as_uuid(stream_id, "stream_id"), self._owner, tagged(columns)]
        if not await (await self._client()).execute_rows(statement, values):
            raise NotFoundError(self.entity)

    async def _update(self, stream_id: UUID | str, patch: ProjectionPatch, expected: int | None = None) -> UUID | None:
        """Run one patch; return the conversation that lost its WDK strategy to this one, or ``None``."""
        identity = as_uuid(stream_id, "stream_id")
        update = sql.ProjectionUpdate(identity, self._owner, patch, expected)
        client = await self._client()
        write = partial(client.execute_rows, update.sql, update.values)
        if update.races:
            rows = await self._once_unique(write, frozenset({NAME_KEY, WDK_KEY}))
        else:
            rows = await write()
        if not rows:
            raise NotFoundError(self.entity) if expected is None else await self._refusal(identity)
        loser: UUID | None = rows[0].get("released")
        return loser


def _listing(sort: ProjectionSort, dismissed: bool, site_id: str | None) -> Listing[ProjectionSummary]:
    if sort is ProjectionSort.RECENT:
        return _DISMISSED if dismissed else _RECENT
    if dismissed or site_id is None:
        raise InvalidInputError("sort", "by name, a site is needed, and dismissed conversations are not listed")
    return _BY_NAME


def _new_stream(values: list[Any], row: Any) -> Stream:  # noqa: ANN401 - an asyncpg record
    """What was just inserted, as models: the stream of the given values, and the projection of all its columns."""
    user_id, site_id, stream_id, _, experiment_id = values
    (_, created_at), *columns = row.items()
    given = {"id": stream_id, "user_id": user_id, "site_id": site_id, "experiment_id": experiment_id}
    stream = instance(Stream, [*given.items(), ("created_at", created_at)])
    projection = instance(StreamProjection, columns)
    object.__setattr__(stream, "_projection", projection)
    object.__setattr__(projection, "_stream", stream)
    return stream
