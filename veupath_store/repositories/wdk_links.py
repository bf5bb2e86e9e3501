"""Keeping conversations and the WDK server's strategies together."""

from collections.abc import Collection
from typing import Final
from uuid import UUID

from veupath_store import limits
from veupath_store.errors import PruneRefusedError
from veupath_store.models import Stream
from veupath_store.repositories.base import Repository
from veupath_store.validation import as_uuid, integers, share, text

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


class WdkLinks(Repository[Stream]):
    """The part of `StreamRepository` that deals with WDK strategies."""

    async def prune_wdk_orphans(self, user_id: UUID | str, site_id: str, live_wdk_ids: Collection[int]) -> list[UUID]:
        """Dismiss the conversations whose WDK strategy is gone, with the default guards of `dismiss_wdk_orphans`.

        An empty list, or one that would dismiss more than `limits.PRUNE_SHARE` of them, is refused: it is more
        likely partial or foreign than right.

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
            highest if live or allow_empty else -1.0,
        ]
        row = (await (await self._client()).execute_rows(_PRUNE, values))[0]
        dismissed = list(row["dismissed"] or [])
        if row["orphaned"] and not dismissed:
            raise PruneRefusedError(linked=row["linked"], orphaned=row["orphaned"])
        return dismissed
