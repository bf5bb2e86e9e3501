"""`projection_patched`: how the row's own columns get into the log, and how they are read back."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, NamedTuple

import orjson
from pydantic.alias_generators import to_camel

from veupath_store.documents.json import encode_decoded
from veupath_store.errors import InvalidInputError
from veupath_store.events.fold import fields
from veupath_store.events.fold.fields import Changes, Data
from veupath_store.events.fold.text import decoded
from veupath_store.events.log.entries import Entry
from veupath_store.inputs import limits
from veupath_store.models.unlogged import LOGGED

PATCHED: Final = "projection_patched"

KEYS: Final[Mapping[str, str]] = {column: to_camel(column) for column in (*LOGGED, "lost")}
"""The key of each column in the data."""

DOCUMENTS: Final = ("plan", "unrooted_steps")
"""Columns whose JSON text goes from the table into the log as it is."""

DISMISSAL: Final = frozenset({"dismissed_at", "dismissed_reason"})
"""The time and the reason of a dismissal: neither says anything without the other."""

_PLAIN: Final = {column: key for column, key in KEYS.items() if column not in (*DOCUMENTS, "dismissed_at")}
_NOT_NULLABLE: Final = {"name", "is_saved", "message_count", "step_count", "gene_set_auto_imported", "lost"}
_NULLABLE: Final = {column: KEYS[column] for column in ("unrooted_steps", *_PLAIN) if column not in _NOT_NULLABLE}
# A patch says what a row is to hold: a WDK server's record type may be empty text, and a newer version's reason
# one that this version does not know.
_READERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    **fields.READERS,
    "record_type": partial(fields.text, longest=limits.RECORD_TYPE, shortest=0),
    "model_id": partial(fields.text, longest=limits.MODEL_ID, shortest=0),
}
_ORDER_MAX: Final = 1_000_000


def patch_raw(
    columns: Mapping[str, Any],
    *,
    tags: Mapping[str, str],
    updated_at: datetime,
    documents: Mapping[str, str],
    whole: Mapping[str, Any] | None,
) -> bytes:
    """The data of a `PATCHED` entry, as the log holds it: JSON text.

    Args:
        columns: The values by column, those of `KEYS` that are no documents.
        tags: The tags of the columns that the entry logs.
        updated_at: When the row was changed last.
        documents: The JSON texts of `DOCUMENTS`: as large and as deep as a document may be, and not decoded for this.
        whole: Of a whole row, why it is appended (``made``, ``lost`` or ``trim``) and whose it is; ``None`` for a part.
    """
    values = {KEYS[column]: value for column, value in columns.items()}
    data = {**(whole or {}), **values, "tags": tags, "updatedAt": updated_at}
    parts = [orjson.dumps(data, default=str)[1:-1]]  # asyncpg's UUIDs are of a class of their own
    parts += [f'"{KEYS[column]}":{text}'.encode() for column, text in documents.items()]
    return b"{%s}" % b",".join(parts)


def whole_data(entry: Entry) -> dict[str, Any] | None:
    """The data of an entry that is a whole row; ``None`` for all others. Decodes what may be one.

    The first version's beginnings (``"created": true``) are whole rows, which do not say whose they are.
    """
    if entry.type != PATCHED or not (b'"whole"' in entry.raw or b'"created"' in entry.raw):
        return None
    data = decoded(entry.raw)
    return data if data is not None and is_whole(data) else None


def is_whole(data: Data) -> bool:
    """Whether the data of a patch are those of a whole row."""
    return isinstance(data.get("whole"), str) or data.get("created") is True


def is_unsettled(entry: Entry) -> bool:
    """Whether an entry was appended by a unit of work of the first version, before its commit.

    That version moved the row's position in the same transaction. So beyond a row's position such an entry is of a
    transaction that was rolled back, or is still under way.
    """
    return entry.type == PATCHED and b'"xact"' in entry.raw and isinstance((decoded(entry.raw) or {}).get("xact"), str)


class Patch(NamedTuple):
    """What a `PATCHED` event says."""

    changes: Changes
    """The new values, by column. What a whole row does not name is as in a new conversation."""
    tags: Mapping[str, str]
    """The tags of the columns that it logs."""
    is_whole: bool
    updated_at: datetime | None
    """When the row was changed last; ``None`` where the event says nothing."""
    problem: InvalidInputError | None
    """Why its plan, or its steps, are left out."""


def read_patch(entry: Entry, data: Data) -> Patch:
    """Read a `PATCHED` event, which sets exactly the fields that its data, decoded, name."""
    tags, stamp, whole = data.get("tags"), fields.time(data.get("updatedAt")), is_whole(data)
    changes: Changes = {column: None for column, key in _NULLABLE.items() if data.get(key, "") is None}
    fields.read(data, changes, _PLAIN, _READERS)
    problem = _read_documents(data, changes)
    if "dismissed_reason" in changes:
        dismissed = changes["dismissed_reason"] is not None
        changes["dismissed_at"] = (fields.time(data.get("dismissedAt")) or entry.position.time) if dismissed else None
    if changes or whole or stamp:
        # The first version's own times: the entry's, earlier by so many microseconds.
        order = timedelta(microseconds=fields.whole(data.get("order"), _ORDER_MAX) or 0)
        stamp = (stamp or entry.position.time) - order
    return Patch(changes, tags if isinstance(tags, dict) else {}, whole, stamp, problem)


def _read_documents(data: Data, changes: Changes) -> InvalidInputError | None:
    """A row may hold a plan that is no tree of steps, as an older application left it: only its size is bounded."""
    plan, steps = data.get("plan"), data.get("unrootedSteps")
    try:
        if isinstance(plan, dict):
            encode_decoded(plan, "plan")
            changes.update(plan=plan, unrooted_steps=None)
        if isinstance(steps, list):
            encode_decoded(steps, "steps")
            changes["unrooted_steps"] = steps or None
    except InvalidInputError as exc:
        return exc
    return None
