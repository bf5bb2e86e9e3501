"""Every width and bound of the store, stated once: models, validation and messages read them from here."""

from typing import Final

# Documents and lists: what they admit is more than all that PathFinder keeps.
DOCUMENT_BYTES: Final = 16 * 1024 * 1024
"""Bytes of one JSON document, as UTF-8."""
DOCUMENT_DEPTH: Final = 254
"""Levels of one JSON document. orjson gives up at the 255th; PostgreSQL would take more."""
PLAN_DEPTH: Final = 200
"""Levels of a plan's steps."""
PLAN_STEPS: Final = 10_000
"""Steps of a plan. The largest known has fewer than 100."""
GENE_IDS: Final = 250_000
"""Gene ids of one list."""
GENE_ID: Final = 100
"""Characters of one gene id."""
TAGS: Final = 100
"""Tags of a control set."""
TAG: Final = 100
"""Characters of one tag."""
PROVENANCE_NOTES: Final = 100_000
"""Characters of a control set's notes."""

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
# Documents that are read at once where all are gone through.
DOCUMENTS: Final = 20

# The share of a user's WDK-linked conversations that one pruning may dismiss.
PRUNE_SHARE: Final = 0.5

# Seconds that a lease may hold, and how often an operation may be tried.
LEASE_SECONDS: Final = 86_400.0
ATTEMPTS: Final = 1_000
# Expired leases that one sweep takes back at most.
SWEEP: Final = 10_000
