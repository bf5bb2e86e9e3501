"""Events of the application inside a unit of work: rows of `stream_events`, until catch-up has appended them."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID, uuid4

from veupath_store.errors import NotFoundError
from veupath_store.events.log.entries import Event, encode_event
from veupath_store.session.unit_of_work import Session

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


async def keep(session: Session, stream_id: UUID, events: Sequence[Event]) -> None:
    """Keep events of a conversation until they are appended to its log. One statement.

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
