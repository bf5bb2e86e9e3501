"""Units of work, and the opening and closing of the store.

    async with async_session_factory() as session:
        await StreamRepository(session).create(user.id, "plasmodb")

commits when the block ends and rolls back when it raises. Outside of a session a repository runs in autocommit.

A forked child has none of its parent's connections. It opens its own, by the parent's settings unless `init_db` is
given others, and closes it; the parent's go on.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Final

from veupath_store.engine import StoreClient
from veupath_store.errors import SchemaError, StoreClosedError, UnitOfWorkError
from veupath_store.servers.inherited import hang_up, in_forked_child
from veupath_store.session.engine import CLOSED, Engine, disown_tortoise, initialised_context, store_client
from veupath_store.session.unit_of_work import Session

if TYPE_CHECKING:
    from veupath_store.config import StoreSettings


class _Process:
    """What this process has open."""

    engine: Engine | None = None
    closed: bool = False
    inherited: object = None
    """What a forked child has of its parent: kept, because finalising it warns of connections that were not closed."""


_process: Final = _Process()
_WRONG_LOOP: Final = (
    "The store is open on another event loop of this process. Await close_db() there first; "
    "a connection pool cannot serve two loops."
)


@in_forked_child
def _disown() -> None:
    """In a forked child: what the parent has open stays the parent's; the child opens its own, by the same settings."""
    engine = _process.engine
    _process.inherited = engine, disown_tortoise()
    _process.engine, _process.closed = None, False
    if engine is not None:
        engine.disown()
        _process.engine = Engine(engine.settings)


def get_engine() -> Engine:
    """The store of this process, made on first use from the environment. Connects to nothing.

    Where Tortoise is initialised already (as by ``register_tortoise``), that is used.

    Raises:
        ConfigurationError: ``DATABASE_URL`` is unset or wrong.
        StoreClosedError: `close_db` was called; `init_db` opens the store again.
        UnitOfWorkError: The store is open on another event loop that still runs.
    """
    if _process.closed:
        raise StoreClosedError(CLOSED)
    engine = _current_engine()
    if engine is None:
        engine = _process.engine = _new_engine(None)
    return engine


def _current_engine() -> Engine | None:
    """What is open here; a store that its loop, or the closing of Tortoise, left behind is dropped."""
    engine = _process.engine
    if engine is not None and (engine.closed_externally or _left_by_its_loop(engine)):
        engine.forget()
        engine = _process.engine = None
    if engine is not None and not (engine.is_open or engine.closed):
        engine.adopt_tortoise()
    return engine


def _left_by_its_loop(engine: Engine) -> bool:
    running: asyncio.AbstractEventLoop | None = None
    with contextlib.suppress(RuntimeError):
        running = asyncio.get_running_loop()
    if engine.loop is None or engine.loop is running:
        return False
    if engine.loop.is_closed():
        hang_up(engine.loop)
        return True
    if running is not None:
        raise UnitOfWorkError(_WRONG_LOOP)
    return False  # asked by synchronous code, which cannot use it but may look at it


def _new_engine(settings: "StoreSettings | None") -> Engine:
    from veupath_store.config import StoreSettings  # noqa: PLC0415 - pydantic-settings takes a tenth of a second

    context = initialised_context()
    engine = Engine(store_client(context).settings if context is not None else settings or StoreSettings())
    engine.adopt_tortoise()
    return engine


def is_open() -> bool:
    """Whether the store is open in this process, on this event loop; refused where another one has it and runs."""
    engine = _current_engine()
    return engine is not None and engine.is_open and not _process.closed


def on_change(topic: str, listener: Callable[[], None]) -> Callable[[], None]:
    """`Engine.on_change` of the store that is open in this process; where none is, the listener is never called."""
    engine = None if _process.closed else _current_engine()
    return engine.on_change(topic, listener) if engine is not None else lambda: None


def async_session_factory() -> AbstractAsyncContextManager[Session]:
    """Begin a unit of work: ``async with`` it, ``as session``.

    Commits when the block ends, rolls back when it raises or is cancelled. Always a transaction and a connection of
    its own, also inside another session. Two round trips beside the statements: BEGIN and COMMIT.

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

    It takes its connection and begins with its first statement: a request that is refused before that, as by a
    validation, costs nothing. That first statement is then the one to raise `UnavailableError`.
    """
    async with get_engine().session(deferred=True) as session:
        yield session


async def init_db(
    create_schema: bool = False, *, settings: "StoreSettings | None" = None, require_head: bool | None = None
) -> Engine:
    """Open the store: ping the server, and check that it has every migration that this version needs to start.

    Migrations for after the deploy may be pending, and the database may be ahead of this version.

    Calling it again while the store is open is harmless: it pings and checks again, and a failure leaves it open.

    Args:
        create_schema: Apply the migrations first, as ``veupath-store migrate`` does. For development.
        settings: Instead of the environment's.
        require_head: Whether to refuse a database whose migrations are behind. Default: the setting `require_head`.

    Returns:
        The open store.

    Raises:
        ConfigurationError: A setting is missing or wrong, an extra is not installed, or the server refused the role.
        UnavailableError: No server answers.
        SchemaError: Migrations are behind.
        UnitOfWorkError: The store is open with other settings, or on another loop.
    """
    if _process.closed:
        await close_db()  # a closing that is under way comes to its end first
    was_open = _process.engine if _process.engine is not None and _process.engine.is_open else None
    engine = await _engine_for(settings)
    try:
        if create_schema:
            from veupath_store.schema.migrations import migrate  # noqa: PLC0415 - only for this

            await migrate(engine.settings)
        client = await engine.open()
        _require_extras(engine)
        await client.ping()
        if engine.settings.require_head if require_head is None else require_head:
            await _require_head(client)
    except BaseException:
        if engine is not was_open:
            await close_db()
        raise
    return engine


async def _engine_for(settings: "StoreSettings | None") -> Engine:
    engine = _current_engine() or _new_engine(settings)
    if settings is not None and engine.settings != settings:
        await engine.reconfigure(settings)
    _process.engine, _process.closed = engine, False
    return engine


def _require_extras(engine: Engine) -> None:
    """Make the event log, which connects to nothing, and refuses where a package is missing."""
    if engine.settings.log_target is not None:
        from veupath_store.events.log.log import EventLog  # noqa: PLC0415 - imports this module

        engine.resource(EventLog)


async def _require_head(client: StoreClient) -> None:
    from veupath_store.schema.files import before_deploy  # noqa: PLC0415 - as the next
    from veupath_store.schema.migrations import pending_migrations  # noqa: PLC0415 - imports pydantic-settings

    behind = before_deploy(await pending_migrations(client))
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
    left = _process.engine
    if left is not None and left.closed_externally:
        _process.engine = None
        await left.close()
    engine = _current_engine()
    if engine is not None and not _process.closed:
        await engine.run_closers()
    _process.closed = True
    if engine is not None:
        await engine.close()
        if _process.engine is engine:
            _process.engine = None
