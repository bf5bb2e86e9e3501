"""Every width and bound of the store, stated once: models, validation and messages read them from here.

Widths of columns are constants. The bounds of documents and lists are options of `StoreSettings`, in force for the
whole process as soon as the store is made; the names without ``limit_`` are what is in force.
"""

from typing import Final

from pydantic import BaseModel, Field


class LimitOptions(BaseModel):
    """What an operator may set, as ``VEUPATH_STORE_LIMIT_…``. The defaults admit all that PathFinder keeps."""

    limit_document_bytes: int = Field(default=16 * 1024 * 1024, ge=1_024, le=256 * 1024 * 1024)
    """Bytes of one JSON document, as UTF-8."""

    limit_document_depth: int = Field(default=254, ge=1, le=254)
    """Levels of one JSON document. orjson gives up at the 255th; PostgreSQL would take more."""

    limit_plan_depth: int = Field(default=200, ge=1, le=250)
    """Levels of a plan's steps."""

    limit_plan_steps: int = Field(default=10_000, ge=1, le=1_000_000)
    """Steps of a plan. The largest known has fewer than 100."""

    limit_gene_ids: int = Field(default=250_000, ge=1, le=10_000_000)
    """Gene ids of one list."""

    limit_gene_id: int = Field(default=100, ge=1, le=10_000)
    """Characters of one gene id."""

    limit_tags: int = Field(default=100, ge=1, le=10_000)
    """Tags of a control set."""

    limit_tag: int = Field(default=100, ge=1, le=10_000)
    """Characters of one tag."""

    limit_provenance_notes: int = Field(default=100_000, ge=1, le=10_000_000)
    """Characters of a control set's notes."""


DOCUMENT_BYTES: int
DOCUMENT_DEPTH: int
PLAN_DEPTH: int
PLAN_STEPS: int
GENE_IDS: int
GENE_ID: int
TAGS: int
TAG: int
PROVENANCE_NOTES: int


def use(options: LimitOptions) -> None:
    """Put options in force for this process.

    Args:
        options: The options; `StoreSettings` are such.
    """
    for field in LimitOptions.model_fields:
        globals()[field.removeprefix("limit_").upper()] = getattr(options, field)


use(LimitOptions())

# Column widths, in characters.
EXTERNAL_ID: Final = 255
NAME: Final = 255
STREAM_SITE_ID: Final = 50
SITE_ID: Final = 100
RECORD_TYPE: Final = 100
SEARCH_NAME: Final = 255
MODEL_ID: Final = 100
SOURCE: Final = 50
GENE_SET_SOURCE: Final = 20
GENE_SET_OPERATION: Final = 20
STATUS: Final = 20
OPERATION_TYPE: Final = 50
BATCH_ID: Final = 50
DISMISSED_REASON: Final = 20
WORKER_ID: Final = 255
# A Redis Stream id is two unsigned 64-bit integers and a dash.
LOG_POSITION: Final = 41
EVENT_TYPE: Final = 100

# A longer error of an operation is cut.
OPERATION_ERROR: Final = 10_000

# Integers.
INT32_MAX: Final = 2**31 - 1
INT64_MAX: Final = 2**63 - 1
INT64_MIN: Final = -(2**63)
UINT64_MAX: Final = 2**64 - 1

# Characters of a document's field that is patched by its name.
DOCUMENT_FIELD: Final = 255

# Lists.
GENES_SOUGHT: Final = 1_000
PARENT_SETS: Final = 1_000
DOCUMENT_IDS: Final = 1_000
WDK_IDS: Final = 100_000
SYNC: Final = 1_000
PAGE: Final = 1_000

# The share of a user's WDK-linked conversations that one pruning may dismiss.
PRUNE_SHARE: Final = 0.5

# Seconds that a lease may hold, and how often an operation may be tried.
LEASE_SECONDS: Final = 86_400.0
ATTEMPTS: Final = 1_000
# Expired leases that one sweep takes back at most.
SWEEP: Final = 10_000
