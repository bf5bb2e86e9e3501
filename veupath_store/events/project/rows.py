"""The rows of `stream_projections`, as catch-up and rebuild read, lock and write them.

Beside them are those of `stream_events`, the events of units of work, until they are in the log.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid4

from veupath_store.documents.json import decode, encode_decoded
from veupath_store.engine.statements import Statements
from veupath_store.errors import InternalError, NotFoundError
from veupath_store.events.fold.fold import COLUMNS as FOLDED
from veupath_store.events.fold.fold import State
from veupath_store.events.fold.patch import DOCUMENTS
from veupath_store.events.log.entries import FIRST, Event, Fields, Position, encode_event
from veupath_store.models import StreamProjection
from veupath_store.models.unlogged import LOGGED
from veupath_store.session import get_engine
from veupath_store.session.unit_of_work import Session

COLUMNS: Final = (*(column for column in FOLDED if column != "plan"), "last_event_id", "unlogged")
"""What a fold decides, but for the plan, which is read and written only where it must be."""

_MODEL: Final = StreamProjection._meta.fields_map
# Without widths: a cast to varchar(n) would cut what is too long, a position too, instead of refusing it.
_TYPES: Final[Mapping[str, str]] = {
    column: "UUID"
    if column == "gene_set_id"
    else _MODEL[column].get_for_dialect("postgres", "SQL_TYPE").partition("(")[0]
    for column in COLUMNS
}
_JSON: Final = tuple(column for column, kind in _TYPES.items() if kind == "JSONB")
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

# An old operation's id may be used again.
_GONE: Final = """
SELECT FROM unnest({operations}::text[]) AS o(id)
JOIN deleted_ids d ON d.kind = 'operation' AND d.id = NULLIF(o.id, '')::uuid
WHERE NOT EXISTS (SELECT FROM operations p WHERE p.id = d.id)"""
# One whose key is there already is not kept twice.
_KEEP: Final = f"""
INSERT INTO stream_events (user_id, stream_id, key, operation_id, type, data)
SELECT s.user_id, s.id, e.key, e.operation_id, e.type, e.data
FROM streams s, unnest($2::uuid[], $3::text[], $4::text[], $5::text[])
    WITH ORDINALITY AS e(key, operation_id, type, data, place)
WHERE s.id = $1 AND NOT EXISTS ({_GONE.format(operations="$3")}) ORDER BY e.place
ON CONFLICT (user_id, stream_id, key) DO NOTHING"""
_EXISTS: Final = f"SELECT FROM streams WHERE id = $1 AND NOT EXISTS ({_GONE.format(operations='$2')})"


@dataclass(frozen=True, slots=True)
class Row:
    """One conversation's row."""

    stream_id: UUID
    user_id: UUID
    site_id: str
    state: State
    """What the table holds, the plan left out (``None``)."""

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
    """A row as it was read without a lock, with what is to go into its log."""

    experiment_id: UUID | None
    created_at: datetime
    documents: Mapping[str, str]
    """The JSON texts of `DOCUMENTS`, where they are to be logged."""
    waiting: Sequence[Fields]
    """The events of units of work that are to be appended."""
    has_more: bool
    """Whether there are more of them, for the next time."""

    @property
    def needs_whole_row(self) -> bool:
        """Whether nothing of it is in the log, or a loss is not (rule 12)."""
        return "lost" in self.state.unlogged or set(LOGGED) <= self.state.unlogged.keys()

    @property
    def identity(self) -> Mapping[str, Any]:
        """What a whole row says beside its columns, so that a log alone can give its conversation back."""
        whose = {"userId": self.user_id, "siteId": self.site_id}
        return {**whose, "experimentId": self.experiment_id, "createdAt": self.created_at}


async def read_rows(stream_ids: Iterable[UUID], plans: Iterable[UUID]) -> dict[UUID, Snapshot | InternalError]:
    """Rows by conversation, without a lock, or why one cannot be read. One statement.

    Those that are gone are left out; and those of `LARGE` documents, unless only one is asked for.

    Args:
        plans: Those whose plan is wanted also where the log has it.
    """
    client = await get_engine().open()
    records = await client.execute_rows(_READ, [sorted(set(stream_ids)), list(plans)])
    return {record["stream_id"]: _snapshot(record) for record in records}


async def lock_rows(client: Statements, stream_ids: Iterable[UUID]) -> dict[UUID, Row]:
    """Lock rows in the order of their key; by conversation, without those that are gone. One statement."""
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
    """A document out of its JSON text; an `InternalError` where it cannot be read."""
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


async def keep_events(session: Session, stream_id: UUID, events: Sequence[Event]) -> None:
    """Keep events of a unit of work until catch-up has appended them to their log. One statement.

    Raises:
        NotFoundError: No such conversation, or an event is of an operation that was deleted.
        InvalidInputError: An event cannot be kept.
    """
    fields = [encode_event(event, f"events[{index}]") for index, event in enumerate(events)]
    if not fields:
        return
    columns = [
        [UUID(key) if key else uuid4() for *_, key in fields],
        [operation for operation, *_ in fields],
        [kind for _, kind, *_ in fields],
        [str(data) for _, _, data, _ in fields],
    ]
    kept, _ = await session.client.execute_query(_KEEP, [stream_id, *columns])
    if not kept and not await session.client.execute_rows(_EXISTS, [stream_id, columns[1]]):
        raise NotFoundError("stream")
