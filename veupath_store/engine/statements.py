"""How one statement runs, the same in autocommit and inside a transaction."""

import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

from tortoise.backends.asyncpg.client import AsyncpgDBClient

from veupath_store.engine.changes import CONVERSATIONS
from veupath_store.engine.connect import is_lost
from veupath_store.engine.pool import generation_of
from veupath_store.engine.translation import DRIVER_ERRORS, Phase, is_elsewhere, translate
from veupath_store.errors import OutcomeUnknownError, SchemaError, StoreError

if TYPE_CHECKING:
    from veupath_store.engine.client import StoreClient

T = TypeVar("T")

SCRIPT_TIMEOUT: Final = 86_400.0
"""Seconds for a script. Scripts are migrations, which bound themselves by their own server timeouts."""

NO_STATEMENT: Final = re.compile(r"(?:\s|;|--[^\n]*|/\*.*?\*/)*", re.DOTALL)
"""Text without a statement, comments at most."""

_READS: Final = re.compile(r"\s*(SELECT|WITH|VALUES|TABLE|SHOW|EXPLAIN)\b", re.IGNORECASE)
_WRITES: Final = re.compile(r"\b(INSERT|UPDATE|DELETE|MERGE|INTO)\b", re.IGNORECASE)
_CHANGES_CONVERSATIONS: Final = re.compile(r"\b(?:unlogged =|INTO (?:stream_projections|stream_events|deleted_ids))")
_RETURNS_ROWS: Final = re.compile(r"^\s*(SELECT|WITH|VALUES|SHOW|EXPLAIN)\b|\bRETURNING\b", re.IGNORECASE)

logger: logging.Logger = logging.getLogger("veupath_store.engine")

unconfirmed: Final[ContextVar[bool]] = ContextVar("unconfirmed", default=False)
"""Whether the outcome of a write in this task is unknown: a synchronous standby may lack what the primary shows."""


@lru_cache(maxsize=1_000)
def _has(pattern: re.Pattern[str], query: str) -> bool:
    """Whether a statement has something. To search it takes up to 10 µs, a sixth of a small read: so once for each."""
    return pattern.search(query) is not None


class Statements(AsyncpgDBClient):
    """The ``execute_*`` methods that Tortoise calls, with translated errors and logs that show no values."""

    pool: "StoreClient"
    in_transaction: ClassVar[bool]

    def acquire_connection(self) -> AbstractAsyncContextManager[Any]:  # type: ignore[override]
        """A connection for one statement. Subclasses say which."""
        raise NotImplementedError

    def changed(self, topic: str) -> None:
        """A statement has changed something of a topic (`engine.changes`). Subclasses say whom to tell, and when."""

    async def _run(self, query: str, values: Sequence[Any], call: Callable[[Any], Awaitable[T]]) -> T:
        async with self.acquire_connection() as connection:
            if logger.isEnabledFor(logging.DEBUG):
                logger.debug("%s [%d values]", query, len(values))
            generation = generation_of(connection)
            try:
                answer = await call(connection)
            except DRIVER_ERRORS as exc:
                phase = Phase.IN_TRANSACTION if self.in_transaction else _autocommit_phase(query)
                raise self.translated(exc, phase, connection, generation) from exc
            if _has(_CHANGES_CONVERSATIONS, query):
                self.changed(CONVERSATIONS)
            return answer

    async def send(self, connection: Any, sql: str, phase: Phase) -> str:  # noqa: ANN401
        """Send what is no statement of a caller's, unlogged, and return its status."""
        generation = generation_of(connection)
        try:
            status: str = await connection.execute(sql)
        except DRIVER_ERRORS as exc:
            raise self.translated(exc, phase, connection, generation) from exc
        return status

    def translated(self, error: BaseException, phase: Phase, connection: Any, generation: int | None) -> StoreError:  # noqa: ANN401
        """The store's error for a driver's error; connections to a server that has gone or turned read-only expire.

        The generation is what `generation_of` said of the connection before.
        """
        lost = is_lost(connection)
        if is_elsewhere(error, None if lost else connection.get_settings()):
            self.pool.expire_connections(generation)
        failure = translate(error, phase, connected=not lost)
        if isinstance(failure, OutcomeUnknownError):
            unconfirmed.set(True)
        return failure

    async def execute_insert(self, query: str, values: list[Any]) -> Any:  # noqa: ANN401 - asyncpg.Record
        """Run an INSERT and return its RETURNING row, or ``None`` without one."""
        return await self._run(query, values, lambda connection: connection.fetchrow(query, *values))

    async def execute_many(self, query: str, values: list[Any]) -> None:
        """Run one statement for each list of values: all or none (asyncpg sends them as one implicit transaction)."""
        await self._run(query, values, lambda connection: connection.executemany(query, values))

    async def execute_query(self, query: str, values: list[Any] | None = None) -> tuple[int, list[Any]]:
        """Run a statement; return the number of rows that it affected or returned, and the rows.

        Unlike upstream, rows of RETURNING are returned and an INSERT reports its count.
        """
        arguments = values or []
        if _has(_RETURNS_ROWS, query):
            rows = await self.execute_rows(query, arguments)
            return len(rows), rows
        status = await self._run(query, arguments, lambda connection: connection.execute(query, *arguments))
        count = status.rpartition(" ")[2]
        return (int(count) if count.isdecimal() else 0), []

    async def execute_rows(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        """Run a statement and return its rows as asyncpg records; JSON columns are text."""
        rows: list[Any] = await self._run(query, values, lambda connection: connection.fetch(query, *values))
        return rows

    async def execute_query_dict(self, query: str, values: list[Any] | None = None) -> list[dict[str, Any]]:
        """Run a statement and return its rows as dictionaries; JSON columns are text."""
        return [dict(row) for row in await self.execute_rows(query, values or [])]

    async def execute_script(self, query: str) -> None:
        """Run several statements in one string, as migrations do. They are one transaction."""
        if NO_STATEMENT.fullmatch(query or ""):  # asyncpg would fail with an AttributeError
            raise SchemaError(
                "A migration gave no SQL to run, as a file of 'aerich migrate --empty' does until it is filled in "
                "('aerich heads' names it first). Nothing was recorded."
            )
        await self._run(query, (), lambda connection: connection.execute(query, timeout=SCRIPT_TIMEOUT))


def _autocommit_phase(query: str) -> Phase:
    """Whether a statement outside of a transaction reads, or writes what may be saved when its answer is lost.

    In doubt it writes.
    """
    reads = _READS.match(query) and not _WRITES.search(query)
    return Phase.READ if reads else Phase.AUTOCOMMIT_WRITE
