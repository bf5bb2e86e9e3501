"""What reaches into asyncpg's pool: acquiring and releasing without a wait, and a limit below the pool's size.

asyncpg makes a timer for each acquisition, and a task with two more timers for each release, which together take as
long as a small statement. They bound waits: for a connection that is free, or made, or reset. Where one is free and
made, and needs no reset, nothing waits, and none of them is needed.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any, Final

from veupath_store.engine.translation import DRIVER_ERRORS, ConnectionLimitError
from veupath_store.errors import StoreError

logger: logging.Logger = logging.getLogger("veupath_store.engine")

_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 1.0
"""Seconds between two tries for one connection more, while calls wait."""


class ConnectionLimit:
    """Lets calls wait for the connections that are open, where no more are allowed.

    asyncpg's pool opens a connection for each call that finds an empty place, so that at a limit all of these calls
    would fail. Empty places are set aside instead, and the calls queue for the others. One task at a time tries to fill
    a place again, for as long as calls wait: it is how a limit that was raised, or a connection that another process
    closed, is noticed, also by a pool that has no connection at all. Uses what is internal to asyncpg's pool.

    Attributes:
        error: The last refusal; ``None`` where the limit is not reached.
    """

    def __init__(self, pool: Any, is_wanted: Callable[[], bool]) -> None:  # noqa: ANN401 - asyncpg has no types
        self._pool, self._is_wanted = pool, is_wanted
        self._places: list[Any] = []
        self._filling: asyncio.Task[None] | None = None
        self.error: ConnectionLimitError | None = None

    def reached(self, error: ConnectionLimitError) -> None:
        """Set all empty places aside; asyncpg has put back the one for which a connection was refused."""
        self.error = error
        with contextlib.suppress(asyncio.QueueEmpty):
            while True:
                self._places.append(self._pool._queue.get_disconnected_nowait())
        if self._filling is None:
            self._filling = asyncio.get_running_loop().create_task(self._fill())

    async def _fill(self) -> None:
        pause = _FIRST_PAUSE
        try:
            while self._places and self._is_wanted():
                await asyncio.sleep(pause)
                place = self._places[-1]
                try:
                    await place.connect()
                except ConnectionLimitError as exc:
                    self.error, pause = exc, min(2 * pause, _LONGEST_PAUSE)
                else:
                    self._places.remove(place)
                    self._pool._queue.put_nowait(place)
                    pause = _FIRST_PAUSE
        except (StoreError, *DRIVER_ERRORS):
            # Whatever else is wrong: the calls that wait find it out for themselves.
            logger.debug("no connection could be opened at a connection limit", exc_info=True)
        finally:
            self._filling = self.error = None
            while self._places:
                self._pool._queue.put_nowait(self._places.pop())

    def close(self) -> None:
        """Try no longer."""
        if self._filling is not None:
            self._filling.cancel()


def is_ready(pool: Any) -> bool:  # noqa: ANN401 - an asyncpg pool, which has no types
    """Whether a pool has a free connection that is open, so that acquiring it does not wait."""
    free = pool._queue._queue  # the last of them is next
    return bool(free) and free[-1].is_connected() and free[-1]._generation == pool._generation


async def released_at_once(connection: Any) -> bool:  # noqa: ANN401 - an asyncpg connection, which has no types
    """Release a connection if that needs no waiting. Does not suspend, so that it cannot be cancelled half-way.

    Returns:
        Whether it was released; ``False`` for one that was already, or must be reset, closed, or waited for.
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


def generation_of(connection: Any) -> int | None:  # noqa: ANN401 - an asyncpg connection, which has no types
    """The generation of connections that an acquired one belongs to; ``None`` once it is closed."""
    return None if connection._con is None else connection._holder._generation
