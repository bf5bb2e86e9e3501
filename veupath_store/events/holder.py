"""Which database the logs under a prefix belong to, so that two that use one prefix are noticed.

A key under the prefix names the database that came first. It lasts for a day after that was seen last: a database that
was restored, or moved, under another identity is warned of for a day, and has the prefix then. Nobody is refused
anything.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from veupath_store.events.log.log import EventLog

Fetch = Callable[[str], Awaitable[Sequence[Any]]]
"""Runs a query, and returns its rows."""

_MAY_ASK: Final = "SELECT has_function_privilege('pg_control_system()', 'EXECUTE') AS is_allowed"
# Cluster, database and schema: what a dump does not take along. A copy of the whole cluster has the same.
_IDENTITY: Final = """
SELECT format('%s (cluster %s, database %s, schema %s)', current_database(), (pg_control_system()).system_identifier,
              d.oid, c.relnamespace) AS identity
FROM pg_database d, pg_class c WHERE d.datname = current_database() AND c.oid = to_regclass('stream_projections')"""


async def database_identity(fetch: Fetch) -> str | None:
    """What tells this database from others; ``None`` where its role may not know, or there are no tables yet."""
    [may_ask] = await fetch(_MAY_ASK)
    rows = await fetch(_IDENTITY) if may_ask["is_allowed"] else ()
    return str(rows[0]["identity"]) if rows else None


async def other_holder(log: EventLog, fetch: Fetch) -> str | None:
    """The other database that uses the log's prefix; ``None`` where there is none, and the prefix is this one's.

    Two queries for each process, and one round trip to Redis.
    """
    if log.identity is None:
        log.identity = await database_identity(fetch)
    if log.identity is None:
        return None
    holder = await log.hold(log.identity)
    return holder if holder != log.identity else None
