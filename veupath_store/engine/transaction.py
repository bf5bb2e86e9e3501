"""Transactions and savepoints that leave nothing behind, whatever cancels or kills them.

Upstream acquires a connection, publishes the transaction in a context variable, and then begins; a task that is
cancelled in between leaks the connection and keeps a dead transaction. The order here is what cures it:

* enter: acquire, begin, publish. Whatever fails releases the connection;
* leave: withdraw, then commit or roll back, then release the connection. Nothing can keep a task on a
  transaction that has ended.
"""

import asyncio
import contextlib
import copy
import itertools
import logging
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Final

import asyncpg
from tortoise.backends.base.client import TransactionalDBClient, TransactionContext
from tortoise.connection import ConnectionHandler, ConnectionToken, get_connections

from veupath_store.engine.connect import is_lost
from veupath_store.engine.statements import Statements
from veupath_store.engine.translation import Phase
from veupath_store.errors import StoreError, SwallowedErrorError, UnavailableError, UnitOfWorkError

if TYPE_CHECKING:
    from veupath_store.engine.client import StoreClient

logger: logging.Logger = logging.getLogger("veupath_store.engine")

ENDED: Final = (
    "This unit of work has ended. A task that outlives it must be started with "
    "veupath_store.engine.start_detached, or open a separate session."
)
_CONCURRENT: Final = (
    "Another task has a savepoint open in this unit of work. One unit of work belongs to one task at a time: "
    "give each task its own session, or use asyncio.timeout instead of asyncio.wait_for."
)


class StoreTransaction(Statements, TransactionalDBClient):
    """A transaction on one connection, or (with a parent) a savepoint in it.

    The first statement, or `begin`, takes the connection and sends BEGIN. Statements of several tasks are serialised
    by a lock; savepoints of several tasks are refused.
    """

    in_transaction = True

    def __init__(
        self, pool: "StoreClient", handler: ConnectionHandler, parent: "StoreTransaction | None" = None
    ) -> None:
        self.pool = pool
        self.handler = handler
        self.connection_name: str = pool.connection_name
        self._connection: Any = parent._connection if parent else None
        self._lock: asyncio.Lock = parent._lock if parent else asyncio.Lock()
        # Every savepoint of a transaction has a name of its own. One that was cancelled while it was set may be there
        # all the same, and going back to a second one of that name would go back too far.
        self._numbers: Iterator[int] = parent._numbers if parent else itertools.count(1)
        self._savepoint: str = f"s{next(self._numbers)}" if parent else ""
        self._savepoint_open = False
        self._finalized = False
        # Why it could not begin. A unit of work whose first statement failed must not save what comes after that.
        self._failure: StoreError | None = None
        # The topics of what was changed, in the transaction as a whole.
        self._changes: set[str] = parent._changes if parent else set()

    def changed(self, topic: str) -> None:
        """Remember it until COMMIT."""
        self._changes.add(topic)

    def acquire_connection(self) -> AbstractAsyncContextManager[Any]:  # type: ignore[override]
        """This transaction's connection, one statement at a time."""
        return _Turn(self)

    def _in_transaction(self) -> TransactionContext:
        """A savepoint; or, once this transaction has ended, a new transaction."""
        return self.pool.pooled_transaction() if self._finalized else self.nested()

    def nested(self) -> "Savepoint":
        """A savepoint; entering it is refused once this transaction has ended."""
        return Savepoint(self)

    async def begin(self) -> None:
        """Take a connection and send BEGIN, unless that is done."""
        async with self.acquire_connection():
            pass

    async def _begin(self) -> None:
        """Called with the lock held."""
        if self._failure is not None:
            raise copy.copy(self._failure) from self._failure
        connection = None
        try:
            connection = await self.pool.acquire()
            await self.send(connection, self.pool.begin_sql, Phase.IN_TRANSACTION)
        except BaseException as exc:
            cancelled = UnavailableError("Nothing was saved: the unit of work was cancelled while it began.")
            self._failure = exc if isinstance(exc, StoreError) else cancelled
            if connection is not None:
                await self.pool.discard(connection)
            raise
        if self._finalized:  # its block has ended meanwhile, and has found no connection to release
            await self.pool.discard(connection)
            raise UnitOfWorkError(ENDED)
        self._connection = connection

    async def commit(self) -> None:
        """Send COMMIT, or release the savepoint; the transaction has ended. One that has not begun sends nothing."""
        if self._savepoint:
            await self.release_savepoint()
        elif self._can_commit():
            self._saved(await self._finish("COMMIT", Phase.COMMIT))
        else:
            self._finalized = True

    async def rollback(self) -> None:
        """Send ROLLBACK, or roll back to the savepoint; the transaction has ended."""
        if self._savepoint:
            await self.savepoint_rollback()
        elif self._has_begun():
            await self._finish("ROLLBACK", Phase.IN_TRANSACTION)
        else:
            self._finalized = True

    async def commit_and_continue(self) -> None:
        """Commit and begin the next transaction on the same connection, in one round trip."""
        self._refuse_inside_savepoint("commit")
        if self._can_commit():
            self._saved(await self._chain("COMMIT AND CHAIN", Phase.COMMIT))

    async def rollback_and_continue(self) -> None:
        """Roll back and begin the next transaction on the same connection, in one round trip.

        One that could not begin may do so now.
        """
        self._refuse_inside_savepoint("roll back")
        self._failure = None
        if self._has_begun():
            await self._chain("ROLLBACK AND CHAIN", Phase.IN_TRANSACTION)

    async def savepoint(self) -> None:
        """Set this savepoint."""
        await self._control(f"SAVEPOINT {self._savepoint}", Phase.IN_TRANSACTION)

    async def release_savepoint(self) -> None:
        """Keep what was done since this savepoint. Where a statement failed unnoticed, it can only be undone."""
        try:
            await self._control(f"RELEASE SAVEPOINT {self._savepoint}", Phase.IN_TRANSACTION)
        except SwallowedErrorError as exc:
            raise SwallowedErrorError("savepoint") from exc.__cause__
        self._finalized = True

    async def savepoint_rollback(self) -> None:
        """Undo what was done since this savepoint."""
        name = self._savepoint
        await self._finish(f"ROLLBACK TO SAVEPOINT {name}; RELEASE SAVEPOINT {name}", Phase.IN_TRANSACTION)

    def _refuse_inside_savepoint(self, verb: str) -> None:
        if self._savepoint or self._savepoint_open:
            raise UnitOfWorkError(f"Leave the savepoint before you {verb} half-way.")

    def _has_begun(self) -> bool:
        if self._finalized:
            raise UnitOfWorkError(ENDED)
        return self._connection is not None

    def _can_commit(self) -> bool:
        """Whether there is a transaction to commit. A COMMIT that is never sent saves nothing for certain."""
        if self._failure is not None:
            raise SwallowedErrorError from self._failure
        if not self._has_begun():
            return False
        if is_lost(self._connection):
            self._finalized = True
            raise UnavailableError("Nothing was saved: the connection was lost before COMMIT. It may be repeated.")
        return True

    def _saved(self, status: str) -> None:
        if status == "ROLLBACK":
            raise SwallowedErrorError
        while self._changes:
            self.pool.changed(self._changes.pop())

    async def _chain(self, sql: str, phase: Phase) -> str:
        try:
            return await self._control(sql, phase)
        except BaseException:
            # A COMMIT AND CHAIN that fails begins no transaction: whatever ran next would be saved at once.
            self._finalized = True
            raise

    async def _finish(self, sql: str, phase: Phase) -> str:
        try:
            return await self._control(sql, phase)
        finally:
            self._finalized = True

    async def _control(self, sql: str, phase: Phase) -> str:
        async with self.acquire_connection() as connection:
            return await self.send(connection, sql, phase)


class _Turn:
    """One statement's turn on a transaction's connection; the first one begins the transaction."""

    __slots__ = ("_transaction",)

    def __init__(self, transaction: StoreTransaction) -> None:
        self._transaction = transaction

    async def __aenter__(self) -> Any:  # noqa: ANN401 - an asyncpg connection, which has no types
        transaction = self._transaction
        await transaction._lock.acquire()
        try:
            if not transaction._has_begun():
                await transaction._begin()
        except BaseException:
            transaction._lock.release()
            raise
        return transaction._connection

    async def __aexit__(self, *error: object) -> None:
        self._transaction._lock.release()


class _Block(TransactionContext):
    """``async with``: meanwhile its transaction is the task's current connection, as Tortoise expects."""

    client: StoreTransaction
    _token: ConnectionToken

    def _publish(self, transaction: StoreTransaction) -> None:
        self.client = transaction
        self._token = transaction.handler.set(transaction.connection_name, transaction)

    def _withdraw(self) -> None:
        handler = self.client.handler
        try:
            handler.reset(self._token)
        except ValueError:
            # An async generator may be finished, and a session left, in another context than it was entered in.
            # That one stays as it is, and tells its queries that the transaction has ended; a child's copy of it,
            # where we are now, can be undone.
            name, before = self._token._alias, self._token._old_value
            if before is not None and handler._get_storage().get(name) is self.client:
                handler.set(name, before)


class PooledTransaction(_Block):
    """A transaction on a connection of its own; a deferred one takes it with its first statement."""

    def __init__(self, pool: "StoreClient", handler: ConnectionHandler | None, *, deferred: bool) -> None:
        self._pool = pool
        self._handler = handler
        self._deferred = deferred

    async def __aenter__(self) -> StoreTransaction:
        transaction = StoreTransaction(self._pool, self._handler or get_connections())
        if not self._deferred:
            await transaction.begin()
        self._publish(transaction)
        return transaction

    async def __aexit__(self, exc_type: Any, exc_val: Any, exc_tb: Any) -> None:  # noqa: ANN401
        self._withdraw()
        transaction, connection = self.client, self.client._connection
        give_back = self._pool.discard
        try:
            if exc_type is None and not transaction._finalized:
                await transaction.commit()
            if exc_type is None:
                give_back = self._pool.release
        finally:
            transaction._finalized = True
            if connection is not None:
                await give_back(connection)


class Savepoint(_Block):
    """What happens inside is kept or undone by itself, within the transaction around it."""

    def __init__(self, around: StoreTransaction) -> None:
        self._around = around

    async def __aenter__(self) -> StoreTransaction:
        around = self._around
        if around._finalized:
            raise UnitOfWorkError(ENDED)
        if around._savepoint_open:
            raise UnitOfWorkError(_CONCURRENT)
        around._savepoint_open = True
        try:
            await around.begin()
            inner = StoreTransaction(around.pool, around.handler, around)
            await inner.savepoint()
            self._publish(inner)
        except BaseException:
            around._savepoint_open = False
            raise
        return inner

    async def __aexit__(self, exc_type: Any, exc_val: Any, exc_tb: Any) -> None:  # noqa: ANN401
        self._withdraw()
        try:
            if self.client._finalized:
                return
            if exc_type is None:
                await self._keep()
            else:
                await self._undo()
        finally:
            self.client._finalized = True
            self._around._savepoint_open = False

    async def _keep(self) -> None:
        try:
            await self.client.release_savepoint()
        except BaseException:
            # The caller hears that the block failed: nothing of it may stay.
            await self._undo()
            raise

    async def _undo(self) -> None:
        """Undo without hiding the error that ended the block.

        Where the server does not confirm it in time the connection is closed: the transaction around must not
        go on and commit what this block meant to undo.
        """
        try:
            async with asyncio.timeout(self._around.pool.release_timeout):
                await self.client.savepoint_rollback()
        except BaseException as exc:
            terminate(self._around._connection)
            if not isinstance(exc, Exception):
                raise
            logger.debug("a savepoint could not be undone; its transaction is lost", exc_info=True)


def terminate(connection: Any) -> None:  # noqa: ANN401
    """Close a borrowed connection at once, also one that is closed already."""
    with contextlib.suppress(asyncpg.InterfaceError):
        connection.terminate()
