"""Units of work, and the opening and closing of the store.

    async with async_session_factory() as session:
        await StreamRepository(session).create(user.id, "plasmodb")

commits when the block ends and rolls back when it raises. Outside of a session a repository runs in autocommit.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, Protocol, TypeVar

import tortoise.context
from tortoise.context import TortoiseContext, get_current_context

from veupath_store import limits
from veupath_store.config import CONNECTION, StoreSettings
from veupath_store.engine import StoreClient, StoreTransaction
from veupath_store.errors import OutcomeUnknownError, SchemaError, StoreClosedError, StoreError, UnitOfWorkError
from veupath_store.migrations import migrate, pending_migrations
from veupath_store.unit_of_work import Session

logger = logging.getLogger("veupath_store.session")


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
            raise StoreClosedError(_CLOSED)
        self.loop = asyncio.get_running_loop()
        if self._context is None:
            async with self._changing:
                if self._context is None:
                    self._context = await self._initialised()
        return _store_client(self._context)

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
                await _store_client(self._context).close()
            finally:
                self.forget()
                # Last, because units of work that were in flight needed them to commit.
                for resource in self._resources.values():
                    await resource.close()

    @property
    def is_overtaken(self) -> bool:
        """Whether it was made and never opened, and Tortoise was initialised meanwhile, which is then used."""
        return self._context is None and not self._closed and _is_usable(get_current_context())

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


def _store_client(context: TortoiseContext) -> StoreClient:
    client = context.connections.get(CONNECTION)
    pool = client.pool if isinstance(client, StoreTransaction) else client
    if not isinstance(pool, StoreClient):
        raise UnitOfWorkError(
            "Tortoise was initialised with another engine than the store's: pass StoreSettings().tortoise_orm() to it."
        )
    return pool


class _Process:
    """What this process has open."""

    engine: Engine | None = None
    closed: bool = False


_process: Final = _Process()
_CLOSED: Final = "The store is closed in this process; await init_db() to open it again."
_WRONG_LOOP: Final = (
    "The store is open on another event loop of this process. Await close_db() there first; "
    "a connection pool cannot serve two loops."
)


def get_engine() -> Engine:
    """The store of this process, made on first use from the environment. Connects to nothing.

    Where Tortoise is initialised already (as by ``register_tortoise``), that is used.

    Raises:
        ConfigurationError: ``DATABASE_URL`` is unset or wrong.
        StoreClosedError: `close_db` was called; `init_db` opens the store again.
        UnitOfWorkError: The store is open on another event loop that still runs.
    """
    if _process.closed:
        raise StoreClosedError(_CLOSED)
    engine = _current_engine()
    if engine is None:
        engine = _process.engine = _new_engine(None)
    return engine


def _current_engine() -> Engine | None:
    """What is open here; a store that another loop, or the opening or closing of Tortoise, left behind is dropped."""
    engine = _process.engine
    if engine is None or not (engine.is_forsaken or engine.is_overtaken or _left_by_its_loop(engine)):
        return engine
    engine.forget()
    _process.engine = None
    return None


def _left_by_its_loop(engine: Engine) -> bool:
    running = _running_loop()
    if engine.loop is None or engine.loop is running:
        return False
    if engine.loop.is_closed():
        return True
    if running is not None:
        raise UnitOfWorkError(_WRONG_LOOP)
    return False  # asked by synchronous code, which cannot use it but may look at it


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _new_engine(settings: StoreSettings | None) -> Engine:
    current = get_current_context()
    if current is not None and _is_usable(current):
        client = _store_client(current)
        client.reopen()
        return Engine(client.settings, current)
    return Engine(settings or StoreSettings())


def _is_usable(context: TortoiseContext | None) -> bool:
    # Tortoise calls a context initialised also after it has closed it.
    return context is not None and context.inited and context._connections is not None


def is_open() -> bool:
    """Whether the store is open in this process, on this event loop.

    Raises:
        UnitOfWorkError: It is open on another event loop that still runs.
    """
    engine = _current_engine()
    return engine is not None and engine.is_open and not _process.closed


def async_session_factory() -> AbstractAsyncContextManager[Session]:
    """Begin a unit of work: ``async with`` it, ``as session``.

    Commits when the block ends, rolls back when it raises or is cancelled. Always a transaction and a connection of
    its own, also inside another session. Three round trips beside the statements: BEGIN, COMMIT, reset.

    Returns:
        An asynchronous context manager that yields the `Session`.

    Raises:
        UnavailableError: On entering: no connection was free in time. Nothing was saved.
        SwallowedErrorError: On leaving: a statement failed and its error was swallowed. Nothing was saved.
        OutcomeUnknownError: On leaving: the connection was lost while COMMIT was under way.
    """
    return get_engine().session()


async def get_db_session() -> AsyncIterator[Session]:
    """The same unit of work as a FastAPI dependency: ``Depends(get_db_session, scope="function")``.

    The scope matters: in FastAPI's default scope COMMIT comes after the response, and a client sees 200 for a
    commit that fails.
    """
    async with async_session_factory() as session:
        yield session


async def init_db(
    create_schema: bool = False, *, settings: StoreSettings | None = None, require_head: bool | None = None
) -> Engine:
    """Open the store: ping the server, and check that its migrations are at head.

    Calling it again while the store is open is harmless: it pings and checks again, and a failure leaves it open.

    Args:
        create_schema: Apply the migrations first, as ``veupath-store migrate`` does. For development.
        settings: Instead of the environment's.
        require_head: Whether to refuse a database whose migrations are behind. Default: the setting `require_head`.

    Returns:
        The open store.

    Raises:
        ConfigurationError: A setting is missing or wrong, or the server refused the role.
        UnavailableError: No server answers.
        SchemaError: Migrations are behind.
        UnitOfWorkError: The store is open with other settings, or on another loop.
    """
    if _process.closed:
        await close_db()  # a closing that is under way comes to its end first
    was_open = _process.engine if _process.engine is not None and _process.engine.is_open else None
    engine = _engine_for(settings)
    try:
        if create_schema:
            await migrate(engine.settings)
        client = await engine.open()
        await client.ping()
        if engine.settings.require_head if require_head is None else require_head:
            await _require_head(client)
    except BaseException:
        if engine is not was_open:
            await close_db()
        raise
    return engine


def _engine_for(settings: StoreSettings | None) -> Engine:
    engine = _current_engine() or _new_engine(settings)
    if settings is not None and engine.settings != settings:
        raise UnitOfWorkError("The store is open with other settings; await close_db() first.")
    _process.engine, _process.closed = engine, False
    return engine


async def _require_head(client: StoreClient) -> None:
    behind = await pending_migrations(client)
    if behind:
        raise SchemaError(
            f"The database is {len(behind)} migration(s) behind (next: {behind[0]}). Run 'veupath-store migrate', "
            "or call init_db(create_schema=True) in development."
        )


async def close_db() -> None:
    """Close the store: drain the document writers, refuse new work, wait for work in flight, close the connections.

    Waits at most `StoreSettings.close_timeout` seconds for the writers, which report what they could not save, and as
    long again for other work; what is still under way then fails with `UnavailableError` or `OutcomeUnknownError`.
    Closing twice, or what was never opened, is harmless. Afterwards only `init_db` opens the store again.
    """
    engine = _current_engine()
    if engine is not None and not _process.closed:
        await engine.run_closers()
    _process.closed = True
    if engine is not None:
        await engine.close()
        if _process.engine is engine:
            _process.engine = None
