"""What adoption tells: plans, problems, reports."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class Variant(StrEnum):
    """Who made the tables of the SQLAlchemy layer."""

    ALEMBIC = "alembic"
    """Alembic's migrations: nullable columns with server defaults, and a table ``alembic_version``."""
    CREATE_ALL = "create_all"
    """``create_all`` at start-up: NOT NULL, and no server defaults but ``now()``."""


class ProblemKind(StrEnum):
    """What can be wrong with a row, and is fixed."""

    MISSING_VALUE = "missing_value"
    ORPHAN = "orphan"
    MALFORMED_DOCUMENT = "malformed_document"
    UNSTORABLE_TEXT = "unstorable_text"
    UNKNOWN_VALUE = "unknown_value"
    MALFORMED_ID = "malformed_id"
    MALFORMED_POSITION = "malformed_position"
    NEGATIVE_NUMBER = "negative_number"
    DUPLICATE_EXPERIMENT = "duplicate_experiment"
    DUPLICATE_NAME = "duplicate_name"
    DUPLICATE_WDK_ID = "duplicate_wdk_id"
    MISSING_STREAM = "missing_stream"
    MISSING_PROJECTION = "missing_projection"
    SITE_MISMATCH = "site_mismatch"
    BROKEN_LINK = "broken_link"
    PLAN_BUILT = "plan_built"
    PLAN_UNBUILDABLE = "plan_unbuildable"
    STEPS_DIFFER = "steps_differ"
    OPERATION_ENDED = "operation_ended"
    RENAMED_LOG = "renamed_log"
    LOG_AHEAD = "log_ahead"
    LOG_BEHIND = "log_behind"
    UNLIKE_LOG = "unlike_log"
    OVER_LIMIT = "over_limit"
    INEXACT_NUMBER = "inexact_number"
    UNSTORABLE_TIME = "unstorable_time"


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One thing that is, or was, fixed.

    Attributes:
        kind: What was wrong.
        table: The old table.
        key: The row's old id, as text.
        field: The column; ``None`` where it is the row as a whole.
        fixed: What was done about it; nothing of what is stored.
    """

    kind: ProblemKind
    table: str
    key: str
    field: str | None = None
    fixed: str


@dataclass(frozen=True, kw_only=True, slots=True)
class AdoptionProgress:
    """How far an adoption is.

    Attributes:
        phase: What goes on, for people to read.
        done: Rows (or objects) of this phase that are done.
        total: How many it has; 0 where that is not known.
    """

    phase: str
    done: int
    total: int


@dataclass(frozen=True, kw_only=True, slots=True)
class AdoptionPlan:
    """What an adoption would find and do.

    Attributes:
        variant: Who made the tables; ``None`` where there is nothing to adopt, because the database has the store's
            schema already.
        revision: The revision of the old schema.
        rows: Rows of each old table.
        bytes: What the old tables hold on disk, indexes included.
        estimate_seconds: How long it may take; from how long it took to read all of it.
        estimate_bytes: The disk that it may take beside the old tables, with the write-ahead log.
        problems: Everything that is fixed.
        tolerated: Where the old tables differ from those of their revision in ways that do not matter.
    """

    variant: Variant | None
    revision: str | None
    rows: dict[str, int] = field(default_factory=dict)
    bytes: int = 0
    estimate_seconds: float = 0.0
    estimate_bytes: int = 0
    problems: list[Problem] = field(default_factory=list)
    tolerated: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, slots=True)
class AdoptionReport(AdoptionPlan):
    """What an adoption found and did.

    Attributes:
        written: Rows of each new table.
        seconds: How long it took; the tables were locked as long.
        adopted_at: The time of the transaction; ``None`` where the old tables are gone.
        repeated: Whether the database was adopted before, so that nothing was done.
    """

    written: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    adopted_at: datetime | None = None
    repeated: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class UndoneAdoption:
    """What the way back did.

    Attributes:
        rows: Rows of each old table, which is back where it was.
        discarded: For each new table, how many rows had been written or deleted since; empty where none had.
    """

    rows: dict[str, int]
    discarded: dict[str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class FinishedAdoption:
    """What the end of an adoption dropped.

    Attributes:
        dropped: Whether there was something to drop.
        bytes: What it held on disk.
    """

    dropped: bool
    bytes: int
