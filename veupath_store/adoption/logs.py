"""Logs at the switch: rows that are not what theirs say are listed, and logs whose ids change are copied.

A row that is not what its log says is kept as it is. Of each log at most `READ` entries up to the row's position are
read, and as many after it: in almost every one that is all, and else the last word of almost every column. An old log
does not hold how its conversation began; so what it says is folded into the row itself, and differs only where it says
otherwise.
"""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final

from veupath_store.adoption.documents import FEW, PLAN
from veupath_store.adoption.plans import readable
from veupath_store.adoption.values import ProblemKind
from veupath_store.adoption.work import BATCH, Work
from veupath_store.config import StoreSettings
from veupath_store.documents.plans import COPIED, flatten_plan
from veupath_store.errors import InternalError, StoreError
from veupath_store.events.fold.fold import PROJECTING, State, fold_all
from veupath_store.events.log.client import Command, RedisClient
from veupath_store.events.log.entries import Entry, LogKey, LogKind, entries_of

READ: Final = 500

_COLUMNS: Final = ("name", "record_type", "wdk_strategy_id", "is_saved", "model_id", "message_count", "step_count")
_ROWS: Final = f"""
SELECT a.legacy_id, a.last_event_id, {", ".join(f"o.{column}" for column in _COLUMNS)}, {PLAN.text()} AS plan
FROM adopting_stream_projections a JOIN old_stream_projections o ON o.place = a.place {PLAN.join()}"""

_AHEAD: Final = "it goes on after what the row has seen: its messages are counted, all else stays"
_BEHIND: Final = "it does not hold the entry that the row has seen last: messages are lost"
_NO_LOG: Final = "what is under its key is no log: remove it, or what is said from now on is not logged"
_OTHER: Final = "the log says otherwise: the row's value stays"

_IDS: Final = "SELECT legacy_id, id FROM adopting_ids WHERE kind = '{kind}' AND own ORDER BY legacy_id"
_NOTE: Final = "UPDATE adopting_problems SET fixed = $1 WHERE kind = $2 AND key = ANY ($3::text[])"

_COPIED: Final = "its log was copied to the key that it has now; the old key stays"
_NONE: Final = "there is no log under its old key"


@asynccontextmanager
async def old_logs(settings: StoreSettings) -> AsyncIterator[RedisClient | None]:
    """A client of the event log; ``None`` where there is no log."""
    if settings.log_target is None:
        yield None
        return
    client = RedisClient(settings.log_target, settings.log_timeout)
    try:
        yield client
    finally:
        await client.close()


async def copy_logs(work: Work) -> None:
    """Copy them, where there is an event log. Idempotent: a key that is there already is left alone."""
    if work.log is None:
        return
    async for rows in work.batches(_IDS.format(kind="streams"), BATCH // 10):
        copied: dict[bool, list[str]] = {True: [], False: []}
        for row in rows:
            copy = _copy(LogKind.STREAM, row, work.log_prefix)
            _, there = await work.log.run([copy, ("EXISTS", copy[2])])
            copied[bool(there)].append(row["legacy_id"])
        for there, keys in copied.items():
            await work.connection.execute(_NOTE, _COPIED if there else _NONE, ProblemKind.RENAMED_LOG, keys)
    async for rows in work.batches(_IDS.format(kind="operations"), BATCH):
        await work.log.run([_copy(LogKind.OPERATION, row, work.log_prefix) for row in rows])


def _copy(kind: LogKind, row: Any, prefix: str) -> Command:  # noqa: ANN401 - a record
    return "COPY", f"{prefix}{kind}:{row['legacy_id']}", LogKey(kind, row["id"]).text(prefix)


async def note_logs(work: Work) -> None:
    """List rows and logs that differ, where there is an event log. A round trip for each `FEW` conversations."""
    if work.log is None:
        return
    done = 0
    async for rows in work.batches(_ROWS, FEW):
        replies = iter(await work.log.run_each(it for row in rows for it in _commands(row, work.log_prefix)))
        for row in rows:
            noted = _noted(row, next(replies), next(replies))
            await work.note_each(PLAN.table, [(row["legacy_id"], *difference) for difference in noted])
        done += len(rows)
        work.tell("reading logs", done, max(done, work.rows[PLAN.table]))


def _noted(row: Any, before: Any, after: Any) -> Iterator[tuple[ProblemKind, str | None, str]]:  # noqa: ANN401
    """What is to be listed of one row, from what Redis said."""
    refused = next((it for it in (before, after) if isinstance(it, StoreError)), None)
    if isinstance(refused, InternalError):
        yield ProblemKind.LOG_BEHIND, "last_event_id", _NO_LOG
    elif refused is not None:
        raise refused from refused.__cause__
    else:
        yield from _differences(row, entries_of(before)[::-1], entries_of(after))


def _commands(row: Any, prefix: str) -> Iterator[tuple[str | int, ...]]:  # noqa: ANN401 - a record
    key, position = f"{prefix}{LogKind.STREAM}:{row['legacy_id']}", row["last_event_id"] or "0-0"
    yield "XREVRANGE", key, position, "-", "COUNT", READ
    yield "XRANGE", key, f"({position}", "+", "COUNT", READ


def _differences(
    row: Mapping[str, Any], before: Sequence[Entry], after: Sequence[Entry]
) -> Iterator[tuple[ProblemKind, str | None, str]]:
    """What is to be listed of one row."""
    position = row["last_event_id"]
    if position not in (None, "0-0") and (not before or str(before[-1].position) != position):
        yield ProblemKind.LOG_BEHIND, "last_event_id", _BEHIND
    if any(entry.type in PROJECTING for entry in after):
        yield ProblemKind.LOG_AHEAD, "last_event_id", _AHEAD
    for column in _unlike(row, before) if before else ():
        yield ProblemKind.UNLIKE_LOG, column, _OTHER


def _unlike(row: Mapping[str, Any], entries: Sequence[Entry]) -> Iterator[str]:
    """The columns of which the log has said something else last; messages where all of it was read."""
    plan = readable(row["plan"]) or {}
    stored = State(**{column: row[column] for column in _COLUMNS if row[column] is not None}, plan=plan)
    said = fold_all(replace(stored, message_count=0), entries).state
    compared = [column for column in _COLUMNS if column != "message_count" or len(entries) < READ]
    yield from (column for column in compared if getattr(said, column) != getattr(stored, column))
    if _searches(said.plan) != _searches(plan):
        yield "plan"


def _searches(plan: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - stored JSON
    """What both layers know of a plan's steps."""
    return [{name: step[name] for name in ("id", *COPIED) if step.get(name)} for step in flatten_plan(plan or {})]
