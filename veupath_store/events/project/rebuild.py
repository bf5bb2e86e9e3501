"""Rebuild: rows anew from their whole logs, while the application runs (docs/event-log.md, rule 23)."""

from collections.abc import AsyncIterator, Container, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final
from uuid import UUID

from veupath_store.errors import InternalError, InvalidInputError, NotFoundError, StoreError, UnavailableError
from veupath_store.events.fold import fields
from veupath_store.events.fold.patch import whole_data
from veupath_store.events.log.entries import Entry, LogKey, LogKind
from veupath_store.events.log.log import EventLog
from veupath_store.events.log.pages import FIRST as FIRST_PAGE
from veupath_store.events.project.catch_up import catch_up_all, log_problems
from veupath_store.events.project.commit import Committed, Part, commit
from veupath_store.events.project.removal import strays
from veupath_store.events.project.rows import Snapshot, read_rows
from veupath_store.events.project.selection import Chosen
from veupath_store.events.project.verify import Prefix, fold_prefix
from veupath_store.inputs import limits
from veupath_store.inputs.validation import as_uuid, text
from veupath_store.session import get_engine
from veupath_store.values import CaughtUp, RebuildOutcome, StreamRebuild

TOGETHER: Final = 32
"""Conversations of one transaction at the most: so long may a writer of one of them have to wait."""

_MAKE_ROW: Final = """
INSERT INTO stream_projections (stream_id, user_id, site_id, name, last_event_id, unlogged, updated_at)
SELECT s.id, s.user_id, s.site_id, s.id::text, $2, '{}', 'epoch' FROM streams s WHERE s.id = $1
ON CONFLICT (stream_id) DO NOTHING"""
_MAKE_STREAM: Final = """
INSERT INTO streams (id, user_id, site_id, experiment_id, created_at)
SELECT $1, u.id, $3, $4, COALESCE($5, CURRENT_TIMESTAMP) FROM users u WHERE u.id = $2
ON CONFLICT (id) DO NOTHING"""


async def rebuild_group(log: EventLog, group: Sequence[Chosen], *, force: bool = False) -> AsyncIterator[StreamRebuild]:
    """Fold logs from their beginning, and put what they say in the place of the rows' logged columns.

    A row that is missing, or has seen nothing of its log, is caught up from the whole row that the log holds.

    Args:
        group: The conversations, `TOGETHER` at the most.
        force: Also where a log lacks what its row has seen, or has no beginning.

    Yields:
        What was done with each that exists.
    """
    new: list[UUID] = []
    there: list[Chosen] = []
    for one in group:
        found = await _with_row(log, one, force=force) if one.is_missing else one
        if isinstance(found, StreamRebuild):
            yield found
        elif found.last_event_id is None:
            new.append(found.stream_id)
        else:
            there.append(found)
    for stream_id, done in (await catch_up_all(log, new)).items():
        if not isinstance(done, NotFoundError):  # gone meanwhile
            yield _made(stream_id, done)
    async for rebuilt in _rebuilt(log, there, force=force):
        yield rebuilt


async def _with_row(log: EventLog, one: Chosen, *, force: bool) -> Chosen | StreamRebuild:
    """Make the row of a conversation that has none, where its log can say what the row held; else why not.

    A log without a whole row would be replaced by what the new row holds, which is nothing.
    """
    key, last = LogKey.stream(one.stream_id), None
    try:
        if not await _has_whole_row(log, key):
            newest = await log.read_newest(key, 1)
            if not newest or not force:
                outcome = RebuildOutcome.INCOMPLETE if newest else RebuildOutcome.EMPTY
                return StreamRebuild(stream_id=one.stream_id, outcome=outcome)
            last = str(newest[0].position)
    except InternalError as exc:
        return _unreadable(one.stream_id, exc)
    client = await get_engine().open()
    await client.execute_query(_MAKE_ROW, [one.stream_id, last])
    return replace(one, last_event_id=last)


async def _has_whole_row(log: EventLog, key: LogKey) -> bool:
    async for page in log.pages(key):
        if any(whole_data(entry) is not None for entry in page):
            return True
    return False


async def _rebuilt(log: EventLog, group: Sequence[Chosen], *, force: bool) -> AsyncIterator[StreamRebuild]:
    prefixes: dict[UUID, Prefix] = {}
    parts: list[Part] = []
    behind: set[UUID] = set()
    rows = await read_rows(await get_engine().open(), [one.stream_id for one in group])
    pages = await log.read_first([LogKey.stream(stream_id) for stream_id in rows], FIRST_PAGE)
    for (stream_id, row), first in zip(rows.items(), pages, strict=True):
        try:
            if isinstance(row, StoreError):
                raise row
            if isinstance(first, StoreError):
                raise first
            prefix = prefixes[stream_id] = await fold_prefix(log, stream_id, row.state.last_event_id, first)
        except (InvalidInputError, InternalError) as exc:
            yield _unreadable(stream_id, exc)
            continue
        outcome = outcome_of(prefix, row.state.last_event_id)
        if outcome is RebuildOutcome.REBUILT or (force and outcome is not RebuildOutcome.EMPTY):
            updated_at = prefix.state.updated_at or row.state.updated_at
            state = replace(prefix.state, last_event_id=row.state.last_event_id, updated_at=updated_at)
            parts.append(Part(row, exactly=True, state=state))
            if not _is_level(row, first):
                behind.add(stream_id)
        else:
            yield _report(stream_id, outcome, prefix)
    async for rebuilt in _set(log, parts, prefixes, behind):
        yield rebuilt


def _is_level(row: Snapshot, first: Sequence[Entry]) -> bool:
    """Whether a row and its log were at the same place when they were read, as is seen where the log is one page."""
    ends_there = 0 < len(first) < FIRST_PAGE and first[-1].position == row.position
    return ends_there and not row.state.unlogged and not row.waiting


async def _set(
    log: EventLog, parts: Sequence[Part], prefixes: Mapping[UUID, Prefix], behind: Container[UUID]
) -> AsyncIterator[StreamRebuild]:
    """Set the logged columns of rows whose positions have not changed; of those behind their logs, catch-up follows."""
    done = await commit(parts)
    written = [one for one, committed in done.items() if isinstance(committed, Committed) and one in behind]
    caught_up = await catch_up_all(log, written)
    for stream_id, committed in done.items():
        if not isinstance(committed, NotFoundError):
            yield _committed(stream_id, committed, prefixes[stream_id], caught_up.get(stream_id))


def _committed(stream_id: UUID, done: Committed | StoreError | None, prefix: Prefix, after: Any) -> StreamRebuild:  # noqa: ANN401
    if isinstance(done, Committed):
        return _report(stream_id, RebuildOutcome.REBUILT, prefix, after)
    return _not_done(stream_id, done)


def outcome_of(prefix: Prefix, position: str | None) -> RebuildOutcome:
    """What is to become of a row whose log is folded up to its position."""
    if position is None:
        return RebuildOutcome.EMPTY
    if not prefix.is_held:
        return RebuildOutcome.BEHIND
    return RebuildOutcome.REBUILT if prefix.state.begun else RebuildOutcome.INCOMPLETE


def _report(stream_id: UUID, outcome: RebuildOutcome, prefix: Prefix, after: Any = None) -> StreamRebuild:  # noqa: ANN401
    """What was done with a row, what a catch-up has folded after it included."""
    more, problems = (after.events, after.problems) if isinstance(after, CaughtUp) else (0, ())
    return StreamRebuild(
        stream_id=stream_id,
        outcome=outcome,
        events=prefix.events + more,
        problems=(*log_problems(prefix.problems), *problems),
    )


def _made(stream_id: UUID, done: Any) -> StreamRebuild:  # noqa: ANN401 - what a catch-up returned
    if isinstance(done, StoreError):
        return _not_done(stream_id, done)
    return StreamRebuild(
        stream_id=stream_id, outcome=RebuildOutcome.REBUILT, events=done.events, problems=done.problems
    )


async def make_missing_streams(log: EventLog) -> list[StreamRebuild]:
    """Make the conversations anew whose logs are there and whose rows are not, for the owners that the logs name.

    So it is after a restore of PostgreSQL to an earlier moment. What was deleted here stays deleted. The rows come with
    `rebuild_group`. A round trip to Redis and a statement for each 1,000 keys, and the first page of each such log.

    A log whose owner is not there, or that names none, makes none.

    Returns:
        Those whose logs cannot be read, or name what cannot be.
    """
    refused: list[StreamRebuild] = []
    async for found in strays(log, limits.INT32_MAX):
        for stray in found:
            if stray.key.kind is LogKind.STREAM and not (stray.is_removable or stray.key.name):
                try:
                    await _make_stream(log, stray.key)
                except (InvalidInputError, InternalError) as exc:
                    refused.append(_unreadable(stray.key.id, exc))
    return refused


def _not_done(stream_id: UUID, error: StoreError | None) -> StreamRebuild:
    if error is None or isinstance(error, UnavailableError):
        return StreamRebuild(stream_id=stream_id, outcome=RebuildOutcome.BUSY, reason=str(error or ""))
    return _unreadable(stream_id, error)


def _unreadable(stream_id: UUID, error: Exception) -> StreamRebuild:
    return StreamRebuild(stream_id=stream_id, outcome=RebuildOutcome.UNREADABLE, reason=str(error))


async def _make_stream(log: EventLog, key: LogKey) -> None:
    async for page in log.pages(key):
        for entry in page:
            data = whole_data(entry)
            if data is not None and "userId" in data:
                client = await get_engine().open()
                await client.execute_query(_MAKE_STREAM, [key.id, *_identity(data)])
                return


def _identity(data: Any) -> list[Any]:  # noqa: ANN401 - an entry's data
    """The owner, site, experiment and time that a whole row names."""
    experiment = data.get("experimentId")
    return [
        as_uuid(data["userId"], "userId"),
        text(data.get("siteId", ""), "siteId", limits.STREAM_SITE_ID, shortest=0),
        None if experiment is None else as_uuid(experiment, "experimentId"),
        fields.time(data.get("createdAt")),
    ]
