"""Columns of the projection out of an event's data, field by field: what has a wrong type is as if it were not there.

Every column has one reader, which cuts and bounds as the column does, so that a state can always be written.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, TypeAlias
from uuid import UUID

from veupath_store.errors import InvalidInputError
from veupath_store.events.log.entries import Position
from veupath_store.inputs import limits
from veupath_store.inputs.validation import as_uuid
from veupath_store.values.streams import DismissReason

Data: TypeAlias = Mapping[str, Any]
Changes: TypeAlias = dict[str, Any]


def text(value: object, longest: int, shortest: int = 1) -> str | None:
    """Text, cut at the column's width."""
    return value[:longest] if isinstance(value, str) and len(value) >= shortest else None


def whole(value: object, highest: int) -> int | None:
    """A whole number from 0 on; a bool, or a float, is none."""
    return value if type(value) is int and 0 <= value <= highest else None


def truth(value: object) -> bool | None:
    """True or false, nothing that is merely one of them."""
    return value if isinstance(value, bool) else None


def _latch(value: object) -> bool | None:
    return True if value is True else None


_REASONS: Final = frozenset(DismissReason)


def _reason(value: object) -> str | None:
    """One of the reasons that the table's check admits."""
    return value if isinstance(value, str) and value in _REASONS else None


def _position(value: object) -> str | None:
    try:
        return str(Position.parse(value)) if isinstance(value, str) else None
    except InvalidInputError:
        return None


def _object(value: object) -> dict[str, Any] | None:
    return value if isinstance(value, dict) else None


def _uuid(value: object) -> UUID | None:
    try:
        return as_uuid(value, "")
    except InvalidInputError:
        return None


_FIRST_YEAR: Final = 1970
_LAST_YEAR: Final = 9998
_count: Final = partial(whole, highest=limits.INT32_MAX)

READERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "name": partial(text, longest=limits.NAME),
    "record_type": partial(text, longest=limits.RECORD_TYPE),
    "wdk_strategy_id": partial(whole, highest=limits.INT64_MAX),
    "is_saved": truth,
    "model_id": partial(text, longest=limits.MODEL_ID),
    "message_count": _count,
    "step_count": _count,
    "result_count": _count,
    "dismissed_reason": _reason,
    "gene_set_id": _uuid,
    "gene_set_auto_imported": _latch,
    "messages_after": _position,
    "lost": _object,
}
"""Every column that an event may set, but the plan and the steps without a root; ``None``
stands for a value that is ignored."""


def read(
    data: Data, changes: Changes, keys: Mapping[str, str], readers: Mapping[str, Callable[[Any], Any]] = READERS
) -> None:
    """Add the columns that the data sets to the changes, but for values that are of a wrong type.

    Args:
        data: The data of an event.
        changes: The new values, by column.
        keys: The key of each column in the data.
        readers: The reader of each column.
    """
    for column, key in keys.items():
        given = data.get(key)
        value = None if given is None else readers[column](given)
        if value is not None:
            changes[column] = value


def time(value: object) -> datetime | None:
    """An aware time from its ISO 8601 text, in UTC, of the years that logs have: from 1970 to 9998.

    The first and the last time that Python has are infinities for PostgreSQL's driver.
    """
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        if moment is None or moment.tzinfo is None:
            return None
        moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):  # the latter: the year 0 or 10,000 in UTC
        return None
    return moment if _FIRST_YEAR <= moment.year <= _LAST_YEAR else None
