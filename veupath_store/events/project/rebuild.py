"""Rebuild: rows anew from their whole logs, while the application runs (docs/event-log.md, rule 23)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final
from uuid import UUID

from veupath_store.errors import InternalError, InvalidInputError, NotFoundError, StoreError, UnavailableError
from veupath_store.events.fold import fields
from veupath_store.events.fold.fold import State
from veupath_store.events.fold.patch import whole_data
from veupath_store.events.log.entries import LogKey, LogKind
from veupath_store.events.log.log import EventLog
from veupath_store.events.project.catch_up import catch_up_all
from veupath_store.events.project.commit import Committed, Part, commit
from veupath_store.events.project.removal import strays
from veupath_store.events.project.selection import Chosen
from veupath_store.events.project.verify import Folded, fold_rows
from veupath_store.inputs import limits
from veupath_store.inputs.validation import as_uuid, text
from veupath_store.session import get_engine
from veupath_store.values import CaughtUp, RebuildOutcome, StreamRebuild

_MAKE_ROW: Final = """
INSERT INTO stream_projections (stream_id, user_id, site_id, name, last_event_id, unlogged, updated_at)
SELECT s.id, s.user_id, s.site_id, s.id::text, $2, '{}', 'epoch' FROM streams s WHERE s.id = $1
ON CONFLICT (stream_id) DO NOTHING"""
_MAKE_STREAM: Final = """
INSERT INTO streams (id, user_id, site_id, experiment_id, created_at)
SELECT $1, u.id, $3, $4, COALESCE($5, CURRENT_TIMESTAMP) FROM users u WHERE u.id = $2
ON CONFLICT (id) DO NOTHING"""


async def rebuild_group(log: EventLog, group: Sequence[Chosen], *, force: bool = False) -> list[StreamRebuild]:
    """Fold logs from their beginning, and put what they say in the place of the rows' logged columns.

    A row that is missing, or has seen nothing of its log, is caught up from the whole row that the log holds. Catch-up
    follows, too, where row and log were not at the same place. Of several, large ones are left out.

    Args:
        force: Also where a log lacks what its row has seen, or has no beginning.
    """
    refused = [await _make_row(log, one.stream_id, force=force) for one in group if one.is_missing]
    done = [one for one in refused if one is not None]
    settled = {one.stream_id for one in done}
    wanted: list[Folded] = []
    new: list[UUID] = []
    found = await fold_rows(log, [one.stream_id for one in group if one.stream_id not in settled])
    for stream_id, folded in found.items():
        if isinstance(folded, StoreError):
            done.append(_failed(stream_id, folded))
        elif folded.row.state.last_event_id is None:
            new.append(stream_id)
        elif force or _outcome(folded) is RebuildOutcome.REBUILT:
            wanted.append(folded)
        else:
            done.append(_report(stream_id, _outcome(folded), folded))
    return [*done, *(await _written(log, wanted, new))]


async def _written(log: EventLog, wanted: Sequence[Folded], new: Sequence[UUID]) -> list[StreamRebuild]:
    """Write what was folded; and catch up what is new, or was not at the same place as its log."""
    committed = await commit([Part(folded.row, state=_state(folded)) for folded in wanted])
    by_id = {folded.row.stream_id: folded for folded in wanted}
    written = [stream_id for stream_id, result in committed.items() if isinstance(result, Committed)]
    behind = [stream_id for stream_id in written if not by_id[stream_id].is_level]
    caught_up = await catch_up_all(log, [*new, *behind])
    results: Mapping[UUID, Any] = {**{stream_id: caught_up[stream_id] for stream_id in new}, **committed}
    return [
        _failed(stream_id, result)
        if result is None or isinstance(result, StoreError)
        else _report(stream_id, RebuildOutcome.REBUILT, by_id.get(stream_id), caught_up.get(stream_id))
        for stream_id, result in results.items()
        if not isinstance(result, NotFoundError)  # gone meanwhile
    ]


async def _make_row(log: EventLog, stream_id: UUID, *, force: bool) -> StreamRebuild | None:
    """Make the row of a conversation that has none, where its log can say what the row held; else say why not.

    A log without a whole row would be replaced by what the new row holds, which is nothing.
    """
    key, last = LogKey.stream(stream_id), None
    try:
        if await _whole_row(log, key) is None:
            newest = await log.read_newest(key, 1)
            if not newest or not force:
                outcome = RebuildOutcome.INCOMPLETE if newest else RebuildOutcome.EMPTY
                return StreamRebuild(stream_id=stream_id, outcome=outcome)
            last = str(newest[0].position)
    except InternalError as exc:
        return _failed(stream_id, exc)
    client = await get_engine().open()
    await client.execute_query(_MAKE_ROW, [stream_id, last])
    return None


async def _whole_row(log: EventLog, key: LogKey, named: str = "") -> Mapping[str, Any] | None:
    """The data of a log's first whole row, of the first that has a certain field."""
    async for page in log.pages(key):
        for entry in page:
            data = whole_data(entry)
            if data is not None and (not named or named in data):
                return data
    return None


def _outcome(folded: Folded) -> RebuildOutcome:
    """What is to become of a row."""
    if not folded.is_held:
        return RebuildOutcome.BEHIND
    return RebuildOutcome.REBUILT if folded.state.begun else RebuildOutcome.INCOMPLETE


def _state(folded: Folded) -> State:
    """What a row is to hold; a fold that was forced may end elsewhere, and may say nothing of its time."""
    state, before = folded.state, folded.row.state
    if folded.is_held and state.updated_at is not None:
        return state
    return replace(state, last_event_id=before.last_event_id, updated_at=state.updated_at or before.updated_at)


def _report(
    stream_id: UUID, outcome: RebuildOutcome, folded: Folded | None, after: CaughtUp | StoreError | None = None
) -> StreamRebuild:
    """What was done with a row, what a catch-up has folded after it included."""
    events, problems = (folded.events, tuple(folded.problems)) if folded else (0, ())
    if isinstance(after, CaughtUp):
        events, problems = events + after.events, (*problems, *after.problems)
    return StreamRebuild(stream_id=stream_id, outcome=outcome, events=events, problems=problems)


def _failed(stream_id: UUID, error: StoreError | None) -> StreamRebuild:
    is_busy = error is None or isinstance(error, UnavailableError)
    outcome = RebuildOutcome.BUSY if is_busy else RebuildOutcome.UNREADABLE
    return StreamRebuild(stream_id=stream_id, outcome=outcome, reason=str(error or ""))


async def make_missing_streams(log: EventLog) -> list[StreamRebuild]:
    """Make the conversations anew whose logs are there and whose rows are not, for the owners that the logs name.

    So it is after a restore of PostgreSQL to an earlier moment. What was deleted here stays deleted. The rows come with
    `rebuild_group`. A round trip to Redis and a statement for each 1,000 keys, and the first page of each such log.

    A log whose owner is not there, or that names none, makes none. Returns those whose logs cannot be read, or name
    what cannot be.
    """
    refused: list[StreamRebuild] = []
    async for found in strays(log, limits.INT32_MAX):
        for stray in found:
            if stray.key.kind is LogKind.STREAM and not (stray.is_removable or stray.key.name):
                try:
                    await _make_stream(log, stray.key)
                except (InvalidInputError, InternalError) as exc:
                    refused.append(_failed(stray.key.id, exc))
    return refused


async def _make_stream(log: EventLog, key: LogKey) -> None:
    data = await _whole_row(log, key, "userId")
    if data is not None:
        client = await get_engine().open()
        await client.execute_query(_MAKE_STREAM, [key.id, *_identity(data)])


def _identity(data: Any) -> list[Any]:  # noqa: ANN401 - an entry's data
    """The owner, site, experiment and time that a whole row names."""
    experiment = data.get("experimentId")
    return [
        as_uuid(data["userId"], "userId"),
        text(data.get("siteId", ""), "siteId", limits.STREAM_SITE_ID, shortest=0),
        None if experiment is None else as_uuid(experiment, "experimentId"),
        fields.time(data.get("createdAt")),
    ]
