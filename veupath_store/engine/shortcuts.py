"""Borrowing a connection and giving it back where there is nothing to wait for.

asyncpg makes a timer for each borrowing, and a task with two more timers for each giving back, which together take as
long as a small statement. They bound waits: for a connection that is free, or made, or reset. Where one is free and
made, and needs no reset, nothing waits, and none of them is needed. Both functions use what is internal to asyncpg's
pool, and leave everything else to it.
"""

from typing import Any


def is_ready(pool: Any) -> bool:  # noqa: ANN401 - an asyncpg pool, which has no types
    """Whether a pool has a free connection that is open, so that borrowing it does not wait."""
    free = pool._queue._queue  # the last of them is lent next
    return bool(free) and free[-1].is_connected() and free[-1]._generation == pool._generation


async def given_back_at_once(connection: Any) -> bool:  # noqa: ANN401 - an asyncpg connection, which has no types
    """Give a connection back if that needs no waiting. Does not suspend, so that it cannot be cancelled half-way.

    Args:
        connection: A borrowed one; one that was given back already is left alone.

    Returns:
        Whether it was given back; ``False`` for one that must be reset, closed, or waited for.
    """
    own = connection._con
    if own is None or not own.is_clean:
        return False
    holder = connection._holder
    if holder._generation != holder._pool._generation or own._protocol.queries_count >= holder._max_queries:
        return False
    own._on_release()
    await holder.release(None)
    return True
