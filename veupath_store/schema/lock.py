"""The advisory lock under which every tool of the store migrates, and the patience to wait for it and for tables.

The connection that does the work holds the lock, from its opening to its closing: where the one is lost, so is the
other, and no work goes on without it. `MigrationClient` is a Tortoise backend, so that aerich's commands take the lock
too, by the configuration `veupath_store.tortoise_config.AERICH_ORM`.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import asyncpg
from tortoise.context import TortoiseContext

from veupath_store.config import StoreSettings
from veupath_store.engine import StoreClient
from veupath_store.engine.connection import StoreConnection
from veupath_store.engine.translation import DRIVER_ERRORS, Phase, translate
from veupath_store.errors import ConfigurationError, SchemaError, StoreError, UnavailableError
from veupath_store.schema.names import CONNECTION

R = TypeVar("R")

logger: logging.Logger = logging.getLogger("veupath_store.schema")

ADVISORY_LOCK: Final = 0x7665_7570_6174_6801
"""The key of the advisory lock ("veupath" in ASCII, and 1). Every tool that migrates this database takes it."""

_POLL: Final = 0.1
"""Seconds between two tries for the advisory lock: a blocking wait would hold a snapshot and stall
CREATE INDEX CONCURRENTLY of the process that has the lock."""

_HOLDER: Final = """
    SELECT a.pid, coalesce(nullif(a.application_name, ''), a.backend_type, '') AS name, 'connected since ' AS doing,
           a.backend_start AS since, NULL AS tables
    FROM pg_locks l JOIN pg_stat_activity a USING (pid)
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND a.datname = current_database()
      AND (l.classid::bigint << 32 | l.objid::bigint) = $1
"""

# Who is in a transaction holds a lock on its virtual id; what others do and since when, an unprivileged role does not
# see, but locks it does. User tables have ids from 16384 on.
_TRANSACTIONS: Final = """
    SELECT a.pid, coalesce(nullif(a.application_name, ''), a.backend_type, '') AS name,
           'in a transaction since ' AS doing, a.xact_start AS since,
           string_agg(DISTINCT c.oid::regclass::text, ', ') AS tables
    FROM pg_stat_activity a JOIN pg_locks l USING (pid)
    LEFT JOIN pg_class c
        ON l.locktype = 'relation' AND c.oid = l.relation AND c.relkind IN ('r', 'p') AND c.oid >= 16384
    WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND l.granted
      AND l.locktype IN ('relation', 'virtualxid')
    GROUP BY a.pid, a.application_name, a.backend_type, a.xact_start
    HAVING a.xact_start IS NULL OR a.xact_start < statement_timestamp() - $1 * interval '1 second'
    UNION ALL
    SELECT NULL, gid, 'prepared, not committed, since ', prepared, NULL
    FROM pg_prepared_xacts WHERE database = current_database()
    ORDER BY since LIMIT 5
"""

# Logical replication does not copy sequences: after a switchover the next record would take an id that is there.
_ADVANCE_SEQUENCE: Final = """
    SELECT setval(sequence, newest)
    FROM (SELECT pg_get_serial_sequence('aerich', 'id')::regclass AS sequence, max(id) AS newest FROM aerich) AS record
    WHERE CASE WHEN has_sequence_privilege(sequence, 'UPDATE')
               THEN coalesce(pg_sequence_last_value(sequence), 0) < newest END
"""


LOCKED: Final = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError)
"""What the server says where a lock was not to be had."""


class MigrationConnection(StoreConnection):
    """A connection that keeps the advisory lock, once it has it, until it closes."""

    __slots__ = ("_has_lock",)

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401
        super().__init__(*args, **options)
        self._has_lock = False

    def get_reset_query(self) -> str:
        """As asyncpg's, without its pg_advisory_unlock_all."""
        return super().get_reset_query().replace("SELECT pg_advisory_unlock_all();", "")

    async def take_lock(self, patience: float) -> None:
        """Wait for the lock; then see that migrations can be recorded. Does nothing where it has the lock.

        Raises:
            UnavailableError: Another process has it for longer than that.
        """
        if self._has_lock:
            return
        try:
            async with asyncio.timeout(patience):
                # Another process frees it: there is no event to wait for.
                while not await self.fetchval("SELECT pg_try_advisory_lock($1)", ADVISORY_LOCK):  # noqa: ASYNC110
                    await asyncio.sleep(_POLL)
        except TimeoutError as exc:
            holder = _described(await self.fetch(_HOLDER, ADVISORY_LOCK))
            raise UnavailableError(
                f"Another process has been migrating this database for {patience:g} s{holder}."
            ) from exc
        if await self.fetchval("SELECT to_regclass('aerich') IS NOT NULL"):
            await self.execute(_ADVANCE_SEQUENCE)
        self._has_lock = True


class MigrationClient(StoreClient):
    """A client whose one connection holds the advisory lock."""

    connection_class = MigrationConnection

    async def create_connection(self, with_db: bool) -> None:
        """Make the pool; refused where only a PgBouncer is configured."""
        if self.settings.pgbouncer:
            raise ConfigurationError(
                "Migrations hold an advisory lock, which needs a direct connection: "
                "set MIGRATION_DATABASE_URL to a URL that does not go through PgBouncer."
            )
        await super().create_connection(with_db)

    async def acquire(self) -> Any:  # noqa: ANN401 - an asyncpg connection, which has no types
        """Take the connection, with the lock, which is waited for as long as `migration_wait`."""
        connection = await super().acquire()
        try:
            await connection.take_lock(self.settings.migration_wait)
        except BaseException as exc:
            await self.discard(connection)
            if isinstance(exc, DRIVER_ERRORS):
                raise translate(exc, Phase.READ) from exc
            raise
        return connection

    async def execute_rows(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        """As the store's. Of aerich's table, before the first migration made it, there are no rows.

        Aerich asks it what was applied, and takes any `OperationalError` for the answer in some places only.
        """
        try:
            return await super().execute_rows(query, values)
        except SchemaError as exc:
            if 'FROM "aerich"' in query and isinstance(exc.__cause__, asyncpg.UndefinedTableError):
                return []
            raise


client_class = MigrationClient


def locked_orm(settings: StoreSettings) -> dict[str, Any]:
    """A Tortoise configuration, of settings for migrations, under which all that is done is done under the lock."""
    config = settings.tortoise_orm()
    config["connections"][CONNECTION]["engine"] = __name__
    return config


async def under_lock(
    settings: StoreSettings, work: Callable[[StoreClient], Awaitable[R]], *, again: tuple[type, ...] = (object,)
) -> R:
    """Do some work on the schema while no other process does.

    Args:
        settings: What `StoreSettings.for_migrations` returned.
        work: What to do, in a separate Tortoise context. Done again, up to `migration_attempts` times, when it
            raises `UnavailableError`, as for a table's lock that was not free.
        again: For which causes of that alone, as `LOCKED` for work that takes long once it has its locks.

    Raises:
        UnavailableError: No server answers, another process holds the advisory lock for longer than
            `migration_wait`, or the attempts are used up; then it names the transactions that stand in the way.
        ConfigurationError: Only a PgBouncer is configured, or the server refused the role or the database.
    """
    async with own_client(settings, locked=True) as client:
        attempt = 0
        while True:
            attempt += 1
            # Opens the connection, where it was lost, and waits for the lock: what this raises is not tried again.
            await client.ping()
            try:
                return await work(client)
            except UnavailableError as exc:
                obstacles = await _obstacles(client, exc)
                if attempt >= settings.migration_attempts or not isinstance(exc.__cause__, again):
                    raise UnavailableError(f"{exc}{obstacles}") from exc
                logger.info("a migration could not get its locks; attempt %d failed.%s", attempt, obstacles)
            await asyncio.sleep(random.uniform(0.05, 0.5))  # noqa: S311 - to get out of step, not for secrets


async def _obstacles(client: StoreClient, error: UnavailableError) -> str:
    """The transactions that a table's lock, or CREATE INDEX CONCURRENTLY, may have waited for."""
    if not isinstance(error.__cause__, LOCKED):
        return ""
    try:
        return _described(await client.execute_rows(_TRANSACTIONS, [client.settings.lock_timeout]), " In its way: ")
    except StoreError:
        logger.debug("what stands in the way could not be read", exc_info=True)
        return ""


def _described(sessions: Sequence[Any], introduction: str = ": ") -> str:
    """Sessions for people to find and end; never their statements, which may hold content."""
    return introduction + "; ".join(map(_session, sessions)) if sessions else ""


def _session(row: Any) -> str:  # noqa: ANN401 - an asyncpg record
    process = f"process {row['pid']} ({row['name']})" if row["pid"] else f"transaction {row['name']!r}"
    since = f"{row['since']:%Y-%m-%d %H:%M:%S} UTC" if row["since"] else "unknown"
    session = f"{process}, {row['doing']}{since}"
    if not row["tables"]:
        return session
    locked = f"{row['tables']} {'are' if ',' in row['tables'] else 'is'} locked by {session}"
    return f"{locked}: end it, as by SELECT pg_terminate_backend({row['pid']})"


@asynccontextmanager
async def own_client(settings: StoreSettings, *, locked: bool = False) -> AsyncIterator[StoreClient]:
    """A client in a separate Tortoise context, whatever the process has open; with the lock or without."""
    async with TortoiseContext() as context:
        await context.init(config=locked_orm(settings) if locked else settings.tortoise_orm())
        client: Any = context.db()
        yield client
