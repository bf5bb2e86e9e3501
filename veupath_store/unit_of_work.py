"""One unit of work, and what is done beside its transaction when that is saved."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol

from veupath_store.engine import StoreTransaction
from veupath_store.errors import OutcomeUnknownError, StoreError

if TYPE_CHECKING:
    from veupath_store.opened import Engine


class Companion(Protocol):
    """What goes along with a unit of work: the events of its changes, which are kept outside of the database."""

    def mark(self) -> int:
        """Where it stands, for `rewind`."""

    def rewind(self, mark: int) -> None:
        """Forget what came after a mark: the savepoint was undone."""

    async def before_commit(self, client: StoreTransaction) -> None:
        """The last part of the transaction; an error rolls all of it back."""

    async def after_commit(self) -> None:
        """All is saved. Raises nothing."""

    async def after_failure(self) -> None:
        """For certain nothing is saved. Raises nothing."""


class Session:
    """One unit of work: a transaction on one connection. Repositories take it and never commit it.

    It belongs to one task at a time. Made by `async_session_factory` and `get_db_session`.
    """

    def __init__(self, transaction: StoreTransaction, engine: "Engine") -> None:
        self._transaction = transaction
        self.engine = engine
        self.companion: Companion | None = None

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
        mark = self.companion.mark() if self.companion else 0
        try:
            async with around.nested() as inner:
                self._transaction = inner
                try:
                    yield self
                finally:
                    self._transaction = around
        except BaseException:
            if self.companion:
                self.companion.rewind(mark)
            raise

    async def commit(self) -> None:
        """Save what was done so far and go on in a new transaction: for the parts of a long job. One round trip.

        Raises:
            SwallowedErrorError: An earlier statement failed and its error was swallowed: nothing was saved.
            OutcomeUnknownError: The connection was lost while COMMIT was under way.
            UnitOfWorkError: A savepoint is open.
        """
        self._transaction.refuse_inside_savepoint("commit")
        try:
            await self.before_commit()
            await self._transaction.commit_and_continue()
        except StoreError as exc:
            if not isinstance(exc, OutcomeUnknownError):
                await self.after_failure()
            raise
        await self.after_commit()

    async def rollback(self) -> None:
        """Undo what was done since the beginning or the last `commit`, and go on. One round trip.

        Raises:
            UnitOfWorkError: A savepoint is open.
        """
        await self._transaction.rollback_and_continue()
        if self.companion:
            self.companion.rewind(0)

    async def before_commit(self) -> None:
        """What the companion has to do inside the transaction."""
        if self.companion:
            await self.companion.before_commit(self._transaction)

    async def after_commit(self) -> None:
        """Tell the companion that all is saved."""
        if self.companion:
            await self.companion.after_commit()

    async def after_failure(self) -> None:
        """Tell the companion that nothing is saved."""
        if self.companion:
            await self.companion.after_failure()
