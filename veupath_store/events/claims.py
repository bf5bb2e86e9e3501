"""What a conversation's log alone cannot decide: names and WDK ids that are unique among a user's conversations.

The table's unique indexes decide. A conversation first claims the value there, in the transaction that moves its
position; what it got instead, and what another one lost by it, then goes into the logs as events of their own. So a
later rebuild, which reads one log at a time, finds the outcome and need not decide again.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, Final
from uuid import UUID

from veupath_store.engine import StoreTransaction
from veupath_store.events.changes import Change
from veupath_store.events.entries import Position
from veupath_store.events.fold import State
from veupath_store.events.patched import Claim
from veupath_store.events.rows import Row
from veupath_store.names import FREE_NAME
from veupath_store.races import NAME_KEY, WDK_KEY, once_unique

RELEASED: Final = {"wdk_strategy_id": None, "is_saved": False}
"""What a conversation holds after another one has claimed its WDK strategy."""

# What tells one claim from another, and the columns that go along with it; the first of them is what is claimed.
_CLAIMED: Final = {"name": ("name",), "wdk_event_id": ("wdk_strategy_id", "wdk_event_id", "is_saved")}

_ASKED: Final = f"""
WITH RECURSIVE asked(user_id, site_id, named, base) AS (VALUES ($1::uuid, $2::varchar, $3::uuid, $4::text)),
{FREE_NAME}"""
_RENAME: Final = f"""{_ASKED}
UPDATE stream_projections p SET name = free.name FROM free
WHERE p.stream_id = $3 AND p.user_id = $1 RETURNING p.name"""
_INSERT: Final = f"""{_ASKED}
INSERT INTO stream_projections (stream_id, user_id, site_id, name)
SELECT $3, $1, $2, free.name FROM free RETURNING name"""

_HOLDER: Final = """
SELECT stream_id FROM stream_projections
WHERE user_id = $1 AND site_id = $2 AND wdk_strategy_id = $3 AND stream_id <> $4"""
_RELEASE: Final = """
UPDATE stream_projections SET wdk_strategy_id = NULL, wdk_event_id = NULL, is_saved = false
WHERE user_id = $1 AND stream_id = $2 AND wdk_strategy_id = $3 RETURNING stream_id"""
_CLAIM: Final = "UPDATE stream_projections SET wdk_strategy_id = $3 WHERE user_id = $1 AND stream_id = $2"


async def claim_name(client: StoreTransaction, row: Row, *, new: bool = False) -> None:
    """Give the row the name that its log says, or, where that is taken, a numbered one.

    A statement in a savepoint; once more for each concurrent writer that takes the name first.

    Args:
        client: The transaction.
        row: The row; its `stored` name becomes the one that it got, and a change is pending where that is another.
        new: Whether the row is missing and is to be inserted.
    """
    wanted = row.state.name

    async def write() -> str:
        values = [row.user_id, row.site_id, row.stream_id, wanted]
        name: str = (await client.execute_rows(_INSERT if new else _RENAME, values))[0]["name"]
        return name

    got = await once_unique(write, frozenset({NAME_KEY}), client.nested)
    row.stored = replace(row.stored, name=got)
    if got != wanted:
        row.pending.append(Change(stream_id=row.stream_id, fields={"name": got}, decides={"name": wanted}))


async def claim_wdk(client: StoreTransaction, row: Row, load: Callable[[UUID], Awaitable[Row | None]]) -> None:
    """Give the row the WDK strategy that its log claims, unless another conversation claimed it later.

    Four statements, two of them in a savepoint; once more for each concurrent writer that claims it first.

    Args:
        client: The transaction.
        row: The row; its `stored` strategy becomes the claimed one, or a change that gives it up is pending.
        load: Locks another conversation's row, which may lose the strategy.
    """
    wanted = row.state.wdk_strategy_id

    async def write() -> tuple[Row | None, bool]:
        holders = await client.execute_rows(_HOLDER, [row.user_id, row.site_id, wanted, row.stream_id])
        # Outside of the savepoint: going back to that would unlock the row, which the settlement goes on to write.
        holder = await load(holders[0]["stream_id"]) if holders else None
        if holder is not None and _claimed_later(holder, row):
            return holder, False
        async with client.nested() as inner:
            # It may have lost the strategy before it was locked; then there is another holder, or none.
            if holder and not await inner.execute_rows(_RELEASE, [holder.user_id, holder.stream_id, wanted]):
                holder = None
            await inner.execute_query(_CLAIM, [row.user_id, row.stream_id, wanted])
        return holder, True

    holder, won = await once_unique(write, frozenset({WDK_KEY}), nullcontext)
    if not won:
        row.pending.append(released(row.stream_id, row.state.wdk_event_id))
        return
    row.stored = replace(row.stored, wdk_strategy_id=wanted)
    if holder is not None:
        holder.stored = replace(holder.stored, wdk_strategy_id=None)
        # Its own log may say so already, up to a position that is not written yet.
        if holder.state.wdk_strategy_id == wanted:
            holder.pending.append(released(holder.stream_id, holder.state.wdk_event_id))


def released(stream_id: UUID, wdk_event_id: str | None) -> Change:
    """That a conversation has lost its WDK strategy to another one.

    Args:
        stream_id: The conversation.
        wdk_event_id: The entry of its claim, as far as its row had seen its log; a later one is not lost.
    """
    return Change(stream_id=stream_id, fields=RELEASED, decides={"wdk_event_id": wdk_event_id})


def overtaken(state: State, pending: Sequence[Change]) -> dict[str, Any]:
    """What the log has come to say instead of that about which changes decided, before they were in it.

    Without it a name that is given to a conversation while a number is added to its last one would be lost.

    Args:
        state: What the log says before the changes.
        pending: The changes.

    Returns:
        The columns that are to stay as they are in that state.
    """
    kept: dict[str, Any] = {}
    for column, columns in _CLAIMED.items():
        changes = [change for change in pending if columns[0] in change.fields]
        expected = [values.get(column) for change in changes for values in (change.decides, change.fields)]
        decided = bool(changes) and all(column in change.decides for change in changes)
        if decided and getattr(state, column) not in (None, *expected):
            kept |= {name: getattr(state, name) for name in columns}
    return kept


def restored(stream_id: UUID, kept: dict[str, Any]) -> Change:
    """That what was overtaken holds.

    Args:
        stream_id: The conversation.
        kept: What `overtaken` returned.
    """
    decides = {column: kept[column] for column in _CLAIMED if column in kept}
    fields = {column: value for column, value in kept.items() if column != "wdk_event_id"}
    claim = Claim(kept["wdk_event_id"]) if "wdk_event_id" in kept else None
    return Change(stream_id=stream_id, fields=fields, claim=claim, decides=decides)


def _claimed_later(holder: Row, row: Row) -> bool:
    """Whether the holder's claim has the later entry. One that is from no log is the older one.

    Entries of two logs may have the same id: then it is the greater conversation's, whoever is caught up first.
    """
    if holder.state.wdk_strategy_id != row.state.wdk_strategy_id or holder.state.wdk_event_id is None:
        return False
    if row.state.wdk_event_id is None:
        return True
    theirs, ours = Position.parse(holder.state.wdk_event_id), Position.parse(row.state.wdk_event_id)
    return (theirs, holder.stream_id) > (ours, row.stream_id)
