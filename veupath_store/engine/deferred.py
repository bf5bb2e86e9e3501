"""A transaction that begins with its first statement: for a request, which may be refused before it has any."""

import copy
from contextlib import AbstractAsyncContextManager
from typing import Any

from veupath_store.engine.transaction import ENDED, PooledTransaction, StoreTransaction, Turn
from veupath_store.errors import StoreError, SwallowedErrorError, UnavailableError, UnitOfWorkError


class DeferredTransaction(StoreTransaction):
    """As any transaction, but without a connection until the first statement, which takes one and sends BEGIN."""

    _failure: StoreError | None = None
    """Why it could not begin. A unit of work whose first statement failed must not save what comes after that."""

    def acquire_connection(self) -> AbstractAsyncContextManager[Any]:  # type: ignore[override]
        """This transaction's connection, one statement at a time; the first statement begins the transaction."""
        return _Turn(self)

    async def ensure_begun(self) -> None:
        """Begin, unless it has begun: for a savepoint."""
        async with self.acquire_connection():
            pass

    async def _begin(self) -> None:
        """Take a connection and begin. Called with the lock held."""
        if self._failure is not None:
            raise copy.copy(self._failure) from self._failure
        if self._connection is not None:
            return
        try:
            connection = await self._begun_connection()
        except BaseException as exc:
            cancelled = UnavailableError("Nothing was saved: the unit of work was cancelled while it began.")
            self._failure = exc if isinstance(exc, StoreError) else cancelled
            raise
        if self._finalized:  # its block has ended meanwhile, and has found no connection to release
            await self.pool.discard(connection)
            raise UnitOfWorkError(ENDED)
        self._connection = connection

    async def _begun_connection(self) -> Any:  # noqa: ANN401 - an asyncpg connection, which has no types
        connection = await self.pool.acquire()
        try:
            await StoreTransaction(self.pool, connection).begin()
        except BaseException:
            await self.pool.discard(connection)
            raise
        return connection

    async def commit(self) -> None:
        """As any transaction's; one that has not begun sends nothing.

        Raises:
            SwallowedErrorError: It could not begin, and that was swallowed.
        """
        self._refuse_swallowed_failure()
        if self._connection is None and not self._finalized:
            self._finalized = True
        else:
            await super().commit()

    async def rollback(self) -> None:
        """As any transaction's; one that has not begun sends nothing."""
        if self._connection is None and not self._finalized:
            self._finalized = True
        else:
            await super().rollback()

    async def commit_and_continue(self) -> None:
        """As any transaction's; one that has not begun sends nothing.

        Raises:
            SwallowedErrorError: It could not begin, and that was swallowed.
        """
        self._refuse_swallowed_failure()
        if self._connection is not None:
            await super().commit_and_continue()

    async def rollback_and_continue(self) -> None:
        """As any transaction's; one that could not begin may do so now."""
        self._failure = None
        if self._connection is not None:
            await super().rollback_and_continue()

    def _refuse_swallowed_failure(self) -> None:
        if self._failure is not None:
            raise SwallowedErrorError from self._failure


class _Turn(Turn):
    """A turn that begins the transaction first."""

    __slots__ = ()

    async def __aenter__(self) -> Any:  # noqa: ANN401
        transaction: Any = self._transaction
        await super().__aenter__()
        try:
            await transaction._begin()
        except BaseException:
            transaction._lock.release()
            raise
        return transaction._connection


class DeferredPooledTransaction(PooledTransaction):
    """``async with``: a transaction that takes a connection with its first statement."""

    async def __aenter__(self) -> StoreTransaction:
        self.client = DeferredTransaction(self._pool, None)
        self._publication.publish(self.client)
        return self.client
