"""Which of the store's own events are from transactions that were rolled back.

A repository's event is appended before its transaction commits, so a process that dies in between leaves it in the
log. Who finds one beyond the position of a row that it has locked decides, and decides only about transactions of this
very cluster: elsewhere, as after a restore, the same id means another transaction, and the log is what is true.

* The row still stands where the event's transaction found it: that transaction did not commit, or the row would stand
  at the event at least. This holds also where a crash of the server has forgotten the transaction's id and given it to
  another one, which happens when nothing of it had reached the disk.
* PostgreSQL says that the transaction was aborted: the case of rows that are gone and made anew.
"""

from collections.abc import Iterable
from typing import Final, TypeAlias

from veupath_store.engine.statements import Statements
from veupath_store.events.patched import Origin

_CLUSTER: Final = (
    "(SELECT system_identifier FROM pg_control_system())::text || '.' || "
    "left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)"
)
"""The cluster and its timeline, which a restore or a failover changes. 30 µs, for it reads a file (PostgreSQL 15)."""

ORIGIN: Final = f"pg_current_xact_id()::text AS xact, {_CLUSTER} AS cluster"
"""The columns that make an `Origin`, for a statement of the transaction that writes the event."""

# An id that is ahead of this cluster's would be an error.
_ROLLED_BACK: Final = f"""
SELECT given.number
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[])
    WITH ORDINALITY AS given(xact, cluster, base, position, number)
WHERE given.cluster = {_CLUSTER}
  AND (given.base = given.position OR CASE WHEN given.xact::xid8 < pg_snapshot_xmax(pg_current_snapshot())
                               THEN pg_xact_status(given.xact::xid8) END = 'aborted')"""


Found: TypeAlias = tuple[Origin, str | None]
"""An event's origin, and where its row stands; ``None`` where there is no row."""


async def rolled_back(client: Statements, found: Iterable[Found]) -> set[Found]:
    """Which events are from transactions that were rolled back, for certain. One statement; none without events.

    Args:
        client: The transaction that has locked the rows; where there is no row, any client.
        found: The events.
    """
    asked = list(set(found))
    if not asked:
        return set()
    columns = [list(column) for column in zip(*((*origin, position) for origin, position in asked), strict=True)]
    records = await client.execute_rows(_ROLLED_BACK, columns)
    return {asked[record["number"] - 1] for record in records}
