"""One unit of work."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from veupath_store.engine import StoreTransaction

if TYPE_CHECKING:
    from veupath_store.session.engine import Engine


class Session:
    """One unit of work: a transaction on one connection. Repositories take it and never commit it.

    It belongs to one task at a time. Made by `async_session_factory` and `get_db_session`.
    """

    def __init__(self, transaction: StoreTransaction, engine: "Engine") -> None:
        self._transaction = transaction
        self.engine = engine

    @property
    def client(self) -> StoreTransaction:
        """The Tortoise client to pass as ``using_db``: the transaction, or its innermost open savepoint."""
        return self._transaction

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator["Session"]:
        """Keep or undo a part: ``async with session.savepoint():`` around it, ``try`` around that.

        An error that leaves the block undoes the block and nothing else; catch it outside and go on.
        Two round trips.

        Raises:
            UnitOfWorkError: Another task has a savepoint open in this session.
        """
        around = self._transaction
        async with around.nested() as inner:
            self._transaction = inner
            try:
                yield self
            finally:
                self._transaction = around

    async def commit(self) -> None:
        """Save what was done so far and go on in a new transaction: for the parts of a long job. One round trip.

        Raises:
            SwallowedErrorError: An earlier statement failed and its error was swallowed: nothing was saved.
            OutcomeUnknownError: The connection was lost while COMMIT was under way.
            UnitOfWorkError: A savepoint is open.
        """
        await self._transaction.commit_and_continue()

    async def rollback(self) -> None:
        """Undo what was done since the beginning or the last `commit`, and go on. One round trip.

        Raises:
            UnitOfWorkError: A savepoint is open.
        """
        await self._transaction.rollback_and_continue()
