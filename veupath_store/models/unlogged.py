"""`stream_projections.unlogged`: which columns of a row are not in its log yet (docs/event-log.md, rule 1).

It maps a column to the tag of the statement that set it. A tag is fresh for each statement, and begins with its kind: a
*wish* is what a caller asked for, a *decision* what one conversation's claim decided for another, or a number that was
added to a taken name. Every statement that changes a projection, and is no fold, writes there in the same statement.
"""

import os
from collections.abc import Iterable
from typing import Final

import orjson

WISH: Final = "w"
DECISION: Final = "d"
PAST: Final = "w:"
"""A wish that was written past the store, as an adoption's rows were: only a patch with its tag logs it. An older one
that happens to hold the same value says nothing of it."""

CATCH_UP_TASK: Final = "event log catch-up"
"""The name of the task that writes to the logs in the background."""

LOGGED: Final = (
    "name",
    "record_type",
    "wdk_strategy_id",
    "is_saved",
    "model_id",
    "message_count",
    "step_count",
    "plan",
    "unrooted_steps",
    "result_count",
    "dismissed_at",
    "dismissed_reason",
    "gene_set_id",
    "gene_set_auto_imported",
    "messages_after",
)
"""The columns that the log holds, `updated_at` aside, of which the latest value counts."""


def new_tag(kind: str = WISH) -> str:
    """A tag that no other statement has had."""
    return kind + os.urandom(8).hex()


def tagged(columns: Iterable[str], kind: str = WISH) -> str:
    """What a statement adds to ``unlogged`` for the columns of `LOGGED` that it sets: JSON text, to be bound."""
    return orjson.dumps(dict.fromkeys(columns, new_tag(kind))).decode()


def is_wish(tag: str) -> bool:
    """Whether a column was set because a caller asked for it."""
    return tag.startswith(WISH)


def is_past(tag: str | None) -> bool:
    """Whether a column was written past the store."""
    return tag is not None and tag.startswith(PAST)
