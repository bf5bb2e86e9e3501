"""Keeping conversations and the WDK server's strategies together."""

from collections.abc import Collection, Mapping, Sequence
from itertools import chain, repeat
from typing import Any, Final
from uuid import UUID

from veupath_store import limits
from veupath_store.errors import ConflictError, PruneRefusedError
from veupath_store.races import ATTEMPTS, NAME_KEY
from veupath_store.repositories.conditions import MINE
from veupath_store.repositories.projection_patch import ProjectionPatch, ProjectionUpdate
from veupath_store.repositories.projection_writes import ProjectionWrites
from veupath_store.repositories.wdk_list import Settled, Wanted, accepted, columns, report, settlement, unaffected
from veupath_store.repositories.wdk_sync import ADD, KNOWN, SYNC
from veupath_store.validation import as_uuid, boolean, integer, integers, share, text
from veupath_store.values import DismissReason, SyncOutcome, SyncReport, WdkStrategy

# Locked in the order of their key, so that two prunings at once cannot deadlock.
_PRUNE: Final = f"""
WITH linked AS (
    SELECT stream_id, wdk_strategy_id FROM stream_projections
    WHERE {MINE} AND site_id = $3
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
    SET dismissed_at = CURRENT_TIMESTAMP, dismissed_reason = '{DismissReason.WDK_ORPHAN.value}',
        updated_at = CURRENT_TIMESTAMP
    FROM orphaned, counts
    WHERE p.stream_id = orphaned.stream_id AND counts.orphaned <= counts.linked * $5::float8
    RETURNING p.stream_id
)
SELECT counts.linked, counts.orphaned, (SELECT array_agg(stream_id ORDER BY stream_id) FROM changed) AS dismissed
FROM counts"""


class WdkLinks(ProjectionWrites):
    """The part of `StreamRepository` that deals with WDK strategies."""

    async def sync_wdk(
        self, user_id: UUID | str, site_id: str, strategies: Sequence[WdkStrategy | Mapping[str, Any]]
    ) -> SyncReport:
        """Bring the WDK server's list of a user's strategies into the table.

        What is new becomes a conversation under a unique name; what changed is updated; what did not change is not
        touched, `updated_at` included; what the user dismissed is skipped. A conversation keeps its name, also when
        the strategy's name differs: it may have been renamed here. An item that cannot be kept is refused by itself.

        One statement, for any number of strategies, when nothing is new or changed; else two, of which one writes.
        One more where all are new and one of their names is taken, and for each concurrent writer that takes a name
        or an id of the new ones first.

        Args:
            user_id: The owner.
            site_id: The site.
            strategies: `limits.SYNC` at most, `WdkStrategy` or dictionaries of its fields; the first newest. Of
                several with one id the first counts, the others are refused.

        Returns:
            What was done with each, in the given order.

        Raises:
            NotFoundError: There is no such user, or the repository is restricted to another one.
            ConflictError: Other writers won every race.
            InvalidInputError: The user, the site or the list as a whole is refused.
            UnavailableError: The database does not answer; nothing was saved.
            OutcomeUnknownError: Without a session, the answer was lost; repeat the call.
        """
        owner, site = as_uuid(user_id, "user_id"), text(site_id, "site_id", limits.STREAM_SITE_ID)
        self._refuse_other_owner(owner)
        wanted, settled = accepted(strategies)
        if wanted:
            found = await (await self._client()).execute_rows(KNOWN, [owner, site, list(wanted)])
            settled += unaffected(found, wanted)
        if wanted:
            are_new = wanted.keys().isdisjoint(row["wdk_strategy_id"] for row in found)
            settled += await self._recorded(lambda inside: inside._synced([owner, site], dict(wanted), are_new=are_new))
        return report(settled)

    async def _synced(self, place: list[Any], wanted: Wanted, *, are_new: bool) -> list[Settled]:
        """Write the strategies until each is settled."""
        settled: list[Settled] = []
        client = await self._client()
        for statement in chain([ADD] if are_new else [], repeat(SYNC, ATTEMPTS)):
            arguments = [*place, *columns(wanted.values(), numbered=statement is ADD)]
            for row in await client.execute_rows(statement, arguments):
                position, strategy = wanted.pop(row["wdk_strategy_id"])
                settled.append(settlement(position, strategy.wdk_strategy_id, row["outcome"], row["stream_id"]))
                self._record_synced(row, strategy)
            if not wanted:
                return settled
        raise ConflictError("Other writers took every name that was tried.", constraint=NAME_KEY)

    def _record_synced(self, row: Any, strategy: WdkStrategy) -> None:  # noqa: ANN401 - an asyncpg record
        if self._companion() is None:
            return
        changes = strategy.model_dump(include={"record_type", "is_saved", "result_count", "step_count"})
        if row["outcome"] == SyncOutcome.UPDATED:
            self._record(row["stream_id"], changes)
        elif row["outcome"] == SyncOutcome.INSERTED:
            changes |= {"name": row["name"], "wdk_strategy_id": strategy.wdk_strategy_id}
            self._record(row["stream_id"], changes, created=True, order=row["position"])

    async def claim_wdk_strategy(
        self, stream_id: UUID | str, wdk_strategy_id: int, *, is_saved: bool = False
    ) -> UUID | None:
        """Link a conversation to a WDK strategy, taking it from another one of the same user and site.

        Atomic: never two conversations with one id, never none. One statement; inside a session a savepoint, and
        once more for each concurrent claim that comes first.

        Args:
            stream_id: The conversation.
            wdk_strategy_id: The strategy.
            is_saved: Whether it is saved on the WDK server.

        Returns:
            The conversation that lost the strategy, or ``None`` when none had it.

        Raises:
            NotFoundError: No such conversation, or not this user's.
            InvalidInputError: An argument is refused.
            UnavailableError: The database does not answer; nothing was saved.
            OutcomeUnknownError: Without a session, the answer was lost; repeat the call.
        """
        claimed = integer(wdk_strategy_id, "wdk_strategy_id", 0, limits.INT64_MAX)  # None would unlink
        patch = ProjectionPatch(wdk_strategy_id=claimed, is_saved=is_saved)
        update = ProjectionUpdate(as_uuid(stream_id, "stream_id"), self._owner, patch)
        return await self._recorded(lambda inside: inside._update(update))

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
        row = await self._recorded(lambda inside: inside._prune(values))
        dismissed = list(row["dismissed"] or [])
        if row["orphaned"] and not dismissed:
            raise PruneRefusedError(linked=row["linked"], orphaned=row["orphaned"])
        return dismissed

    async def _prune(self, values: list[Any]) -> Any:  # noqa: ANN401 - an asyncpg record
        """Send `_PRUNE`, and record what it dismissed."""
        row = (await (await self._client()).execute_rows(_PRUNE, values))[0]
        for stream_id in row["dismissed"] or ():
            self._record(stream_id, {"dismissed_reason": DismissReason.WDK_ORPHAN.value})
        return row
