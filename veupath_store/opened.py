"""`Engine`: one open store, its pool, and what is closed with it."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol, TypeVar

import tortoise.context
from tortoise.context import TortoiseContext, get_current_context

from veupath_store import limits
from veupath_store.config import CONNECTION, StoreSettings
from veupath_store.engine import StoreClient, StoreTransaction
from veupath_store.errors import OutcomeUnknownError, StoreClosedError, StoreError, UnitOfWorkError
from veupath_store.unit_of_work import Session

logger = logging.getLogger("veupath_store.session")

CLOSED: Final = "The store is closed in this process; await init_db() to open it again."


class Resource(Protocol):
    """What belongs to one open store and is closed with it."""

    async def close(self) -> None:
        """Let go of every connection."""


R = TypeVar("R", bound=Resource)


class Engine:
    """The store of one process and event loop: the settings, Tortoise's context, and the pool."""

    def __init__(self, settings: StoreSettings, context: TortoiseContext | None = None) -> None:
        self.settings = settings
        limits.use(settings)
        self.loop: asyncio.AbstractEventLoop | None = None
        self._context = context
        self._adopted = context is not None
        self._closed = False
        self._changing = asyncio.Lock()
        self._closers: list[Callable[[], Awaitable[None]]] = []
        self._resources: dict[Any, Resource] = {}

    @property
    def is_open(self) -> bool:
        """Whether Tortoise is initialised. The pool itself is made by the first statement."""
        return self._context is not None

    async def open(self) -> StoreClient:
        """Initialise Tortoise unless it is; no connection is made.

        Returns:
            The client that runs statements in autocommit.

        Raises:
            StoreClosedError: This store was closed. A store that `init_db` opened later is another one.
        """
        if self._closed:
            raise StoreClosedError(CLOSED)
        self.loop = asyncio.get_running_loop()
        if self._context is None:
            async with self._changing:
                if self._context is None:
                    self._context = await self._initialised()
        return store_client(self._context)

    async def _initialised(self) -> TortoiseContext:
        context = TortoiseContext()
        # Current only while it is initialised, so that a failure leaves nothing behind in this task's context;
        # afterwards every task finds it through the global fallback.
        with context:
            await context.init(config=self.settings.tortoise_orm(), _enable_global_fallback=True)
        return context

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        """A new unit of work on a connection of its own."""
        client = await self.open()
        if self._context is None:
            raise StoreClosedError("The store was closed while a session was being opened.")
        session: Session | None = None
        try:
            async with client.pooled_transaction(self._context.connections) as transaction:
                session = Session(transaction, self)
                yield session
                await session.before_commit()
        except StoreError as exc:
            if session is not None and not isinstance(exc, OutcomeUnknownError):
                await session.after_failure()
            raise
        await session.after_commit()

    def resource(self, make: Callable[[StoreSettings], R]) -> R:
        """The one of its kind in this store, made on first use and closed after the pool.

        Args:
            make: Its class, or another function of the settings that is always the same.
        """
        found: Any = self._resources.get(make)
        if found is None:
            found = self._resources[make] = make(self.settings)
        return found  # type: ignore[no-any-return]

    def on_close(self, closer: Callable[[], Awaitable[None]]) -> Callable[[], None]:
        """Have something done by `close_db` while the store is still open.

        Args:
            closer: What to await; its errors are logged.

        Returns:
            What to call when that is no longer wanted; twice is harmless.
        """
        self._closers.append(closer)

        def forget() -> None:
            if closer in self._closers:
                self._closers.remove(closer)

        return forget

    async def run_closers(self) -> None:
        """Await what `on_close` was given, all at once."""
        results = await asyncio.gather(*(closer() for closer in self._closers), return_exceptions=True)
        for error in results:
            if error is not None:
                logger.error("closing goes on after an error", exc_info=error)

    async def close(self) -> None:
        """Drain and close the pool. Of what ``register_tortoise`` opened, its own hook closes the rest."""
        async with self._changing:
            self._closed = True
            if self._context is None:
                return
            try:
                # Not by Tortoise's close_connections: inside a transaction that would "close" the transaction.
                await store_client(self._context).close()
            finally:
                self.forget()
                # Last, because units of work that were in flight needed them to commit.
                for resource in self._resources.values():
                    await resource.close()

    @property
    def is_overtaken(self) -> bool:
        """Whether it was made and never opened, and Tortoise was initialised meanwhile, which is then used."""
        return self._context is None and not self._closed and is_usable(get_current_context())

    @property
    def is_forsaken(self) -> bool:
        """Whether the application has closed the Tortoise context that was adopted."""
        return self._adopted and self._context is not None and self._context._connections is None

    def forget(self) -> None:
        """Let go of Tortoise's context. What still is open in it dies with its loop."""
        context, self._context = self._context, None
        if context is not None and not self._adopted:
            context._connections = None
            if tortoise.context._global_context is context:
                tortoise.context._global_context = None


def store_client(context: TortoiseContext) -> StoreClient:
    """The client of a context that is initialised.

    Raises:
        UnitOfWorkError: Tortoise was initialised with another engine.
    """
    client = context.connections.get(CONNECTION)
    pool = client.pool if isinstance(client, StoreTransaction) else client
    if not isinstance(pool, StoreClient):
        raise UnitOfWorkError(
            "Tortoise was initialised with another engine than the store's: pass StoreSettings().tortoise_orm() to it."
        )
    return pool


def is_usable(context: TortoiseContext | None) -> bool:
    """Whether Tortoise is initialised in a context, and not closed."""
    # Tortoise calls a context initialised also after it has closed it.
    return context is not None and context.inited and context._connections is not None
