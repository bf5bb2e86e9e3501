"""What was read of a log, folded into its row (docs/event-log.md, rules 5 to 9, and 19).

The log was read without a lock. So the row is locked now, and must stand where it stood, or at one of the entries that
were read; its own columns may have changed meanwhile, which its tags tell. Names and WDK strategies are unique among a
user's conversations on a site, which no log knows: they are settled here, and what that decides is to be logged, too.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import UUID

import asyncpg

from veupath_store.engine import StoreTransaction
from veupath_store.engine.races import NAME_KEY, WDK_KEY, OutOfOrderError, despite_deadlocks, once_unique
from veupath_store.errors import ConflictError, InternalError, InvalidInputError, NotFoundError, StoreError
from veupath_store.events.fold.fold import State, fold_all
from veupath_store.events.log.entries import FIRST, Entry, Position
from veupath_store.events.project.rows import Row, Snapshot, lock_rows, write_rows
from veupath_store.inputs import limits
from veupath_store.inputs.validation import tidied
from veupath_store.models.unlogged import DECISION, new_tag
from veupath_store.repositories.free_names import FREE_NAME
from veupath_store.session import async_session_factory
from veupath_store.values import LogProblem

_FREE: Final = f"""
WITH RECURSIVE asked(user_id, site_id, named, base) AS (VALUES ($1::uuid, $2::varchar, $3::uuid, $4::text)),
{FREE_NAME} SELECT name FROM free"""
_HOLDER: Final = """
SELECT stream_id FROM stream_projections
WHERE user_id = $1 AND site_id = $2 AND wdk_strategy_id = $3 AND stream_id <> $4"""
_APPENDED: Final = """
DELETE FROM stream_events e USING unnest($1::uuid[], $2::uuid[], $3::uuid[]) AS d(user_id, stream_id, key)
WHERE e.user_id = d.user_id AND e.stream_id = d.stream_id AND e.key = d.key"""

_LARGE: Final = 1024 * 1024
"""Bytes of entries from which on a part has a transaction to itself."""


@dataclass(slots=True)
class Part:
    """What is to be folded into one row."""

    row: Snapshot
    """The row as it was read."""
    entries: Sequence[Entry] = ()
    """The entries after its position."""
    patch: Position | None = None
    """Where the row's own patch is, which was appended after them with all its columns that were unlogged."""
    lost: Mapping[str, Any] | None = None
    """The mark of a loss that the patch carries, where there was one since the row was read."""
    after: Sequence[Entry] = ()
    """The events of units of work that were appended after these; of one whose key the log has had, where that is."""
    state: State | None = None
    """Instead of folding: what the row is to hold, as far as it is logged."""
    expected: "Committed | StoreError | None" = None
    """What comes of it if the row is not changed before it is locked."""
    claimed: int | None = None
    """The WDK strategy that it claims, as far as that is seen; who holds it is locked as well."""

    @property
    def size(self) -> int:
        """About how many bytes its entries have."""
        return sum(len(entry.raw) + 256 for entry in self.entries)

    @property
    def is_large(self) -> bool:
        """Whether it is folded, and written, when no other one is: so many plans are not in memory at once."""
        return self.size > _LARGE

    @property
    def claims(self) -> bool:
        """Whether the row gets something that another row may have."""
        return isinstance(self.expected, Committed) and self.expected.claims

    def add(self, entries: Sequence[Entry]) -> None:
        """Take the entries that follow, and fold them."""
        self.entries = [*self.entries, *entries]
        done = self.expected
        if isinstance(done, Committed):
            state, problems, count = fold_all(done.state, entries)
            self.expected = Committed(done.row, state, (*done.problems, *problems), done.folded + count)
        else:
            self.expected = _folded(self, self.row)


@dataclass(frozen=True, slots=True)
class Committed:
    """What comes of a `Part`."""

    row: Row
    """The row, as it was when it was locked."""
    state: State
    """What it holds now."""
    problems: Sequence[LogProblem] = ()
    """Entries that were skipped."""
    folded: int = 0
    """How many entries were folded."""

    @property
    def claims_name(self) -> bool:
        """Whether the row gets another name."""
        return self.state.name != self.row.state.name

    @property
    def claimed(self) -> int | None:
        """The WDK strategy that the row gets, and has not had."""
        return None if self.state.wdk_strategy_id == self.row.state.wdk_strategy_id else self.state.wdk_strategy_id

    @property
    def claims(self) -> bool:
        """Whether it gets something that another row may have."""
        return self.claims_name or self.claimed is not None


async def commit(parts: Sequence[Part]) -> dict[UUID, Committed | StoreError | None]:
    """Fold what was read into rows: a transaction for those that claim no name or WDK strategy, one for each that does.

    Three statements at most for each transaction; where something is claimed one to three more.

    Returns:
        For each conversation what came of it: ``None`` where the row stands elsewhere by now, so that it is to be read
        again; an error where the row cannot be read or written, is locked for too long, or is gone.
    """
    for part in parts:
        if not part.is_large:
            part.expected = _folded(part, part.row)
    together = [part for part in parts if isinstance(part.expected, Committed) and not part.claims]
    done: dict[UUID, Committed | StoreError | None] = {}
    try:
        done |= await despite_deadlocks(lambda: _commit_together(together))
    except StoreError as exc:
        if not is_of_one(exc):
            raise
        if len(parts) == 1:
            return {parts[0].row.stream_id: exc}
    for part in parts:
        if part.row.stream_id not in done:
            done[part.row.stream_id] = await _commit_alone(part)
            part.expected = None  # its plan may be large
    return done


async def _commit_together(parts: Sequence[Part]) -> dict[UUID, Committed | StoreError | None]:
    """Fold several parts, but for those that claim something after all, because their rows were changed meanwhile."""
    if not parts:
        return {}
    async with async_session_factory() as session:
        rows = await lock_rows(session.client, (part.row.stream_id for part in parts))
        folded = {part.row.stream_id: _folded(part, rows.get(part.row.stream_id)) for part in parts}
        done = {key: one for key, one in folded.items() if not (isinstance(one, Committed) and one.claims)}
        await _write(session.client, [(part, done.get(part.row.stream_id)) for part in parts])
    return done


async def _commit_alone(part: Part) -> Committed | StoreError | None:
    """Fold one part, and settle the name and the WDK strategy that it claims: the last commit holds."""
    part.expected = part.expected or _folded(part, part.row)
    part.claimed = part.expected.claimed if isinstance(part.expected, Committed) else None
    try:
        # Another writer may take the name, or the strategy, first.
        keys = frozenset({NAME_KEY, WDK_KEY})
        return await once_unique(lambda: despite_deadlocks(lambda: _settled(part)), keys, nullcontext)
    except StoreError as exc:
        if is_of_one(exc):
            return exc
        raise


def is_of_one(error: StoreError) -> bool:
    """Whether something is wrong with one row, which keeps none of the others from being written."""
    is_refused = isinstance(error, ConflictError | InvalidInputError | InternalError)
    return is_refused or isinstance(error.__cause__, asyncpg.LockNotAvailableError)


async def _settled(part: Part) -> Committed | StoreError | None:
    async with async_session_factory() as session:
        client, row = session.client, part.row
        claim = [row.user_id, row.site_id, part.claimed, row.stream_id]
        found = await client.execute_rows(_HOLDER, claim) if part.claimed is not None else []
        rows = await lock_rows(client, [row.stream_id, *(each["stream_id"] for each in found)])
        done = _folded(part, rows.get(row.stream_id))
        if not isinstance(done, Committed):
            return done
        if done.claimed != part.claimed:  # the row was changed since it was read
            part.claimed = done.claimed
            raise OutOfOrderError("Another row is to be locked with it.")
        for each in found:
            holder = rows.get(each["stream_id"])
            if holder is not None and holder.state.wdk_strategy_id == done.claimed:
                await write_rows(client, [_released(holder)])
        if done.claims_name:
            done = replace(done, state=await _named(client, done))
        await _write(client, [(part, done)])
        return replace(done, state=replace(done.state, plan=None))


def _released(holder: Row) -> Row:
    """The row that loses its WDK strategy, which no one asked for."""
    tags = dict.fromkeys(("wdk_strategy_id", "is_saved"), new_tag(DECISION))
    state = replace(holder.state, wdk_strategy_id=None, is_saved=False, unlogged={**holder.state.unlogged, **tags})
    return replace(holder, state=state)


async def _named(client: StoreTransaction, done: Committed) -> State:
    """The state with a name that is free, and as names are kept; where an entry's is blank, the row's own stays."""
    state, row = done.state, done.row
    wanted = tidied(state.name)[: limits.NAME].strip() or row.state.name
    [found] = await client.execute_rows(_FREE, [row.user_id, row.site_id, row.stream_id, wanted])
    if found["name"] == state.name:
        return state
    return replace(state, name=found["name"], unlogged={**state.unlogged, "name": new_tag(DECISION)})


def _folded(part: Part, row: Row | None) -> Committed | StoreError | None:
    """What a row becomes; ``None`` where it stands where the entries do not join on."""
    if row is None:
        return NotFoundError("stream")
    if part.expected is not None and row.state == part.row.state:
        return part.expected  # as nearly always: it is as it was read
    try:
        if not _joins(part, row):
            return None
        if part.state is not None:
            return Committed(row, _kept(row.state, part.state))
        before = row.position
        entries = [entry for entry in part.entries if before is None or entry.position > before]
        # What a row counts that has seen nothing is among these: an adopted one whose position was lost.
        begins = before == FIRST and part.patch is None
        state, problems, count = fold_all(replace(row.state, message_count=0) if begins else row.state, entries)
    except InvalidInputError as exc:
        return exc
    if part.patch is not None:
        state = _patched(state, part)
    state, more, appended = fold_all(state, part.after)
    return Committed(row, state, (*problems, *more), count + appended)


def _joins(part: Part, row: Row) -> bool:
    is_same = row.state.last_event_id == part.row.state.last_event_id
    return is_same or row.position in {entry.position for entry in part.entries}


def _patched(state: State, part: Part) -> State:
    """After the own patch: what it holds is logged, as far as no statement has set it anew meanwhile."""
    patched = part.row.state.unlogged
    unlogged = {column: tag for column, tag in state.unlogged.items() if patched.get(column) != tag}
    state = replace(state, unlogged=unlogged, last_event_id=str(part.patch), begun=True)
    return state if part.lost is None else replace(state, lost=part.lost, message_count=0)


def _kept(stored: State, given: State) -> State:
    """What is given, but for the columns that are not logged."""
    if not stored.unlogged:
        return given
    kept: dict[str, Any] = {column: getattr(stored, column) for column in stored.unlogged}
    kept["updated_at"] = stored.updated_at
    return replace(given, **kept, unlogged=stored.unlogged)


async def _write(client: StoreTransaction, all_done: Iterable[tuple[Part, Committed | StoreError | None]]) -> None:
    rows: list[Row] = []
    keys: list[tuple[UUID, UUID, UUID]] = []
    for part, done in all_done:
        if isinstance(done, Committed):
            rows.append(replace(done.row, state=done.state))
            for key in filter(None, (entry.key for entry in (*part.entries, *part.after))):
                with suppress(ValueError):  # another writer's
                    keys.append((done.row.user_id, done.row.stream_id, UUID(key)))
    if rows:
        await write_rows(client, rows)
    if keys:
        await client.execute_query(_APPENDED, [list(column) for column in zip(*keys, strict=True)])
