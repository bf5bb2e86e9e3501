"""The events of one unit of work, from the statements that make them to its commit."""

import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID

from veupath_store.engine import StoreTransaction
from veupath_store.errors import StoreError
from veupath_store.events.changes import Change
from veupath_store.events.keys import LogKey
from veupath_store.events.log import EventLog
from veupath_store.events.removals import order_removals, remove_logs
from veupath_store.events.settlement import Settlement
from veupath_store.session import async_session_factory

logger = logging.getLogger("veupath_store.events")

_KEEP: Final = "DELETE FROM log_removals WHERE kind = 'stream' AND id = ANY ($1::uuid[]) RETURNING id"


@asynccontextmanager
async def settling(log: EventLog, known: set[UUID] | None = None) -> AsyncIterator[Settlement]:
    """A unit of work in which rows are brought to the end of their logs; what it appends is taken back if it fails.

    Args:
        log: The event log.
        known: The rows that earlier tries of it had to lock; added to. Without it, it cannot be tried again.
    """
    async with async_session_factory() as session:
        session.companion = companion = RecordedChanges(log)
        yield companion.settlement(session.client, known)


class RecordedChanges:
    """What a unit of work has changed: appended to the logs when it commits, forgotten when it does not."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._notes: list[Change | LogKey] = []
        self._settlement: Settlement | None = None
        self._removed: list[LogKey] = []

    def record(self, change: Change) -> None:
        """Note a change that the table holds."""
        self._notes.append(change)

    def remove(self, keys: Iterable[LogKey]) -> None:
        """Note logs whose conversation or operation is deleted."""
        self._notes.extend(keys)

    def mark(self) -> int:
        """How much is noted."""
        return len(self._notes)

    def rewind(self, mark: int) -> None:
        """Forget what was noted since."""
        del self._notes[mark:]

    def settlement(self, client: StoreTransaction, known: set[UUID] | None = None) -> Settlement:
        """What appends in this unit of work, and is taken back with it.

        Args:
            client: The transaction.
            known: The rows that earlier tries of this unit of work had to lock; added to.
        """
        self._settlement = Settlement(client, self._log, known)
        return self._settlement

    async def before_commit(self, client: StoreTransaction) -> None:
        """Append the changes, fold what others appended meanwhile, and write the rows' positions.

        Two statements and a round trip to Redis, whatever the number of conversations, where others have claimed
        no name or WDK id meanwhile; one statement more where conversations are made, and one where some are deleted.

        Where this fails or is cancelled what is noted stays: who goes on all the same appends it at the next commit.

        Raises:
            UnavailableError: Redis does not answer: the unit of work is rolled back.
        """
        notes = self._notes
        changes = [note for note in notes if isinstance(note, Change)]
        self._removed = [note for note in notes if isinstance(note, LogKey)]
        if self._removed:
            await order_removals(client, self._removed)
        if changes:
            # What is deleted in this very unit of work is not yet: its log goes after the commit, as far as it is old.
            deleted = {key.id for key in self._removed}
            created = {change.stream_id for change in changes if change.created}
            stale = await self._stale(client, list(created - deleted))
            await self.settlement(client).settle(changes, stale)
        self._notes = []

    @staticmethod
    async def _stale(client: StoreTransaction, created: list[UUID]) -> frozenset[UUID]:
        """Which new conversations have the id of a deleted one, whose log is still to be removed."""
        if not created:
            return frozenset()
        return frozenset(row["id"] for row in await client.execute_rows(_KEEP, [created]))

    async def after_commit(self) -> None:
        """Remove the logs of what was deleted. What fails here is left to the worker."""
        removed, self._removed, self._settlement = self._removed, [], None
        if not removed:
            return
        try:
            await remove_logs(self._log, removed)
        except StoreError:
            logger.warning("%d logs could not be removed yet; the projection worker tries again", len(removed))

    async def after_failure(self) -> None:
        """Take back what was appended. What fails here is done by whoever next reads the log under the row's lock."""
        settlement, self._settlement, self._removed = self._settlement, None, []
        if settlement is None:
            return
        try:
            for key, positions in settlement.appended:
                await self._log.discard(key, positions)
            await self._log.remove_empty(settlement.begun)
        except StoreError:
            logger.warning("events of a unit of work that was rolled back are still in the log; catch-up removes them")
