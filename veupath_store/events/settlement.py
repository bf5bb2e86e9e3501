"""How conversations' rows and logs are brought together at the end of a unit of work, or of a catch-up.

The order is what makes a row equal to the fold of its log, and the log free of what was rolled back:

1. The rows are locked. They hold the transaction's own writes; the log does not yet.
2. In one round trip to Redis the log after a row's position is read and the row's changes are appended. Nobody's entry
   can come in between: what others appended meanwhile is exactly what was read.
3. What was read is folded, then the own changes. They name every field that they set, so it does no harm that the row
   held them before what others appended.
4. Names and WDK ids that the folded entries claim are claimed in the table. What that decides is a change again, but
   nobody's wish: where others have renamed or linked the conversation before it is in the log, theirs holds.
5. Rows and positions are written, and the transaction commits.

A process that dies between 2 and 5 leaves entries of a transaction that was rolled back. Each says which one that was,
and the next one who reads it under the row's lock finds out what became of it (`veupath_store.events.origin`), removes
it, and folds on. A position never moves over such an entry, so below a row's position there are none.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from uuid import UUID

import asyncpg

from veupath_store.engine import StoreTransaction
from veupath_store.errors import LogBehindError, UnavailableError
from veupath_store.events.changes import Change
from veupath_store.events.claims import claim_name, claim_wdk, overtaken, restored
from veupath_store.events.entries import Entry, Position
from veupath_store.events.fold import Folded, Problem, State, fold_all
from veupath_store.events.keys import LogKey
from veupath_store.events.log import EventLog, Exchange, Exchanged
from veupath_store.events.origin import rolled_back
from veupath_store.events.pages import FIRST, PageSize
from veupath_store.events.patched import PATCHED, origin_of
from veupath_store.events.rows import Row, checkpoint_of, lock_rows, write_rows
from veupath_store.races import OutOfOrderError


class Settlement:
    """Brings rows to the end of their logs in one transaction.

    Args:
        client: The transaction.
        log: The event log.
        known: What earlier tries of the same transaction had to lock; added to. Without it the transaction cannot be
            tried again.

    Attributes:
        client: The transaction.
        appended: What was appended so far, to be taken back when the transaction fails.
        begun: The logs of new conversations, to be removed when it fails.
        problems: Entries that were skipped.
        folded: How many entries were folded, those appended here left out.
    """

    def __init__(self, client: StoreTransaction, log: EventLog, known: set[UUID] | None = None) -> None:
        self.client = client
        self._known = known
        self._log = log
        self._rows: dict[UUID, Row] = {}
        self.appended: list[tuple[LogKey, Sequence[Position]]] = []
        self.begun: list[LogKey] = []
        self.problems: list[Problem] = []
        self.folded = 0

    async def settle(self, changes: Iterable[Change], stale_logs: frozenset[UUID] = frozenset()) -> None:
        """Append a transaction's own changes, and fold what others appended meanwhile.

        Args:
            changes: In the order in which they were made.
            stale_logs: Conversations that were deleted and made again, whose old log goes first.

        Raises:
            UnavailableError: Redis does not answer.
            LogBehindError: A log has lost its end.
        """
        changes = list(changes)
        await self.load(change.stream_id for change in changes)
        for change in changes:
            # One that is gone was deleted in the same unit of work.
            if change.stream_id in self._rows:
                self._rows[change.stream_id].pending.append(change)
        await self._finish(stale_logs)

    async def load(self, stream_ids: Iterable[UUID]) -> list[Row]:
        """Lock rows that are not locked yet; and with the first ones all that an earlier try turned out to need.

        Conversations that claim each other's WDK strategies lock each other's rows. A settlement that can be tried
        again does not wait for a second row while it holds a first one; it locks both at once the next time, in the
        order that all keep to.

        Returns:
            Those of the given conversations that exist.

        Raises:
            OutOfOrderError: Others have locked a row.
        """
        wanted = list(stream_ids)
        missing = {stream_id for stream_id in wanted if stream_id not in self._rows}
        if missing:
            self._rows |= {row.stream_id: row for row in await self._lock(missing)}
        return [self._rows[stream_id] for stream_id in wanted if stream_id in self._rows]

    async def _lock(self, missing: set[UUID]) -> list[Row]:
        if self._known is None:
            return await lock_rows(self.client, missing)
        self._known |= missing
        if not self._rows:
            return await lock_rows(self.client, self._known)
        try:
            return await lock_rows(self.client, missing, wait=False)
        except UnavailableError as exc:
            if isinstance(exc.__cause__, asyncpg.LockNotAvailableError):
                raise OutOfOrderError(str(exc)) from exc.__cause__
            raise

    def add(self, row: Row) -> None:
        """Take part in a row that the caller has locked."""
        self._rows[row.stream_id] = row
        if self._known is not None:
            self._known.add(row.stream_id)

    async def advance(self, row: Row, entries: Sequence[Entry]) -> None:
        """Fold entries into a row; what it has seen already changes nothing."""
        await self.advance_all([(row, entries)])

    async def advance_all(self, parts: Sequence[tuple[Row, Sequence[Entry]]]) -> list[Folded]:
        """Fold entries into several rows; one statement at most, for all of them.

        Returns:
            What came of each.
        """
        done = []
        for (row, _), entries in zip(parts, await self._saved(parts), strict=True):
            folded = fold_all(row.state, entries)
            row.state = folded.state
            self.problems += folded.problems
            self.folded += folded.folded
            done.append(folded)
        return done

    async def fold_rest(self, row: Row, *, after: Position | None, before: Position | None = None) -> None:
        """Fold what a log holds between two positions into a row, in pages of a bounded size.

        Args:
            row: The row.
            after: What the row has seen of it.
            before: Where to stop; at its end by default.
        """
        pages, more = PageSize(), True
        while more:
            key = LogKey.stream(row.stream_id)
            entries = await self._log.read(key, after=after, before=before, count=pages.entries)
            await self.advance(row, entries)
            more = pages.seen(entries)
            after = entries[-1].position if entries else after

    async def finish(self) -> None:
        """Claim what the folded entries claim, append what that decides, and write the rows."""
        for row in list(self._rows.values()):
            await self._claim(row)
        await self._finish(frozenset())

    async def _finish(self, stale_logs: frozenset[UUID]) -> None:
        while turn := [row for row in self._rows.values() if row.pending]:
            for row in turn:
                if row.position is None and not row.pending[0].created:
                    await self.begin(row)
            self.begun += [LogKey.stream(row.stream_id) for row in turn if row.pending[0].created]
            answers = await self._log.exchange([self._part(row, stale_logs) for row in turn])
            taken = [row for row, answer in zip(turn, answers, strict=True) if await self._take(row, answer)]
            for row in taken:
                await self._claim(row)
        await write_rows(self.client, list(self._rows.values()))

    def _part(self, row: Row, stale_logs: frozenset[UUID]) -> Exchange:
        return Exchange(
            key=LogKey.stream(row.stream_id),
            after=row.position,
            appended=[(PATCHED, change.raw(row.origin)) for change in row.pending],
            remove_first=row.stream_id in stale_logs,
            new=row.pending[0].created,
            count=FIRST,
        )

    async def _take(self, row: Row, answer: Exchanged) -> bool:
        """Fold what was read before the own changes, then these.

        Returns:
            Whether the own changes are in the log; where that had lost its end they are still to be appended.
        """
        key = LogKey.stream(row.stream_id)
        positions = self._appended(row, key, answer)
        await self.advance(row, answer.entries)
        if positions and len(answer.entries) == FIRST:
            await self.fold_rest(row, after=answer.entries[-1].position, before=positions[0])
        if not answer.whole:
            await self._log.discard(key, positions)
            await self.begin(row)
            return False
        kept = overtaken(row.state, row.pending)
        own = [change.entry(position) for change, position in zip(row.pending, positions, strict=True)]
        plan = None if any(change.sets_plan for change in row.pending) else row.state.plan
        row.state = replace(fold_all(row.state, own).state, plan=plan, **kept)
        row.pending = [restored(row.stream_id, kept)] if kept else []
        return True

    async def begin(self, row: Row) -> None:
        """Begin a log, or begin it again after it lost its end, with all that the row holds.

        What the log holds all the same is folded first. Changes that are pending follow as events of their own: the
        row may hold them already, but what is folded may be in their place.

        Raises:
            UnavailableError: Redis does not answer.
            LogBehindError: The log's clock is behind the row.
        """
        key = LogKey.stream(row.stream_id)
        while True:
            await self.fold_rest(row, after=row.position)
            checkpoint = await checkpoint_of(self.client, row)
            appended = [(PATCHED, checkpoint.raw(row.origin))]
            part = Exchange(key=key, after=row.position, appended=appended, new=True, count=FIRST)
            answer = (await self._log.exchange([part]))[0]
            positions = self._appended(row, key, answer)
            before = row.state
            await self.advance(row, answer.entries)
            # What only moves the position is no reason to repeat it: a producer of words may never pause.
            moved_only = before == replace(row.state, last_event_id=before.last_event_id)
            if moved_only and len(answer.entries) < FIRST:
                break
            await self._log.discard(key, positions)
        state = fold_all(State(), [checkpoint.entry(positions[0])]).state
        row.state = replace(state, plan=row.state.plan)

    def _appended(self, row: Row, key: LogKey, answer: Exchanged) -> Sequence[Position]:
        positions = answer.positions or []
        self.appended.append((key, positions))
        if positions and row.position is not None and positions[0] <= row.position:
            raise LogBehindError
        return positions

    async def _saved(self, parts: Sequence[tuple[Row, Sequence[Entry]]]) -> list[Sequence[Entry]]:
        """Without the entries of transactions that were rolled back, which are removed from the logs."""
        written = [
            {
                entry.position: (origin, row.stored.last_event_id)
                for entry in entries
                if (origin := origin_of(entry)) is not None
            }
            for row, entries in parts
        ]
        lost = await rolled_back(self.client, (found for own in written for found in own.values()))
        saved = []
        for (row, entries), own in zip(parts, written, strict=True):
            undone = [position for position, found in own.items() if found in lost]
            if undone:
                await self._log.discard(LogKey.stream(row.stream_id), undone)
            saved.append([entry for entry in entries if entry.position not in undone] if undone else entries)
        return saved

    async def _claim(self, row: Row) -> None:
        if row.state.name != row.stored.name:
            await claim_name(self.client, row)
        if row.state.wdk_strategy_id not in (None, row.stored.wdk_strategy_id):
            await claim_wdk(self.client, row, self._one)

    async def _one(self, stream_id: UUID) -> Row | None:
        rows = await self.load([stream_id])
        return rows[0] if rows else None
