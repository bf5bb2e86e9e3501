"""What the parts of an adoption share: the connection, the old tables, the progress, the list of problems."""

from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from veupath_store.adoption.values import AdoptionProgress, Problem, ProblemKind
from veupath_store.engine.transaction import StoreTransaction
from veupath_store.engine.translation import DRIVER_ERRORS, Phase, translate
from veupath_store.events.log.client import RedisClient

T = TypeVar("T")

Progress = Callable[[AdoptionProgress], None]

Noted = tuple[str, ProblemKind, str | None, str]
"""A row's old id, what is wrong, with which column, and what is done about it."""

BATCH: Final = 5_000
"""Rows of a batch that hold no documents."""

# From PostgreSQL 17 on there are two.
UNHURRIED: Final = """
SELECT set_config(name, '0', true) FROM pg_settings WHERE name IN ('statement_timeout', 'transaction_timeout')"""
"""Lets a transaction take as long as it takes."""

NOBODY: Final = "adopted:nobody"
"""The external id of the user to whom rows without an owner are given."""

PROBLEMS: Final = """
CREATE TEMP TABLE adopting_problems (
    number bigint GENERATED ALWAYS AS IDENTITY, kind text NOT NULL, entity text NOT NULL, key text NOT NULL, field text,
    fixed text NOT NULL
) ON COMMIT DROP"""


@asynccontextmanager
async def own_connection(transaction: StoreTransaction) -> AsyncIterator[Any]:
    """A transaction's connection, for COPY and cursors; what it raises is translated as the engine does."""
    async with transaction.acquire_connection() as connection:
        try:
            yield connection
        except DRIVER_ERRORS as exc:
            raise translate(exc, Phase.IN_TRANSACTION) from exc


@dataclass
class Work:
    """One adoption, or one look at what it would do, inside of its transaction."""

    connection: Any
    """The transaction's, asyncpg's."""
    log: RedisClient | None = None
    log_prefix: str = ""
    progress: Progress | None = None
    rows: dict[str, int] = field(default_factory=dict)
    """How many each old table has."""

    def tell(self, phase: str, done: int, total: int) -> None:
        """Tell how far a phase is."""
        if self.progress is not None:
            self.progress(AdoptionProgress(phase=phase, done=done, total=total))

    def steps(self, phase: str, items: Collection[T]) -> Iterator[T]:
        """The steps of a phase, one by one, and telling how far it is."""
        for number, item in enumerate(items):
            self.tell(phase, number, len(items))
            yield item
        self.tell(phase, len(items), len(items))

    async def run(self, statement: str) -> int:
        """Run one statement; the number of rows that it touched."""
        status: str = await self.connection.execute(statement)
        count = status.rpartition(" ")[2]
        return int(count) if count.isdecimal() else 0

    async def batches(self, query: str, size: int = BATCH) -> AsyncIterator[list[Any]]:
        """The rows of a query, a few at a time; other statements may run in between."""
        cursor = await self.connection.cursor(query)
        while rows := await cursor.fetch(size):
            yield rows

    async def copy(self, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
        """Write rows to a temporary table."""
        await self.connection.copy_records_to_table(table, schema_name="pg_temp", columns=columns, records=rows)

    async def make(self, table: str, query: str) -> None:
        """Make a temporary table of a query's rows, and let the planner know it."""
        await self.connection.execute(f"CREATE TEMP TABLE {table} ON COMMIT DROP AS {query}")
        await self.connection.execute(f"ANALYZE pg_temp.{table}")

    async def note(self, kind: ProblemKind, entity: str, field: str | None, fixed: str, rows: str) -> None:
        """Note a problem of each row of an old table whose id the query `rows` gives."""
        shown = "NULL" if field is None else f"'{field}'"
        await self.connection.execute(
            "INSERT INTO adopting_problems (kind, entity, key, field, fixed) "
            f"SELECT '{kind}', '{entity}', found.key, {shown}, '{fixed}' FROM ({rows}) AS found(key)"
        )

    async def note_each(self, entity: str, noted: Sequence[Noted]) -> None:
        """Note problems of some rows of an old table."""
        if noted:
            records = [(str(kind), entity, key, field, fixed) for key, kind, field, fixed in noted]
            await self.copy("adopting_problems", ("kind", "entity", "key", "field", "fixed"), records)


async def problems_in(connection: Any, table: str) -> list[Problem]:  # noqa: ANN401 - an asyncpg connection
    """Every problem that was noted in a table, in that order."""
    query = f"SELECT kind, entity AS table, key, field, fixed FROM {table} ORDER BY number"
    return [Problem(**{**row, "kind": ProblemKind(row["kind"])}) for row in await connection.fetch(query)]


def resolved(column: str, mapping: str = "m") -> str:
    """The UUID of an old id: from the map that `join` joins, or its own."""
    return f"COALESCE({mapping}.id, {column}::uuid)"


def join(kind: str, column: str, mapping: str = "m") -> str:
    """The join for `resolved`; the map has every id of the kind that is no UUID in lower case."""
    return f"LEFT JOIN adopting_ids {mapping} ON {mapping}.kind = '{kind}' AND {mapping}.legacy_id = {column}"
