"""The plans of a workload's statements."""

from contextlib import suppress

import asyncpg

from benchmarks.variants import Opened
from benchmarks.workload import Workload
from veupath_store import UnavailableError
from veupath_store.integrations.testing import recorded


async def explained(opened: Opened, workload: Workload) -> list[str]:
    """The statements that ours sends for a workload, each once, with its generic plan, which needs no values."""
    await workload.before(opened.connection)
    with recorded() as sent, suppress(UnavailableError):
        await workload.ours()
    return [await _plan(opened.connection, statement) for statement in dict.fromkeys(sent)]


async def _plan(connection: asyncpg.Connection, statement: str) -> str:
    async with connection.transaction():
        await connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        await connection.execute(f"PREPARE explained AS {statement}")
        try:
            count = await connection.fetchval(
                "SELECT cardinality(parameter_types) FROM pg_prepared_statements WHERE name = 'explained'"
            )
            values = f" ({', '.join(['NULL'] * count)})" if count else ""
            rows = await connection.fetch(f"EXPLAIN EXECUTE explained{values}")
        finally:
            await connection.execute("DEALLOCATE explained")
    return "\n".join([" ".join(statement.split()), *(f"  {row[0]}" for row in rows)])
