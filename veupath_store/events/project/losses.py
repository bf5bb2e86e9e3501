"""How a row's log begins, and what becomes of a row whose log has lost something (rules 10 to 13)."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from veupath_store.errors import InvalidInputError
from veupath_store.events.fold.effects import MESSAGES
from veupath_store.events.fold.fields import whole
from veupath_store.events.fold.patch import whole_data
from veupath_store.events.log.entries import FIRST, Entry, LogKey, Position
from veupath_store.events.log.log import EventLog
from veupath_store.events.project.rows import Row, Snapshot, lock_rows, write_rows
from veupath_store.inputs import limits
from veupath_store.models.unlogged import DECISION, LOGGED, WISH, is_wish, new_tag
from veupath_store.session import async_session_factory


def is_own(row: Snapshot, entry: Entry) -> bool:
    """Whether an entry is a whole row of this conversation's owner and site.

    The first version's beginnings do not say whose they are; ids are used once, so that they are this one's.
    """
    data = whole_data(entry)
    if data is None:
        return False
    return "userId" not in data or (data["userId"] == str(row.user_id) and data.get("siteId") == row.site_id)


def from_own(row: Snapshot, entries: Sequence[Entry]) -> list[Entry] | None:
    """Entries from the row's own whole row on; ``None`` where that is not among them."""
    for number, entry in enumerate(entries):
        if is_own(row, entry):
            return list(entries[number:])
    return None


async def own_beginning(log: EventLog, row: Snapshot) -> list[Entry] | None:
    """What a log holds from the row's own whole row on, a page of it; ``None`` where all of it is somebody else's."""
    async for page in log.pages(LogKey.stream(row.stream_id)):
        entries = from_own(row, page)
        if entries is not None:
            return entries
    return None


async def beginning_after(log: EventLog, row: Snapshot) -> list[Entry] | None:
    """The log's first entry, where it begins with the row's own whole row, after the row's position.

    So it does when it was trimmed while this row could not follow; nothing is lost then.
    """
    entries = await log.read(LogKey.stream(row.stream_id), count=1)
    begins_after = entries and row.position is not None and entries[0].position > row.position
    return entries if begins_after and is_own(row, entries[0]) else None


async def accept_loss(log: EventLog, row: Snapshot) -> None:
    """Set a row back to where its log still joins on, and say for good what was lost. One transaction.

    What the row holds is to be logged anew, with the mark of the loss: what a caller asked for as such, all else as a
    decision, which whatever the log still holds after that place may replace. Messages are what the log still lists.
    """
    position, key = row.position, LogKey.stream(row.stream_id)
    if position is None:
        return
    seen = await log.read_newest(key, 1, before=position.after)
    low = seen[0].position if seen else FIRST
    count = await count_messages(log, row, low)
    async with async_session_factory() as session:
        locked = (await lock_rows(session.client, [row.stream_id])).get(row.stream_id)
        if locked is not None and locked.state.last_event_id == row.state.last_event_id:
            await write_rows(session.client, [_set_back(locked, low, count)])


async def count_messages(log: EventLog, row: Row, last: Position) -> int:
    """How many messages of a conversation its log lists up to an entry."""
    after = row.state.messages_after
    count = 0
    async for page in log.pages(LogKey.stream(row.stream_id), None if after is None else Position.parse(after)):
        count += sum(entry.type in MESSAGES for entry in page if entry.position <= last)
        if page[-1].position > last:
            break
    return count


def _set_back(row: Row, low: Position, count: int) -> Row:
    state = row.state
    decided, wished = new_tag(DECISION), new_tag(WISH)
    unlogged = {column: wished if is_wish(state.unlogged.get(column, "")) else decided for column in (*LOGGED, "lost")}
    lost = loss(row, low, state.message_count - count)
    return replace(row, state=replace(state, last_event_id=str(low), unlogged=unlogged, message_count=count, lost=lost))


def loss(row: Row, low: Position, messages: int) -> Mapping[str, Any]:
    """The mark of a loss, added to what was lost before, of a row whose position its log does not hold.

    ``after`` and ``before`` are the entries between which something is gone: `low` is the last one before the position
    that the log still has, `FIRST` for none. At least so many ``messages`` are; ``at`` is when that was seen.
    """
    known, position = row.state.lost or {}, row.position or FIRST
    return {
        "messages": max(0, messages) + (whole(known.get("messages"), limits.INT32_MAX) or 0),
        "after": str(min(low, _known(known.get("after"), low))),
        "before": str(max(position, _known(known.get("before"), position))),
        "at": datetime.now(UTC).isoformat(),
    }


def _known(text: Any, otherwise: Position) -> Position:  # noqa: ANN401 - a log's or a table's JSON value
    with suppress(InvalidInputError):
        return Position.parse(text)
    return otherwise
