"""The rows of `stream_projections`, as catch-up and rebuild read, lock and write them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from veupath_store.documents.json import decode, encode_decoded
from veupath_store.engine.statements import Statements
from veupath_store.errors import InternalError
from veupath_store.events.fold.fold import State
from veupath_store.events.fold.patch import DOCUMENTS
from veupath_store.events.log.entries import FIRST, Fields, Position
from veupath_store.models.unlogged import LOGGED

_TYPES: Final = {
    "name": "text",
    "record_type": "text",
    "wdk_strategy_id": "bigint",
    "is_saved": "boolean",
    "model_id": "text",
    "message_count": "integer",
    "step_count": "integer",
    "unrooted_steps": "jsonb",
    "result_count": "integer",
    "dismissed_at": "timestamptz",
    "dismissed_reason": "text",
    "gene_set_id": "uuid",
    "gene_set_auto_imported": "boolean",
    "messages_after": "text",
    "updated_at": "timestamptz",
    "lost": "jsonb",
    "last_event_id": "text",
    "unlogged": "jsonb",
}
COLUMNS: Final = tuple(_TYPES)
"""What a fold decides, but for the plan, which is read and written only where it must be."""

_JSON: Final = tuple(column for column, kind in _TYPES.items() if kind == "jsonb")
_LISTED: Final = ", ".join(f"p.{column}" for column in COLUMNS)

LARGE: Final = 16 * 1024
"""Bytes of a row's documents, as the table holds them, from which on it is read alone: they may be 90 times as many as
text, and objects made of that ten times as many again."""

WAITING: Final = 1024 * 1024
"""Bytes of a conversation's waiting events that are read at once, and one event more."""

# Without a lock, in one statement, so that the row and its waiting events are of one moment (rule 2).
# The plan comes along as text where it is to be logged, as with a whole row after a loss.
_READ: Final = f"""
SELECT p.stream_id, p.user_id, p.site_id, s.experiment_id, s.created_at, {_LISTED},
       CASE WHEN p.stream_id = ANY ($2::uuid[]) OR p.last_event_id IS NULL OR p.unlogged ?| '{{plan,lost}}'
            THEN p.plan END AS plan,
       e.waiting, e.has_more
FROM stream_projections p JOIN streams s ON s.user_id = p.user_id AND s.id = p.stream_id, LATERAL (
    SELECT jsonb_agg(jsonb_build_array(operation_id, type, data, key) ORDER BY number) FILTER (WHERE fits) AS waiting,
           bool_or(NOT fits) AS has_more
    FROM (SELECT e.*, sum(octet_length(data) + 1024) OVER (ORDER BY number) - octet_length(data) <= {WAITING} AS fits
          FROM stream_events e WHERE e.user_id = p.user_id AND e.stream_id = p.stream_id) e) e
WHERE p.stream_id = ANY ($1::uuid[]) AND (cardinality($1::uuid[]) = 1
    OR pg_column_size(p.plan) + COALESCE(pg_column_size(p.unrooted_steps), 0) < {LARGE})"""

# In the order of the key, so that two that lock several rows cannot deadlock.
_LOCK: Final = f"""
SELECT p.stream_id, p.user_id, p.site_id, {_LISTED} FROM stream_projections p
WHERE p.stream_id = ANY ($1::uuid[]) ORDER BY p.stream_id FOR UPDATE"""

# A gene set that is gone is not linked, as the foreign key would have it.
_LINKED: Final = "(SELECT g.id FROM gene_sets g WHERE g.user_id = v.user_id AND g.id = v.gene_set_id)"
# A plan that is set to what it was is what a caller has seen.
_WRITE: Final = (
    "UPDATE stream_projections p SET plan = COALESCE(v.plan, p.plan), plan_version = p.plan_version + "
    "CASE WHEN v.plan <> p.plan OR p.unrooted_steps IS DISTINCT FROM v.unrooted_steps THEN 1 ELSE 0 END, "
    + ", ".join(f"{column} = {_LINKED if column == 'gene_set_id' else f'v.{column}'}" for column in COLUMNS)
    + " FROM unnest($1::uuid[], $2::uuid[], $3::jsonb[], "
    + ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(_TYPES.values(), start=4))
    + f") AS v(stream_id, user_id, plan, {', '.join(COLUMNS)}) "
    + "WHERE p.stream_id = v.stream_id AND p.user_id = v.user_id"
)


@dataclass(frozen=True, slots=True)
class Row:
    """One conversation's row.

    Attributes:
        stream_id: The conversation.
        user_id: Its owner.
        site_id: Its site.
        state: What the table holds, the plan left out (``None``).
    """

    stream_id: UUID
    user_id: UUID
    site_id: str
    state: State

    @property
    def position(self) -> Position | None:
        """The last entry that is folded in."""
        found = self.state.last_event_id
        return None if found is None else Position.parse(found)

    @property
    def has_seen_any(self) -> bool:
        """Whether something of its log is folded in, or was by an older application that did not say up to where."""
        return self.position is not None and (self.position > FIRST or self.state.message_count > 0)


@dataclass(frozen=True, slots=True)
class Snapshot(Row):
    """A row as it was read without a lock, with what is to go into its log.

    Attributes:
        experiment_id: The experiment that the conversation is about.
        created_at: When it was made.
        documents: The JSON texts of `DOCUMENTS`, where they are to be logged.
        waiting: The events of units of work that are to be appended.
        has_more: Whether there are more of them, for the next time.
    """

    experiment_id: UUID | None
    created_at: datetime
    documents: Mapping[str, str]
    waiting: Sequence[Fields]
    has_more: bool

    @property
    def needs_whole_row(self) -> bool:
        """Whether nothing of it is in the log, or a loss is not (rule 12)."""
        return "lost" in self.state.unlogged or set(LOGGED) <= self.state.unlogged.keys()


async def read_rows(
    client: Statements, stream_ids: Iterable[UUID], plans: Iterable[UUID] = ()
) -> dict[UUID, Snapshot | InternalError]:
    """Read rows without a lock. One statement.

    Args:
        client: The pool.
        stream_ids: The conversations.
        plans: Those whose plan is wanted also where the log has it.

    Returns:
        The rows by conversation, or why one cannot be read. Those that are gone have none; and those of `LARGE`
        documents, unless only one is asked for.
    """
    records = await client.execute_rows(_READ, [sorted(set(stream_ids)), list(plans)])
    return {record["stream_id"]: _snapshot(record) for record in records}


async def lock_rows(client: Statements, stream_ids: Iterable[UUID]) -> dict[UUID, Row]:
    """Lock rows in the order of their key. One statement.

    Args:
        client: The transaction.
        stream_ids: The conversations; those that are gone have no row.

    Returns:
        The rows by conversation.
    """
    records = await client.execute_rows(_LOCK, [sorted(set(stream_ids))])
    return {
        record["stream_id"]: Row(record["stream_id"], record["user_id"], record["site_id"], _state(record))
        for record in records
    }


async def write_rows(client: Statements, rows: Sequence[Row]) -> None:
    """Write the states of rows that are locked. One statement for any number."""
    states = [row.state for row in rows]
    await client.execute_query(
        _WRITE,
        [
            [row.stream_id for row in rows],
            [row.user_id for row in rows],
            [None if state.plan is None else encode_decoded(state.plan, "plan") for state in states],
            *([_value(state, column) for state in states] for column in COLUMNS),
        ],
    )


def document(record: Any, column: str) -> Any:  # noqa: ANN401 - an asyncpg record, or a mapping
    """A document out of its JSON text.

    Raises:
        InternalError: It cannot be read.
    """
    text = record[column]
    try:
        return None if text is None else decode(text)
    except ValueError as exc:  # written past the store: nested too deep, or with a number of hundreds of digits
        raise InternalError(f"the document {column} cannot be read: {exc}") from exc


def _state(record: Any) -> State:  # noqa: ANN401 - an asyncpg record
    columns = {column: record[column] for column in COLUMNS}
    for column in _JSON:
        columns[column] = document(record, column)
    tags = columns["unlogged"]
    if not (isinstance(tags, dict) and all(isinstance(tag, str) for tag in tags.values())):
        raise InternalError("the document unlogged cannot be read: it holds no tags")
    if not isinstance(columns["lost"], dict | None):
        raise InternalError("the document lost cannot be read: it is no object")
    return State(**columns, plan=None, begun=columns["last_event_id"] is not None)


def _snapshot(record: Any) -> Snapshot | InternalError:  # noqa: ANN401 - an asyncpg record
    try:
        state = _state(record)
    except InternalError as exc:
        return exc
    return Snapshot(
        record["stream_id"],
        record["user_id"],
        record["site_id"],
        state,
        record["experiment_id"],
        record["created_at"],
        {column: record[column] or "null" for column in DOCUMENTS},
        [tuple(event) for event in decode(record["waiting"])] if record["waiting"] else [],
        bool(record["has_more"]),
    )


def _value(state: State, column: str) -> Any:  # noqa: ANN401 - a column's value
    value = getattr(state, column)
    return encode_decoded(value, column) if column in _JSON and value is not None else value
