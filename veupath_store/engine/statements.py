"""How one statement runs, the same in autocommit and inside a transaction."""

import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, TypeVar

from tortoise.backends.asyncpg.client import AsyncpgDBClient

from veupath_store.engine.connect import is_lost
from veupath_store.engine.translation import DRIVER_ERRORS, Phase, translate

T = TypeVar("T")

SCRIPT_TIMEOUT: Final = 86_400.0
"""Seconds for a script. Scripts are migrations, which bound themselves by their own server timeouts."""

_READS: Final = re.compile(r"\s*(SELECT|WITH|VALUES|TABLE|SHOW|EXPLAIN)\b", re.IGNORECASE)
_WRITES: Final = re.compile(r"\b(INSERT|UPDATE|DELETE|MERGE|INTO)\b", re.IGNORECASE)
_RETURNS_ROWS: Final = re.compile(r"^\s*(SELECT|WITH|VALUES|SHOW|EXPLAIN)\b|\bRETURNING\b", re.IGNORECASE)

logger = logging.getLogger("veupath_store.engine")


class Statements(AsyncpgDBClient):
    """The ``execute_*`` methods that Tortoise calls, with translated errors and logs that show no values."""

    def acquire_connection(self) -> AbstractAsyncContextManager[Any]:  # type: ignore[override]
        """A connection for one statement. Subclasses say which."""
        raise NotImplementedError

    def phase_of(self, query: str) -> Phase:
        """What a lost connection during this statement would mean. Subclasses say it."""
        raise NotImplementedError

    async def _run(self, query: str, values: Sequence[Any], call: Callable[[Any], Awaitable[T]]) -> T:
        async with self.acquire_connection() as connection:
            if logger.isEnabledFor(logging.DEBUG):
                logger.debug("%s [%d values]", query, len(values))
            try:
                return await call(connection)
            except DRIVER_ERRORS as exc:
                raise translate(exc, self.phase_of(query), connected=not is_lost(connection)) from exc

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
        if _RETURNS_ROWS.search(query):
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
        await self._run(query, (), lambda connection: connection.execute(query, timeout=SCRIPT_TIMEOUT))


def autocommit_phase(query: str) -> Phase:
    """Whether a statement outside of a transaction reads or writes. In doubt it writes."""
    reads = _READS.match(query) and not _WRITES.search(query)
    return Phase.READ if reads else Phase.AUTOCOMMIT_WRITE
