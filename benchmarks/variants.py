"""The four implementations, open side by side on one database, each with a pool of its own of one size."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import asyncpg
from tortoise.context import TortoiseContext

from benchmarks import replaced
from benchmarks.hand_log import Logged
from benchmarks.workload import Sessions, Variant, Workload
from benchmarks.world import World
from veupath_store import StoreSettings, close_db, init_db
from veupath_store.engine.driver import driver_arguments
from veupath_store.schema.names import APP, CONNECTION
from veupath_store.servers.redis import join_embedded

POOL: Final = 10
"""Connections of each pool."""

_NAME: Final = "veupath-store-bench-{}"


@dataclass(frozen=True)
class Opened:
    """All of them.

    Attributes:
        pool: asyncpg's.
        context: Where plain Tortoise is initialised.
        sessions: SQLAlchemy's, or ``None`` where it is not installed.
        connection: Beside them, for what is not measured.
        our_name: What the server calls the store's connections.
        redis: redis-py's client of the event log, where there is one.
        prefix: What the log's keys begin with.
        only: Who is asked; all of them by default.
    """

    pool: asyncpg.Pool
    context: TortoiseContext
    sessions: Sessions | None
    connection: asyncpg.Connection
    our_name: str
    redis: Any = None
    prefix: str = ""
    only: Collection[Variant] = tuple(Variant)

    def made(self, kind: type[Workload], world: World) -> Workload:
        """A piece of work; one that needs the log gets it."""
        workload = kind(world)
        if isinstance(workload, Logged):
            workload.redis, workload.prefix = self.redis, self.prefix
        return workload

    def variants(self, workload: Workload) -> list[Variant]:
        """Those that can do a piece of work."""
        return [
            variant
            for variant in self.only
            if variant not in workload.missing and (variant is not Variant.ALCHEMY or self.sessions is not None)
        ]

    def call(self, workload: Workload, variant: Variant) -> Callable[[], Awaitable[object]]:
        """The call of a piece of work by one of them, to be made in its `scope`."""
        if variant is Variant.RAW:
            return partial(workload.raw, self.pool)
        if variant is Variant.TORTOISE:
            return workload.tortoise
        if variant is Variant.ALCHEMY and self.sessions is not None:
            return partial(workload.alchemy, self.sessions)
        return workload.ours

    def scope(self, variant: Variant) -> AbstractContextManager[object]:
        """Makes plain Tortoise's context the current one for its calls, and theirs only: the models are the same."""
        return self.context if variant is Variant.TORTOISE else nullcontext()

    async def connections(self, variant: Variant) -> int:
        """How many connections one of them has open."""
        name = self.our_name if variant is Variant.OURS else _NAME.format(variant)
        count: int = await self.connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1", name
        )
        return count


@asynccontextmanager
async def opened(settings: StoreSettings, only: Collection[Variant] = tuple(Variant)) -> AsyncIterator[Opened]:
    """Open all of them, and close them afterwards.

    Args:
        settings: The database.
        only: Who is asked. The others are opened, and connect when they are asked only.
    """
    target = settings.target
    host, port = target.hosts[0]
    where = {"host": host, "port": port, "user": target.user, "password": target.password}
    secured = {"ssl": driver_arguments(target)["ssl"]}
    async with AsyncExitStack() as stack:
        # What is measured is the call: nothing is written to logs beside it.
        await init_db(settings=settings.model_copy(update={"pool_max_size": POOL, "catch_up": False}))
        stack.push_async_callback(close_db)
        connection = await asyncpg.connect(**where, **secured, database=target.database)
        stack.push_async_callback(connection.close)
        pool = await stack.enter_async_context(
            asyncpg.create_pool(
                **where,
                **secured,
                database=target.database,
                min_size=1,
                max_size=POOL,
                server_settings={"application_name": _NAME.format(Variant.RAW)},
            )
        )
        context = await stack.enter_async_context(_tortoise({**where, **secured, "database": target.database}))
        sessions = None
        if replaced.INSTALLED:
            sessions = await stack.enter_async_context(_alchemy({**where, **secured, "database": target.database}))
        redis = await stack.enter_async_context(_redis(settings))
        name = target.application_name or "veupath-store"
        yield Opened(pool, context, sessions, connection, name, redis, settings.log_prefix, only)


@asynccontextmanager
async def _tortoise(where: dict[str, Any]) -> AsyncIterator[TortoiseContext]:
    """Plain Tortoise, in a context of its own that is not left current."""
    name = _NAME.format(Variant.TORTOISE)
    credentials = {**where, "minsize": 1, "maxsize": POOL, "application_name": name}
    context = TortoiseContext()
    with context:
        await context.init(
            config={
                "connections": {CONNECTION: {"engine": "tortoise.backends.asyncpg", "credentials": credentials}},
                "apps": {APP: {"models": ["veupath_store.models"], "default_connection": CONNECTION}},
                "use_tz": True,
                "timezone": "UTC",
            }
        )
    try:
        yield context
    finally:
        with context:
            await context.connections.close_all()


@asynccontextmanager
async def _alchemy(where: dict[str, Any]) -> AsyncIterator[Sessions]:
    """SQLAlchemy's factory of sessions."""
    from sqlalchemy.ext.asyncio import (  # noqa: PLC0415 - an extra
        async_sessionmaker,
        create_async_engine,
    )

    named = {"application_name": _NAME.format(Variant.ALCHEMY)}
    engine = create_async_engine(
        "postgresql+asyncpg://",
        pool_size=POOL,
        max_overflow=0,
        connect_args={**where, "server_settings": named},
    )
    try:
        yield async_sessionmaker(engine, expire_on_commit=False)
    finally:
        await engine.dispose()


@asynccontextmanager
async def _redis(settings: StoreSettings) -> AsyncIterator[Any]:
    """redis-py's client of the event log; ``None`` without one."""
    target = settings.log_target
    if target is None:
        yield None
        return
    from redis.asyncio import Redis  # noqa: PLC0415 - an extra

    options: dict[str, Any] = {"host": target.host, "port": target.port, **({"ssl": True} if target.tls else {})}
    if target.embedded is not None:
        options = {"unix_socket_path": join_embedded(target.embedded)}
    elif target.socket is not None:
        options = {"unix_socket_path": target.socket}
    client = Redis(**options, db=target.database, username=target.user, password=target.password)
    try:
        yield client
    finally:
        await client.aclose()
