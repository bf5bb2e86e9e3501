"""One connection to ask with, as the application has it, and how findings are made."""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

from veupath_store.config import StoreSettings
from veupath_store.engine.connect import is_lost
from veupath_store.engine.translation import DRIVER_ERRORS, Phase, translate
from veupath_store.schema.lock import own_client
from veupath_store.values.check import Finding, Level

PATIENCE: Final = 10.0
"""Seconds that one question may take; an operator waits for the answer."""


@dataclass(frozen=True)
class Probe:
    """A connection on which the deployment is looked at, and the settings that it was made with."""

    settings: StoreSettings
    connection: Any
    """In a transaction with the application's timeouts."""
    schema: str | None = None
    """Of the store's tables, quoted where it needs that; ``None`` where the role sees none."""
    is_pooled: bool = False

    async def fetch(self, query: str, *values: Any) -> Sequence[Any]:  # noqa: ANN401 - a statement's arguments
        """Run a query; its rows. The store's errors are raised."""
        try:
            rows: Sequence[Any] = await self.connection.fetch(query, *values)
        except DRIVER_ERRORS as exc:
            raise translate(exc, Phase.READ, connected=not is_lost(self.connection)) from exc
        return rows

    async def one(self, query: str, *values: Any) -> Any:  # noqa: ANN401
        """Run a query that has one row."""
        [row] = await self.fetch(query, *values)
        return row


# The schema where the store's tables are, or where a first migration would make them.
_WHERE: Final = """
SELECT pg_backend_pid() AS pid,
       quote_ident(coalesce((SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                             WHERE c.oid = to_regclass('aerich')), current_schema())) AS schema
"""


@asynccontextmanager
async def probing(settings: StoreSettings) -> AsyncIterator[Probe]:
    """A connection of the application's kind, in a transaction that is rolled back."""
    bounded = settings.model_copy(
        update={
            "pool_min_size": 0,
            "pool_max_size": 1,
            "command_timeout": min(settings.command_timeout, PATIENCE),
            "acquire_timeout": settings.connect_timeout + PATIENCE,
        }
    )
    async with own_client(bounded) as client:
        connection = await client.acquire()
        try:
            await connection.execute(client.begin_sql)
            probe = Probe(settings, connection)
            found = await probe.one(_WHERE)
            # A pooler tells its clients another process id than that of the server's process.
            is_pooled = connection.get_server_pid() != found["pid"]
            yield replace(probe, schema=found["schema"], is_pooled=is_pooled)
        except DRIVER_ERRORS as exc:
            raise translate(exc, Phase.READ) from exc
        finally:
            await client.discard(connection)


def ok(name: str, message: str, details: Iterable[str] = ()) -> Finding:
    """All is well."""
    return Finding(name=name, level=Level.OK, message=message, details=tuple(details))


def warning(name: str, message: str, details: Iterable[str] = ()) -> Finding:
    """Worth a look."""
    return Finding(name=name, level=Level.WARNING, message=message, details=tuple(details))


def verdict(name: str, wrong: Sequence[str], message: str, fine: str, level: Level = Level.FAILURE) -> Finding:
    """What is wrong, and exactly what; or that all is well."""
    return Finding(name=name, level=level, message=message, details=tuple(wrong)) if wrong else ok(name, fine)


def failure(name: str, message: str, details: Iterable[str] = ()) -> Finding:
    """To be fixed."""
    return Finding(name=name, level=Level.FAILURE, message=message, details=tuple(details))
