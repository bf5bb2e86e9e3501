"""The schema of the SQLAlchemy layer as plain data: seven tables at four revisions, made in two ways."""

from dataclasses import dataclass
from typing import Final

REVISIONS: Final = ("6986444486d4", "87d93def2ccd", "a3f1b2c4d5e6", "b4e2f3a5d6c7")
"""Oldest first."""

SCHEMA: Final = "veupath_legacy"
"""Where the old tables are kept after an adoption."""

VERSION_TABLE: Final = "alembic_version"


@dataclass(frozen=True, slots=True)
class Column:
    """One column."""

    type: str
    """As the server writes it; ``id`` for text of any width that holds an id."""
    nullable: bool = False
    """In both variants. The others are NOT NULL, or in Alembic's variant nullable."""
    defaults: tuple[str, ...] = ()
    """Those of the server that it may have."""
    since: int = 0
    """The first revision that has it, as its place in `REVISIONS`."""


def _varchar(width: int, *, nullable: bool = False, defaults: tuple[str, ...] = ("",)) -> Column:
    return Column(f"character varying({width})", nullable, () if nullable else defaults)


_ID: Final = Column("id")
_REFERENCE: Final = Column("id", nullable=True)
_TIME: Final = Column("timestamp with time zone", defaults=("now()",))
_NO_TIME: Final = Column("timestamp with time zone", nullable=True)
_FLAG: Final = Column("boolean", defaults=("false",))
_COUNT: Final = Column("integer", defaults=("0", "1"))
_NUMBER: Final = Column("integer", nullable=True)
_ARRAY: Final = Column("json", defaults=("[]",))
_OBJECT: Final = Column("json", defaults=("{}",))

COLUMNS: Final[dict[str, dict[str, Column]]] = {
    "users": {"id": _ID, "external_id": _varchar(255, nullable=True), "created_at": _TIME},
    "control_sets": {
        "id": _ID,
        "user_id": _REFERENCE,
        "name": _varchar(255),
        "site_id": _varchar(100),
        "record_type": _varchar(100),
        "positive_ids": _ARRAY,
        "negative_ids": _ARRAY,
        "source": _varchar(50, nullable=True),
        "tags": _ARRAY,
        "provenance_notes": Column("text", nullable=True),
        "version": _COUNT,
        "is_public": _FLAG,
        "created_at": _TIME,
    },
    "experiments": {
        "id": _ID,
        "site_id": _varchar(100),
        "user_id": _REFERENCE,
        "name": _varchar(255),
        "status": _varchar(20, defaults=("", "pending")),
        "data": _OBJECT,
        "batch_id": _varchar(50, nullable=True),
        "benchmark_id": _varchar(50, nullable=True),
        "created_at": _TIME,
        "updated_at": _TIME,
    },
    "gene_sets": {
        "id": _ID,
        "user_id": _REFERENCE,
        "site_id": _varchar(100),
        "name": _varchar(255),
        "gene_ids": _ARRAY,
        "source": _varchar(20, defaults=("", "paste")),
        "wdk_strategy_id": _NUMBER,
        "wdk_step_id": _NUMBER,
        "search_name": _varchar(255, nullable=True),
        "record_type": _varchar(100, nullable=True),
        "parameters": Column("json", nullable=True, defaults=("{}",)),
        "parent_set_ids": _ARRAY,
        "operation": _varchar(20, nullable=True),
        "step_count": _COUNT,
        "created_at": _TIME,
    },
    "streams": {
        "id": _ID,
        "user_id": _ID,
        "site_id": _varchar(50),
        "experiment_id": Column("id", nullable=True, since=1),
        "created_at": _TIME,
    },
    "stream_projections": {
        "stream_id": _ID,
        "name": _varchar(255, defaults=("", "New Conversation")),
        "record_type": _varchar(100, nullable=True),
        "wdk_strategy_id": _NUMBER,
        "is_saved": _FLAG,
        "model_id": _varchar(100, nullable=True),
        "message_count": _COUNT,
        "step_count": _COUNT,
        "plan": _OBJECT,
        "steps": _ARRAY,
        "root_step_id": _varchar(100, nullable=True),
        "result_count": _NUMBER,
        "last_event_id": _varchar(30, nullable=True),
        "updated_at": _TIME,
        "dismissed_at": Column("timestamp with time zone", nullable=True, since=3),
        "site_id": _varchar(50),
        "gene_set_id": Column("id", nullable=True, since=2),
        "gene_set_auto_imported": Column("boolean", defaults=("false",), since=2),
    },
    "operations": {
        "operation_id": _ID,
        "stream_id": _ID,
        "type": _varchar(50),
        "status": _varchar(20, defaults=("", "active")),
        "created_at": _TIME,
        "completed_at": _NO_TIME,
    },
}

TABLES: Final = tuple(COLUMNS)

KEYS: Final = {table: next(iter(columns)) for table, columns in COLUMNS.items()}
"""The primary key of each table, its first column here."""

FOREIGN_KEYS: Final = {
    ("control_sets", "user_id"): ("users", "SET NULL", 0),
    ("streams", "user_id"): ("users", "CASCADE", 0),
    ("stream_projections", "stream_id"): ("streams", "CASCADE", 0),
    ("stream_projections", "gene_set_id"): ("gene_sets", "SET NULL", 2),
    ("operations", "stream_id"): ("streams", "CASCADE", 0),
}
"""What a column refers to, what a deletion does, and since which revision."""

INDEXES: Final[dict[str, tuple[str, ...]]] = {
    "control_sets": ("site_id", "user_id"),
    "experiments": ("site_id", "user_id", "batch_id", "benchmark_id"),
    "gene_sets": ("site_id", "user_id", "user_id, site_id"),
    "streams": ("user_id, site_id", "user_id, experiment_id"),
    "stream_projections": ("wdk_strategy_id",),
    "operations": ("stream_id, status",),
}
"""Indexes beside those of keys, of any revision."""
