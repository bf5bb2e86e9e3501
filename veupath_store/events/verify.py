"""Verification: whether a row is what its log says, without writing anything."""

from collections.abc import Iterator
from typing import Any, Final
from uuid import UUID

from veupath_store.events.catch_up import log_problems
from veupath_store.events.entries import Position
from veupath_store.events.fold import State
from veupath_store.events.keys import LogKey
from veupath_store.events.log import EventLog, Exchange
from veupath_store.events.rebuild import Prefix, fold_prefix
from veupath_store.events.rows import COLUMNS
from veupath_store.json import decode
from veupath_store.session import get_engine
from veupath_store.values import FieldDifference, StreamVerification, VerifyOutcome

# A link to a gene set that is gone is null, as the foreign key made it; so the sets that are there are read, too.
_ROW: Final = f"""
SELECT {", ".join(f"p.{column}" for column in COLUMNS)}, p.plan,
       ARRAY (SELECT g.id FROM gene_sets g WHERE g.user_id = p.user_id AND g.id = ANY ($2::uuid[])) AS gene_sets
FROM stream_projections p WHERE p.stream_id = $1"""


async def verify_stream(log: EventLog, stream_id: UUID, last_event_id: str | None) -> StreamVerification:
    """Compare a row with the fold of its log up to the row's position.

    What the row has not seen yet is lag, not a difference.

    Args:
        log: The event log.
        stream_id: The conversation.
        last_event_id: What its row had seen a moment ago.
    """
    client = await get_engine().open()
    while True:
        prefix = await fold_prefix(log, stream_id, last_event_id)
        rows = await client.execute_rows(_ROW, [stream_id, [prefix.state.gene_set_id]])
        if not rows or rows[0]["last_event_id"] == last_event_id:
            return await _compared(log, stream_id, rows[0] if rows else None, prefix)
        last_event_id = rows[0]["last_event_id"]  # it moved while its log was read


async def _compared(log: EventLog, stream_id: UUID, row: Any, prefix: Prefix) -> StreamVerification:  # noqa: ANN401
    if row is None:
        return StreamVerification(stream_id=stream_id, outcome=VerifyOutcome.MISSING)
    differences = tuple(_differences(row, prefix.state))
    return StreamVerification(
        stream_id=stream_id,
        outcome=await _outcome(log, stream_id, row["last_event_id"], prefix, different=bool(differences)),
        events=prefix.events,
        differences=differences if prefix.events else (),
        problems=log_problems(prefix.problems),
    )


async def _outcome(
    log: EventLog, stream_id: UUID, last: str | None, prefix: Prefix, *, different: bool
) -> VerifyOutcome:
    if last is None:
        return VerifyOutcome.EMPTY
    part = Exchange(key=LogKey.stream(stream_id), after=Position.parse(last), count=1)
    if not (await log.exchange([part]))[0].whole:
        return VerifyOutcome.BEHIND
    if not prefix.state.begun:
        return VerifyOutcome.INCOMPLETE
    return VerifyOutcome.DIFFERENT if different else VerifyOutcome.EQUAL


def _differences(row: Any, state: State) -> Iterator[FieldDifference]:  # noqa: ANN401 - an asyncpg record
    for column in (*COLUMNS, "plan"):
        stored = decode(row[column]) if column == "plan" else row[column]
        folded = getattr(state, column)
        if column == "gene_set_id" and folded not in row["gene_sets"]:
            folded = None
        if stored != folded:
            yield FieldDifference(column=column, stored=stored, folded=folded)
