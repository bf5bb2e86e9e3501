"""`Engine`: one open store, its pool, and what is closed with it."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar
from uuid import UUID

import tortoise.context
from tortoise.context import TortoiseContext, get_current_context, set_global_context

from veupath_store.engine import StoreClient, StoreTransaction
from veupath_store.engine.changes import added
from veupath_store.errors import StoreClosedError, UnitOfWorkError
from veupath_store.schema.names import APP, CONNECTION
from veupath_store.session.unit_of_work import Session

if TYPE_CHECKING:
    from veupath_store.config import StoreSettings

logger: logging.Logger = logging.getLogger("veupath_store.session")

CLOSED: Final = "The store is closed in this process; await init_db() to open it again."

R = TypeVar("R")

_openings: Final[list[Callable[["Engine"], None]]] = []


def on_open(listener: Callable[["Engine"], None]) -> Callable[[], None]:
    """Have something called, as with `added`, with each store that this process opens, in its event loop."""
    return added(_openings, listener)


class Engine:
    """The store of one process and event loop: the settings, Tortoise's context, and the pool."""

    def __init__(self, settings: "StoreSettings") -> None:
        self.settings: StoreSettings = settings
        self.loop: asyncio.AbstractEventLoop | None = None
        self.closed: bool = False
        self._context: TortoiseContext | None = None
        self._adopted = False
        self._published = False
        self._changing = asyncio.Lock()
        self._closers: list[Callable[[], Awaitable[None]]] = []
        self._is_begun = False
        self._resources: dict[Any, Any] = {}

    @property
    def is_open(self) -> bool:
        """Whether Tortoise is initialised. The pool itself is made by the first statement."""
        return self._context is not None

    async def open(self) -> StoreClient:
        """Initialise Tortoise unless it is, and return the client that runs statements in autocommit.

        No connection is made. A store that was closed stays so; one that `init_db` opened later is another one.
        """
        return store_client(await self._opened())

    async def _opened(self) -> TortoiseContext:
        if self.closed:
            raise StoreClosedError(CLOSED)
        self.loop = asyncio.get_running_loop()
        if self._context is None:
            async with self._changing:
                if self._context is None:
                    self._context = await self._initialised()
        context = self._context
        if not self._is_begun:
            self._is_begun = True
            for listener in _openings:
                listener(self)
            if self.settings.log_target is not None and self.settings.catch_up:
                # Not above: the event log is a layer above the store's session.
                from veupath_store.events.project.worker import Background  # noqa: PLC0415

                Background(self)
        return context

    async def logged_events(self, user_id: UUID, site_id: str | None) -> AsyncIterator[dict[str, Any]]:
        """What the event log holds of one user, for an export; nothing where the store has no log."""
        if self.settings.log_target is not None:
            # As above.
            from veupath_store.events.reader import logged_events  # noqa: PLC0415

            async for event in logged_events(user_id, site_id):
                yield event

    def on_change(self, topic: str, listener: Callable[[], None]) -> Callable[[], None]:
        """As `Listeners.add`, for what this process saves; where the store is not open, nothing is ever called."""
        if self._context is None:
            return lambda: None
        return store_client(self._context).listeners.add(topic, listener)

    def adopt_tortoise(self) -> None:
        """Where the application has initialised Tortoise, use that, with the settings that are in it."""
        context = initialised_context()
        if context is None:
            return
        client = store_client(context)
        client.reopen()
        self.settings = client.settings
        self._resources.clear()
        self._context, self._adopted = context, True
        self._published = tortoise.context._global_context is None
        if self._published:
            # Or else a request, whose task does not descend from the one that initialised Tortoise, has no models.
            set_global_context(context)

    async def reconfigure(self, settings: "StoreSettings") -> None:
        """Take other settings, as long as the store was made and not opened."""
        async with self._changing:
            if self._context is not None:
                raise UnitOfWorkError("The store is open with other settings; await close_db() first.")
            self.settings = settings
            await self._close_resources()
            self._resources.clear()

    async def _initialised(self) -> TortoiseContext:
        context = TortoiseContext()
        # Current only while it is initialised, so that a failure leaves nothing behind in this task's context;
        # afterwards every task finds it through the global fallback.
        with context:
            await context.init(config=self.settings.tortoise_orm(), _enable_global_fallback=True)
        return context

    @asynccontextmanager
    async def session(self, *, deferred: bool = False) -> AsyncIterator[Session]:
        """A new unit of work on a connection; a deferred one takes that, and begins, with its first statement."""
        context = await self._opened()
        unit = store_client(context).pooled_transaction(context.connections, deferred=deferred)
        async with unit as transaction:
            yield Session(transaction, self)

    def resource(self, make: "Callable[[StoreSettings], R]") -> R:
        """The one of its kind in this store, made on first use and closed after the pool.

        Args:
            make: Its class, or another function of the settings that is always the same; what it makes has ``close``.
        """
        if make not in self._resources:
            self._resources[make] = make(self.settings)
        return self._resources[make]  # type: ignore[no-any-return]

    def on_close(self, closer: Callable[[], Awaitable[None]]) -> Callable[[], None]:
        """Have something awaited, as with `added`, by `close_db` while the store is still open. Errors are logged."""
        return added(self._closers, closer)

    async def run_closers(self) -> None:
        """Await what `on_close` was given, all at once."""
        results = await asyncio.gather(*(closer() for closer in self._closers), return_exceptions=True)
        for error in results:
            if error is not None:
                logger.error("closing goes on after an error", exc_info=error)

    async def close(self) -> None:
        """Drain and close the pool. Of what ``register_tortoise`` opened, its own hook closes the rest."""
        async with self._changing:
            self.closed = True
            try:
                if self._context is not None and not self.closed_externally:
                    # Not by Tortoise's close_connections: inside a transaction that would "close" the transaction.
                    await store_client(self._context).close()
            finally:
                self.forget()
                # Last, because units of work that were in flight needed them to commit.
                await self._close_resources()

    async def _close_resources(self) -> None:
        for resource in self._resources.values():
            await resource.close()

    def disown(self) -> None:
        """In a forked child: refuse work, and leave all that is open to the parent."""
        self.closed = True
        self._context = None

    @property
    def closed_externally(self) -> bool:
        """Whether the application has closed the Tortoise context that was adopted."""
        return self._adopted and self._context is not None and self._context._connections is None

    def forget(self) -> None:
        """Let go of Tortoise's context."""
        context, self._context = self._context, None
        if context is None:
            return
        if not self._adopted:
            context._connections = None
        if tortoise.context._global_context is context and (self._published or not self._adopted):
            tortoise.context._global_context = None


def store_client(context: TortoiseContext) -> StoreClient:
    """The client of a context that is initialised; refuses one without the store."""
    pool = _pool_of(context)
    if not isinstance(pool, StoreClient) or context.apps is None or APP not in context.apps:
        raise UnitOfWorkError(
            f"Tortoise was initialised without the store, whose app is {APP!r} and whose connection is {CONNECTION!r}: "
            "pass StoreSettings().tortoise_orm(apps=…) to it, with your own apps."
        )
    return pool


def _pool_of(context: TortoiseContext) -> object:
    client = context.connections.get(CONNECTION) if CONNECTION in context.connections.db_config else None
    return client.pool if isinstance(client, StoreTransaction) else client


def initialised_context() -> TortoiseContext | None:
    """Where Tortoise is initialised, and not closed; ``None`` where it is not."""
    context = get_current_context()
    # Tortoise calls a context initialised also after it has closed it.
    return context if context is not None and context.inited and context._connections is not None else None


def disown_tortoise() -> TortoiseContext | None:
    """In a forked child: let go of the Tortoise that the parent initialised with the store's engine, and return it."""
    context = initialised_context()
    if context is None or not isinstance(client := _pool_of(context), StoreClient):
        return None
    client.disown()
    tortoise.context._current_context.set(None)
    if tortoise.context._global_context is context:
        tortoise.context._global_context = None
    return context
