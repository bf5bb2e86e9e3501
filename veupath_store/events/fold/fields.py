"""Columns of the projection out of an event's data, field by field: what has a wrong type is as if it were not there.

Every column has one reader, which cuts and bounds as the column does, so that a state can always be written.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, NamedTuple, TypeAlias
from uuid import UUID

from veupath_store.documents.json import encode
from veupath_store.documents.plans import check_plan
from veupath_store.errors import InvalidInputError
from veupath_store.events.log.entries import Position
from veupath_store.inputs import limits
from veupath_store.inputs.validation import as_uuid
from veupath_store.values.streams import DismissReason

Data: TypeAlias = Mapping[str, Any]
Changes: TypeAlias = dict[str, Any]


class Effect(NamedTuple):
    """What an event does to the projection."""

    changes: Changes
    """The new values, by column."""
    problem: str | None = None
    """Why a part of it was left out."""
    whole: bool = False
    """Whether the changes are a whole row: what is not named is as in a new conversation."""
    tags: Mapping[str, str] | None = None
    """Of the store's own entries, the tags of the columns that they log; ``None`` for an application's entry."""


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


def _reason(value: object) -> str | None:
    """One of the reasons that the table's check admits."""
    return value if value in list(DismissReason) and isinstance(value, str) else None


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


def read(data: Data, keys: Mapping[str, str], readers: Mapping[str, Callable[[Any], Any]] = READERS) -> Changes:
    """The columns that the data sets.

    Args:
        data: The data of an event.
        keys: The key of each column in it.
        readers: The reader of each column.

    Returns:
        The new values by column, without those that are missing or of a wrong type.
    """
    found = {column: readers[column](data[key]) for column, key in keys.items() if key in data}
    return {column: value for column, value in found.items() if value is not None}


def given_plan(value: object) -> dict[str, Any] | None:
    """A whole plan that an event brings along.

    Returns:
        The plan, or ``None`` where the value is no object.

    Raises:
        InvalidInputError: It is a plan that the table does not take.
    """
    if not isinstance(value, dict):
        return None
    check_plan(value, "plan")
    encode(value, "plan")
    return value


def given_steps(value: object) -> list[Any] | None:
    """The steps of a graph that has no root.

    Returns:
        Those that are objects; ``None`` where the value is no list, or the steps are no document that the table takes.
    """
    if not isinstance(value, list):
        return None
    steps = [step for step in value if isinstance(step, dict)]
    if len(steps) > limits.PLAN_STEPS:
        raise InvalidInputError("steps", f"there are more than {limits.PLAN_STEPS} of them")
    encode(steps, "steps")
    return steps


def refused(exc: InvalidInputError) -> str:
    """What a problem says of a plan that was left as it was; nothing of its content."""
    return f"the plan was left as it was: {exc.reason}"


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
