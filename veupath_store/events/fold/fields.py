"""Columns of the projection out of an event's data, field by field: what has a wrong type is as if it were not there.

Every column has one reader, which cuts and bounds as the column does, so that a state can always be written.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, TypeAlias

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


def _only(kind: type, value: object) -> Any:  # noqa: ANN401 - of that type
    return value if isinstance(value, kind) else None


_FIRST_YEAR: Final = 1970
_LAST_YEAR: Final = 9998
_count: Final = partial(whole, highest=limits.INT32_MAX)

READERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "name": partial(text, longest=limits.NAME),
    "record_type": partial(text, longest=limits.RECORD_TYPE),
    "wdk_strategy_id": partial(whole, highest=limits.INT64_MAX),
    "is_saved": partial(_only, bool),
    "model_id": partial(text, longest=limits.MODEL_ID),
    "message_count": _count,
    "step_count": _count,
    "result_count": _count,
    "dismissed_reason": lambda value: DismissReason(value).value,
    "gene_set_id": lambda value: as_uuid(value, ""),
    "gene_set_auto_imported": lambda value: value is True or None,
    "messages_after": lambda value: str(Position.parse(value)),
    "lost": partial(_only, dict),
}
"""Every column that an event may set, but the plan and the steps without a root. A value for which a reader gives
``None``, or raises a `ValueError`, is ignored."""


def read(
    data: Data, changes: Changes, keys: Mapping[str, str], readers: Mapping[str, Callable[[Any], Any]] = READERS
) -> None:
    """Add the columns that the data sets, under the keys of each, to the changes, but for values of a wrong type."""
    for column, key in keys.items():
        given = data.get(key)
        if given is None:
            continue
        try:
            value = readers[column](given)
        except ValueError:
            continue
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
