"""The plans of a workload's statements."""

from contextlib import suppress
from typing import Final

from benchmarks.variants import Opened
from benchmarks.workload import Workload
from veupath_store import UnavailableError
from veupath_store.integrations.testing import recorded

# By a function, because the driver would want the values of the parameters, which a generic plan does not need.
_FUNCTION: Final = """
CREATE OR REPLACE FUNCTION pg_temp.explained(statement text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY EXECUTE 'EXPLAIN (GENERIC_PLAN) ' || statement;
END
$$"""

_SINCE: Final = 160_000
"""The first version of PostgreSQL that explains a statement without its values."""


async def explained(opened: Opened, workload: Workload) -> list[str]:
    """The statements that ours sends for a workload, each with its generic plan; without, before PostgreSQL 16."""
    await workload.before(opened.connection)
    with recorded() as sent, suppress(UnavailableError):
        await workload.ours()
    version = int(await opened.connection.fetchval("SHOW server_version_num"))
    if version < _SINCE:
        return list(sent)
    await opened.connection.execute(_FUNCTION)
    found = []
    for statement in dict.fromkeys(sent):
        rows = await opened.connection.fetch("SELECT * FROM pg_temp.explained($1)", statement)
        found.append("\n".join([" ".join(statement.split()), *(f"  {row[0]}" for row in rows)]))
    return found
