"""`StoreClient`: the pool that Tortoise talks to."""

import asyncio
import logging
import math
import time
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import asyncpg
from tortoise.backends.base.client import TransactionContext
from tortoise.connection import ConnectionHandler

from veupath_store.engine import connect as connecting
from veupath_store.engine.announcing import Announcer
from veupath_store.engine.changes import Listeners
from veupath_store.engine.connect import Connector, is_lost
from veupath_store.engine.connection import StoreConnection
from veupath_store.engine.generator import StoreSchemaGenerator
from veupath_store.engine.pool import ConnectionLimit, is_ready, released_at_once
from veupath_store.engine.statements import Statements, unconfirmed
from veupath_store.engine.tasks import start_detached
from veupath_store.engine.transaction import PooledTransaction, terminate
from veupath_store.engine.translation import DRIVER_ERRORS, ConnectionLimitError, Phase
from veupath_store.errors import StoreClosedError, StoreError, UnavailableError
from veupath_store.servers.embedded import start_embedded

if TYPE_CHECKING:
    from veupath_store.config import StoreSettings
    from veupath_store.servers.database_url import DatabaseTarget

logger: logging.Logger = logging.getLogger("veupath_store.engine")

_CLOSED: Final = "The store is closed, or closing, in this process; nothing was saved. init_db opens it again."

_CONFIRM: Final = "SELECT pg_logical_emit_message(true, 'veupath-store', '')"

_EXPIRY_PAUSE: Final = 1.0
"""Seconds between two times that a pool replaces its connections."""


class PoolUsage(NamedTuple):
    """How many connections of a pool are open, how many of them are in use, and how many may be open."""

    open: int
    in_use: int
    most: int


class StoreClient(Statements):
    """A pool of connections; statements outside of a transaction run here, in autocommit.

    The pool is made by the first statement, and a connection by the first that needs one. A connection that is
    released is rolled back and reset, where it needs that, within `StoreSettings.release_timeout`, or closed and
    replaced.
    """

    in_transaction = False
    connection_class: type[Any] = StoreConnection  # asyncpg has no types
    schema_generator: type[StoreSchemaGenerator] = StoreSchemaGenerator

    def __init__(self, settings: "StoreSettings", connection_name: str, **_: Any) -> None:  # noqa: ANN401
        super().__init__(connection_name=connection_name)
        self.pool: StoreClient = self
        self.settings = settings
        self.begin_sql: str = connecting.begin_sql(settings)
        self.release_timeout: float = settings.release_timeout
        self._closing = False
        self._waiting = 0
        self._making: asyncio.Task[None] | None = None
        self._connector: Connector | None = None
        self._limit: ConnectionLimit | None = None
        self._expired_at = -math.inf
        self.listeners: Listeners = Listeners()
        self._announcer = Announcer(self.execute_rows)

    def changed(self, topic: str) -> None:
        """Tell who wants to know that something was saved."""
        self.listeners.tell(topic)
        self._announcer.hear(topic)

    def acquire_connection(self) -> AbstractAsyncContextManager[Any]:  # type: ignore[override]
        """A connection of the pool, for one statement."""
        return _Acquired(self)

    def _in_transaction(self) -> TransactionContext:
        return self.pooled_transaction()

    def pooled_transaction(
        self, handler: ConnectionHandler | None = None, *, deferred: bool = False
    ) -> PooledTransaction:
        """A new transaction, whatever the task has open.

        Args:
            handler: Where to publish it; ``None`` for Tortoise's current context.
            deferred: Whether it takes a connection, and begins, with its first statement only.
        """
        return PooledTransaction(self, handler, deferred=deferred)

    async def create_connection(self, with_db: bool) -> None:
        """Make the pool and open `StoreSettings.pool_min_size` connections."""
        del with_db
        target = self.settings.target
        if target.embedded is not None:
            target = await asyncio.to_thread(start_embedded, target)
        try:
            self._pool = await self._new_pool(target, self.settings.pool_min_size)
        except ConnectionLimitError:
            # It serves with fewer, or waits for one.
            self._pool = await self._new_pool(target, 0)
        self._limit = ConnectionLimit(self._pool, lambda: self._waiting > 0)
        await self._post_connect()

    async def _new_pool(self, target: "DatabaseTarget", size: int) -> asyncpg.Pool:
        arguments = connecting.connect_arguments(self.settings, target)
        self._connector = connector = Connector(target, self.settings.connect_timeout, arguments)
        pool = asyncpg.create_pool(
            min_size=size,
            max_size=self.settings.pool_max_size,
            connect=connector,
            connection_class=self.connection_class,
        )
        try:
            return await pool
        except BaseException:
            # Of several connections some may be open, and others still be opening: asyncpg forgets them.
            connector.close()
            for holder in pool._holders:
                holder.terminate()
            raise

    async def _made_pool(self) -> asyncpg.Pool:
        if self._closing:
            raise StoreClosedError(_CLOSED)
        if self._pool is None:
            # One making for all who wait: it goes on when one of them is cancelled, and fails once for all of them.
            if self._making is None or self._making.done():
                self._making = asyncio.get_running_loop().create_task(self.create_connection(True))
                self._making.add_done_callback(connecting.has_failed)
            making = self._making
            await asyncio.wait([making])
            if making.cancelled():
                raise StoreClosedError(_CLOSED)
            making.result()
        return self._pool

    async def acquire(self) -> Any:  # noqa: ANN401 - an asyncpg connection, which has no types
        """Take a connection, opening one if the pool has room.

        Raises:
            UnavailableError: None became free within `StoreSettings.acquire_timeout` seconds, or no server answers.
            StoreClosedError: The store is closing.
        """
        try:
            pool = self._pool
            if pool is not None and not (self._closing or self._waiting) and is_ready(pool):
                connection = await pool.acquire()  # does not wait, and needs no timer
            else:
                connection = await self._wait_for_connection()
        except TimeoutError as exc:
            raise self._none_free() from exc
        except DRIVER_ERRORS as exc:
            if self._closing:
                raise StoreClosedError(_CLOSED) from exc
            raise UnavailableError("Nothing was saved: no connection was made. It may be repeated.") from exc
        if self._closing:
            # It waited in the queue when closing began. The pool does not wait for it, so it must not begin.
            await self.release(connection)
            raise StoreClosedError(_CLOSED)
        if unconfirmed.get():
            await self._confirm(connection)
        return connection

    async def beside_the_pool(self) -> Any:  # noqa: ANN401 - an asyncpg connection
        """A connection of the caller's own, to listen on; it does not count for the pool."""
        pool = await self._made_pool()
        connector: Any = self._connector
        return await connector(loop=pool._loop, connection_class=self.connection_class, record_class=asyncpg.Record)

    async def _confirm(self, connection: Any) -> None:  # noqa: ANN401
        """Wait until synchronous standbys have whatever the server shows, before a task reads or repeats its write.

        A COMMIT whose wait for a standby was cut off shows its rows on the primary all the same. A repeat that finds
        them and writes nothing would acknowledge what a failover loses. WAL is in order: this commit waits for theirs.
        """
        try:
            await self.send(connection, _CONFIRM, Phase.READ)
        except StoreError as exc:
            if is_lost(connection) or not isinstance(exc.__cause__, asyncpg.PostgresError):
                await self.discard(connection)
                raise
            logger.debug("what the server shows cannot be confirmed, as on a standby", exc_info=True)
        except BaseException:
            await self.discard(connection)
            raise
        unconfirmed.set(False)

    async def _wait_for_connection(self) -> Any:  # noqa: ANN401 - an asyncpg connection
        # A connection that was released belongs to the first who waits, whom the event loop has yet to wake. Whoever
        # comes now lets that happen first; or else one busy task would have it again and again.
        late, self._waiting = self._waiting > 0, self._waiting + 1
        try:
            async with asyncio.timeout(self.settings.acquire_timeout):
                if late:
                    await asyncio.sleep(0)
                return await self._limited_acquire(await self._made_pool())
        finally:
            self._waiting -= 1

    async def _limited_acquire(self, pool: asyncpg.Pool) -> Any:  # noqa: ANN401
        while True:
            try:
                return await pool.acquire()
            except ConnectionLimitError as exc:
                if self._limit is None:
                    raise
                self._limit.reached(exc)

    def _none_free(self) -> UnavailableError:
        waited = f"No connection was free within {self.settings.acquire_timeout:g} s"
        limit = self._limit.error if self._limit is not None else None
        if limit is not None:
            return UnavailableError(
                f"{waited}, of the {self.usage().open} that are open, and no more are allowed. {limit} Raise that "
                "limit, or lower VEUPATH_STORE_POOL_MAX_SIZE. Nothing was saved."
            )
        return UnavailableError(
            f"{waited}: all {self.settings.pool_max_size} of the pool were in use, or being opened. Nothing was saved."
        )

    def expire_connections(self, generation: int | None) -> None:
        """Expire the pool's connections, unless those of the given generation expired before."""
        if self._pool is not None and generation == self._pool._generation:
            self.expire_all_connections()

    def expire_all_connections(self) -> None:
        """Replace each of the pool's connections before it is used again, so that the hosts are asked anew.

        At most once a second: a server that takes no writes and has no successor yet is not overrun with connections.
        """
        now = time.monotonic()
        if self._pool is not None and now >= self._expired_at + _EXPIRY_PAUSE:
            self._expired_at = now
            self._pool._generation += 1

    async def release(self, connection: Any) -> None:  # noqa: ANN401
        """Release a connection that is in no transaction. One that must be reset, and cannot in time, is closed."""
        if self._pool is None:
            return
        try:
            if not await released_at_once(connection):
                await self._pool.release(connection, timeout=self.release_timeout)
        except Exception:
            logger.debug("a connection could not be reset and was closed", exc_info=True)

    async def discard(self, connection: Any) -> None:  # noqa: ANN401
        """Release a connection in any state, also when the task is cancelled meanwhile."""
        await asyncio.shield(start_detached(self._roll_back(connection)))

    async def _roll_back(self, connection: Any) -> None:  # noqa: ANN401
        # Close it only after its statement had the chance to be cancelled: a backend that works on, or waits
        # for a lock, would otherwise keep its locks until it next looks at its socket.
        try:
            if not is_lost(connection):
                async with asyncio.timeout(self.release_timeout):
                    await connection.execute("ROLLBACK")
        except Exception:
            logger.debug("a connection could not be rolled back and was closed", exc_info=True)
            terminate(connection)
        await self.release(connection)

    def usage(self) -> PoolUsage:
        """How full the pool is."""
        pool = self._pool
        size, idle = (pool.get_size(), pool.get_idle_size()) if pool is not None else (0, 0)
        return PoolUsage(open=size, in_use=size - idle, most=self.settings.pool_max_size)

    async def ping(self) -> None:
        """Ask the server for nothing, to see that it answers."""
        await self.execute_rows("SELECT 1")

    def reopen(self) -> None:
        """Admit work again after closing, which the next statement's pool serves."""
        if self._pool is None:
            self._closing = False

    async def _close(self) -> None:
        """Refuse new work, wait for work in flight, then close what is left."""
        self._closing = True
        try:
            await self._announcer.close()
            if self._making is not None and not self._making.done():
                self._making.cancel()
                await asyncio.wait([self._making])
            if self._pool is not None:
                await self._drain(self._pool, self.settings.close_timeout)
        finally:
            if self._pool is not None:
                self._pool.terminate()  # what is left of it, where this was cut off
                self._pool = None
            if self._limit is not None:
                self._limit.close()
            if self._connector is not None:
                self._connector.close()

    async def _drain(self, pool: asyncpg.Pool, patience: float) -> None:
        try:
            async with asyncio.timeout(patience):
                await pool.close()
        except TimeoutError:
            logger.warning("work was cut off: it was still in flight %g s after closing began", patience)

    def disown(self) -> None:
        """In a forked child: refuse work, and leave the connections to the parent. Nothing is sent."""
        self._closing = True


class _Acquired:
    """A connection of the pool for one statement."""

    __slots__ = ("_client", "_connection")

    def __init__(self, client: StoreClient) -> None:
        self._client = client
        self._connection: Any = None

    async def __aenter__(self) -> Any:  # noqa: ANN401
        self._connection = await self._client.acquire()
        return self._connection

    async def __aexit__(self, *error: object) -> None:
        # Also after an error: asyncpg waits for the cancellation of a statement before it resets a connection.
        await self._client.release(self._connection)
