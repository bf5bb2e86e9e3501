"""The rows of `stream_projections`, as the projector locks, folds and writes them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from veupath_store.engine.statements import Statements
from veupath_store.events.changes import Change
from veupath_store.events.entries import Position
from veupath_store.events.fold import State
from veupath_store.events.origin import ORIGIN
from veupath_store.events.patched import PATCH_KEYS, Claim, Origin
from veupath_store.json import decode, encode

_TYPES: Final = {
    "name": "text",
    "record_type": "text",
    "wdk_strategy_id": "bigint",
    "wdk_event_id": "text",
    "is_saved": "boolean",
    "model_id": "text",
    "message_count": "integer",
    "step_count": "integer",
    "result_count": "integer",
    "last_event_id": "text",
    "updated_at": "timestamptz",
    "dismissed_at": "timestamptz",
    "dismissed_reason": "text",
    "gene_set_id": "uuid",
    "gene_set_auto_imported": "boolean",
}
COLUMNS: Final = tuple(_TYPES)
"""What the log decides, but for the plan, which is read and written only where it must be."""

_LOCK: Final = (
    f"SELECT stream_id, user_id, site_id, {', '.join(COLUMNS)}, {ORIGIN} "
    "FROM stream_projections WHERE stream_id = ANY ($1::uuid[]) ORDER BY stream_id FOR UPDATE"
)
_LOCK_AT_ONCE: Final = f"{_LOCK} NOWAIT"
_LOCK_FREE: Final = f"{_LOCK} SKIP LOCKED"

# A gene set that is gone is not linked, as the foreign key would have it.
_SPECIAL: Final = {
    "gene_set_id": "(SELECT g.id FROM gene_sets g WHERE g.user_id = v.user_id AND g.id = v.gene_set_id)",
    "updated_at": "COALESCE(v.updated_at, p.updated_at)",
}
_WRITE: Final = (
    "UPDATE stream_projections p SET plan = COALESCE(v.plan::jsonb, p.plan), "
    + ", ".join(f"{column} = {_SPECIAL.get(column, f'v.{column}')}" for column in COLUMNS)
    + " FROM unnest($1::uuid[], $2::uuid[], $3::text[], "
    + ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(_TYPES.values(), start=4))
    + f") AS v(stream_id, user_id, plan, {', '.join(COLUMNS)}) "
    + "WHERE p.stream_id = v.stream_id AND p.user_id = v.user_id"
)

_PLAN: Final = "SELECT plan FROM stream_projections WHERE user_id = $1 AND stream_id = $2"


@dataclass(slots=True)
class Row:
    """One conversation's row, locked, on its way to the end of its log.

    Attributes:
        stream_id: The conversation.
        user_id: Its owner.
        site_id: Its site.
        origin: What its events say of the transaction that has locked it.
        stored: What the table holds, the transaction's own writes included.
        state: What the log says so far.
        pending: Changes that the table holds and the log does not yet.
    """

    stream_id: UUID
    user_id: UUID
    site_id: str
    origin: Origin
    stored: State
    state: State
    pending: list[Change] = field(default_factory=list)

    @property
    def position(self) -> Position | None:
        """The last entry that is folded in."""
        return None if self.state.last_event_id is None else Position.parse(self.state.last_event_id)


async def lock_rows(client: Statements, stream_ids: Iterable[UUID], *, wait: bool = True) -> list[Row]:
    """Lock rows in the order of their key, so that two lockers cannot deadlock. One statement.

    Args:
        client: The transaction.
        stream_ids: The conversations; those that are gone have no row.
        wait: Whether to wait for those that others have locked; otherwise that is an error.

    Returns:
        The rows.
    """
    records = await client.execute_rows(_LOCK if wait else _LOCK_AT_ONCE, [sorted(set(stream_ids))])
    return [_row(record) for record in records]


async def lock_free_rows(client: Statements, stream_ids: Iterable[UUID]) -> list[Row]:
    """Lock those rows that nobody else has locked. One statement, which waits for nobody.

    Args:
        client: The transaction.
        stream_ids: The conversations.

    Returns:
        The rows, in the order of their key.
    """
    return [_row(record) for record in await client.execute_rows(_LOCK_FREE, [sorted(set(stream_ids))])]


def _row(record: Any) -> Row:  # noqa: ANN401 - an asyncpg record
    columns = {column: record[column] for column in COLUMNS}
    state = State(**columns, plan=None, begun=record["last_event_id"] is not None)
    origin = Origin(record["xact"], record["cluster"], record["last_event_id"])
    return Row(record["stream_id"], record["user_id"], record["site_id"], origin, state, state)


async def write_rows(client: Statements, rows: Sequence[Row]) -> None:
    """Write what the log says into rows that are locked. One statement for any number."""
    states = [row.state for row in rows]
    await client.execute_query(
        _WRITE,
        [
            [row.stream_id for row in rows],
            [row.user_id for row in rows],
            [None if state.plan is None else encode(state.plan, "plan") for state in states],
            *([getattr(state, column) for state in states] for column in COLUMNS),
        ],
    )


async def checkpoint_of(client: Statements, row: Row) -> Change:
    """All that a row holds, as one change with which a log can begin. One statement, for the plan.

    Args:
        client: The transaction.
        row: The row; its plan is read from the table unless the log has just set another.
    """
    state, plan = row.state, row.state.plan
    if plan is None:
        records = await client.execute_rows(_PLAN, [row.user_id, row.stream_id])
        plan = decode(records[0]["plan"])
    return Change(
        stream_id=row.stream_id,
        fields={**{column: getattr(state, column) for column in PATCH_KEYS if column != "plan"}, "plan": plan},
        created=True,
        claim=Claim(state.wdk_event_id),
        updated_at=state.updated_at,
        dismissed_at=state.dismissed_at,
    )
