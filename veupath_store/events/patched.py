"""`projection_patched`: how a repository's own write gets into the log, and how it is read back."""

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, NamedTuple
from uuid import UUID

from veupath_store import limits
from veupath_store.errors import InvalidInputError
from veupath_store.events import fields
from veupath_store.events.entries import Entry, Position
from veupath_store.events.fields import Changes, Data, Effect
from veupath_store.events.text import decoded
from veupath_store.json import decode, encode

PATCHED: Final = "projection_patched"

PATCH_KEYS: Final[Mapping[str, str]] = {
    "name": "name",
    "record_type": "recordType",
    "wdk_strategy_id": "wdkStrategyId",
    "is_saved": "isSaved",
    "model_id": "modelId",
    "message_count": "messageCount",
    "step_count": "stepCount",
    "plan": "plan",
    "result_count": "resultCount",
    "dismissed_reason": "dismissedReason",
    "gene_set_id": "geneSetId",
    "gene_set_auto_imported": "geneSetAutoImported",
}
"""The key of each column in the data."""

_NULLABLE: Final = frozenset(
    {"record_type", "wdk_strategy_id", "model_id", "result_count", "dismissed_reason", "gene_set_id"}
)
_PLAIN: Final = {column: key for column, key in PATCH_KEYS.items() if column != "plan"}
# A patch says what a row is to hold: a WDK server's record type may be empty text.
_READERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    **fields.READERS,
    "record_type": partial(fields.text, longest=limits.RECORD_TYPE, shortest=0),
    "model_id": partial(fields.text, longest=limits.MODEL_ID, shortest=0),
}
_ORDER_MAX: Final = 1_000_000
_XACT: Final = re.compile(r"[0-9]{1,20}", re.ASCII)


class Origin(NamedTuple):
    """The database transaction that wrote an event.

    Attributes:
        xact: Its id, in decimal.
        cluster: The database cluster and its timeline.
        base: Where the row stood when that transaction had locked it; ``None`` for one that was new.
    """

    xact: str
    cluster: str
    base: str | None = None


class Claim(NamedTuple):
    """When the claim of a WDK id was made that an entry repeats.

    Attributes:
        event_id: The entry that made it; ``None`` where it is not from the log.
    """

    event_id: str | None


def patch_data(
    changes: Mapping[str, Any],
    *,
    created: bool = False,
    origin: Origin | None = None,
    order: int | None = None,
    claim: Claim | None = None,
    updated_at: datetime | None = None,
    dismissed_at: datetime | None = None,
) -> dict[str, Any]:
    """The data of a `PATCHED` event.

    Args:
        changes: The new values by column, those of `PATCH_KEYS`.
        created: It is a beginning: what was before does not count.
        origin: The database transaction that wrote it.
        order: Microseconds, 0 to 1,000,000, by which `updated_at` is earlier than it would be.
        claim: When the WDK id was claimed, where that was not by this entry.
        updated_at: Aware; the entry's own time by default.
        dismissed_at: Aware, beside a `dismissed_reason`; the entry's own time by default.

    Returns:
        A new JSON object, which shares nothing with the given values.

    Raises:
        InvalidInputError: The plan is no JSON that the table takes, or a time is naive.
        KeyError: A column is none of `PATCH_KEYS`.
    """
    data = {PATCH_KEYS[column]: _json(value) for column, value in changes.items()}
    if created:
        data["created"] = True
    if origin is not None:
        data |= {key: value for key, value in origin._asdict().items() if value is not None}
    if order is not None:
        data["order"] = order
    if claim is not None:
        data["wdkEventId"] = claim.event_id
    for key, moment in (("updatedAt", updated_at), ("dismissedAt", dismissed_at)):
        if moment is not None:
            data[key] = _iso(key, moment)
    return data


def patch_raw(data: Mapping[str, Any]) -> bytes:
    """The data as the log holds it.

    The plan is encoded by itself: one that is as deep or as large as a document may be is still taken, though the
    object around it is deeper and larger.

    Args:
        data: What `patch_data` made.

    Returns:
        JSON text.

    Raises:
        InvalidInputError: A value is no JSON.
    """
    parts = [encode({key: value}, "patch")[1:-1] for key, value in data.items() if key != "plan"]
    if "plan" in data:
        parts.append(f'"plan":{encode(data["plan"], "plan")}')
    return f"{{{','.join(parts)}}}".encode()


def patch_effect(entry: Entry, data: Data) -> Effect:
    """What a `PATCHED` event does: it sets exactly the fields that it names.

    Args:
        entry: The entry, for its position and time.
        data: Its data, decoded.

    Returns:
        The changes. The plan stays where the table would not take it; that is a problem, and the rest is applied.
    """
    changes = {**_cleared(data), **fields.read(data, _PLAIN, _READERS)}
    problem = None
    try:
        plan = fields.given_plan(data.get("plan"))
        if plan is not None:
            changes["plan"] = plan
    except InvalidInputError as exc:
        problem = fields.refused(exc)
    _follow(changes, entry, data)
    begins = data.get("created") is True
    stamp = fields.time(data.get("updatedAt"))
    if changes or begins or stamp:
        changes["updated_at"] = _ordered(stamp or entry.position.time, data.get("order"))
    return Effect(changes, problem, begins)


def begins(entry: Entry) -> bool:
    """Whether an entry is a conversation's beginning, before which nothing counts. Decodes its data."""
    return _value(entry, "created") is True


def origin_of(entry: Entry) -> Origin | None:
    """The database transaction that wrote an entry, or ``None`` where none did. Decodes its data.

    What is no such transaction, and would be an error in the database, was not written by the store.
    """
    data = decoded(entry.raw) if entry.type == PATCHED else None
    if data is None:
        return None
    xact, cluster, base = data.get("xact"), data.get("cluster"), data.get("base")
    if not isinstance(xact, str) or not _XACT.fullmatch(xact) or int(xact) > limits.UINT64_MAX:
        return None
    if not isinstance(cluster, str) or not isinstance(base, str | None):
        return None
    return Origin(xact, cluster, base)


def _value(entry: Entry, key: str) -> object:
    data = decoded(entry.raw) if entry.type == PATCHED else None
    return None if data is None else data.get(key)


def _cleared(data: Data) -> Changes:
    return {column: None for column in _PLAIN if column in _NULLABLE and data.get(PATCH_KEYS[column], "") is None}


def _follow(changes: Changes, entry: Entry, data: Data) -> None:
    """Add the columns that follow from others."""
    if "wdk_strategy_id" in changes:
        linked = changes["wdk_strategy_id"] is not None
        changes["wdk_event_id"] = _claimed_by(entry, data) if linked else None
    if "dismissed_reason" in changes:
        dismissed = changes["dismissed_reason"] is not None
        changes["dismissed_at"] = (fields.time(data.get("dismissedAt")) or entry.position.time) if dismissed else None


def _claimed_by(entry: Entry, data: Data) -> str | None:
    """The entry that claimed the WDK id: this one, unless it says another, or that it is none of this log."""
    given = data.get("wdkEventId", entry)
    if given is None:
        return None
    try:
        return str(Position.parse(given))
    except InvalidInputError:
        return str(entry.position)


def _ordered(moment: datetime, order: object) -> datetime:
    return moment - timedelta(microseconds=fields.whole(order, _ORDER_MAX) or 0)


def _json(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, dict):
        return decode(encode(value, "plan"))
    return str.__str__(value) if isinstance(value, str) else value  # an enum's value, not its name


def _iso(key: str, moment: datetime) -> str:
    if moment.tzinfo is None:
        raise InvalidInputError(key, "a time with a time zone is needed")
    return moment.isoformat()
