"""Every table that holds rows of users, stated once: purge and export read it, and a test compares it with the catalog.

A new table with a ``user_id`` that is not listed here fails tests/integration/test_accounts.py.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True)
class OwnedTable:
    """How one table belongs to users.

    Attributes:
        table: Its name.
        key: The column that identifies a row.
        owner: The column that names its user.
        purged: Which of a user's rows a purge deletes, over the alias ``t``; ``$2`` is the site or null, ``$3``
            whether conversations with a WDK strategy are kept.
        noted: Columns beside the key that a purge reads of what it deletes: never whole rows, which hold documents.
        site: Which rows belong to the site ``$2``, over the alias ``t``; ``None`` where rows belong to no site.
    """

    table: str
    key: str
    purged: str
    site: str | None
    owner: str = "user_id"
    noted: tuple[str, ...] = ()


_ON_SITE: Final = "t.site_id = $2"
_ANY_SITE: Final = "($2::text IS NULL OR t.site_id = $2)"


def _doomed(stream: str) -> str:
    """Whether a conversation is deleted: on the site, and not kept for its WDK strategy.

    Where all go, nothing is looked up: PostgreSQL would compare each row with every conversation. 10,000 rows take
    40 ms so, and 180 without; 20,000 take 90 and 610.
    """
    return (
        "($2::text IS NULL AND NOT $3::boolean OR "
        f"EXISTS (SELECT FROM stream_projections d WHERE d.stream_id = {stream} AND d.user_id = t.user_id "
        "AND ($2::text IS NULL OR d.site_id = $2) AND NOT ($3 AND d.wdk_strategy_id IS NOT NULL)))"
    )


# In an order in which rows can be deleted and, backwards, inserted again.
OWNED_TABLES: Final = (
    OwnedTable(
        table="operations",
        key="id",
        noted=("stream_id",),
        purged=f"(t.stream_id IS NULL AND $2::text IS NULL OR {_doomed('t.stream_id')})",
        site="EXISTS (SELECT FROM streams s WHERE s.id = t.stream_id AND s.user_id = t.user_id AND s.site_id = $2)",
    ),
    OwnedTable(table="stream_projections", key="stream_id", purged=_doomed("t.stream_id"), site=_ON_SITE),
    OwnedTable(table="streams", key="id", purged=_doomed("t.id"), site=_ON_SITE),
    OwnedTable(table="gene_sets", key="id", purged=_ANY_SITE, site=_ON_SITE),
    OwnedTable(table="experiments", key="id", purged=_ANY_SITE, site=_ON_SITE),
    OwnedTable(table="control_sets", key="id", purged=f"NOT t.is_public AND {_ANY_SITE}", site=_ON_SITE),
    # They stay as long as the user does: a save that comes late must not bring back what was purged.
    OwnedTable(table="document_ids", key="id", purged="$2::text IS NULL AND NOT $3", site=None),
)
