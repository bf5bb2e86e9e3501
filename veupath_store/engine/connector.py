"""`Connector`: opens the connections of one pool."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from veupath_store.engine.connect import abandon, connect
from veupath_store.errors import StoreClosedError
from veupath_store.servers.database_url import DatabaseTarget

logger: logging.Logger = logging.getLogger("veupath_store.engine")


class Connector:
    """Opens the connections of one pool, the host of the last one first.

    What a cancelled task began to open is finished for the next task: opening takes longer than many a request is
    patient, and if each cancelled task threw its attempt away, a pool could stay empty for as long as tasks are
    cancelled quickly (4,000 of 4,000 were, over TCP, before they had a connection). No more connections than the pool's
    size are made: an attempt that was left is taken up first.
    """

    def __init__(self, target: DatabaseTarget, timeout: float, arguments: Mapping[str, Any]) -> None:
        self._target, self._timeout, self._arguments = target, timeout, arguments
        self._left: list[asyncio.Task[Any]] = []
        self._closed = self._warned = False

    async def __call__(self, *_: object, **driver: Any) -> Any:  # noqa: ANN401
        """Open a connection; asyncpg's pool calls this in place of ``asyncpg.connect``. Raises as `connect`."""
        attempt = self._taken_up()
        if attempt is None:
            own = {key: driver[key] for key in ("loop", "connection_class", "record_class")}
            opening = connect(self._target, self._timeout, {**self._arguments, **own})
            attempt = asyncio.get_running_loop().create_task(opening)
        try:
            connection = await asyncio.shield(attempt)
        except asyncio.CancelledError:
            if self._closed:
                abandon(attempt)
            else:
                self._left.append(attempt)
                attempt.add_done_callback(_failed)  # retrieves its error, which may be the only time
            raise
        if self._closed:
            connection.terminate()
            raise StoreClosedError("The store was closed while a connection was being opened; nothing was saved.")
        self._prefer(connection._addr)
        if connection.raises_commits and not self._warned:
            self._warned = True
            logger.warning(
                "synchronous_commit is off, with which a crash of the server loses what it has acknowledged. The store "
                "sets it to on in its sessions; veupath-store check says where it was set."
            )
        return connection

    def _prefer(self, address: Any) -> None:  # noqa: ANN401 - a pair, or the path of a socket
        """Try the host of an open connection first from now on."""
        hosts = sorted(self._target.hosts, key=lambda place: address not in (place, f"{place[0]}/.s.PGSQL.{place[1]}"))
        self._target = replace(self._target, hosts=tuple(hosts))

    def _taken_up(self) -> asyncio.Task[Any] | None:
        while self._left:
            attempt = self._left.pop()
            if not attempt.done() or not (_failed(attempt) or attempt.result().is_closed()):
                return attempt
        return None

    def close(self) -> None:
        """Close what was left and never taken up, and whatever is opened from now on."""
        self._closed = True
        while self._left:
            abandon(self._left.pop())


def _failed(attempt: asyncio.Task[Any]) -> bool:
    return attempt.cancelled() or attempt.exception() is not None
