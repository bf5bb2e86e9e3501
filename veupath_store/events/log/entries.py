"""What the log holds: entries at their positions; and what a caller hands over: events."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from veupath_store.errors import InvalidInputError
from veupath_store.inputs import limits

_POSITION: Final = re.compile(r"([0-9]{1,20})-([0-9]{1,20})")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MS: Final = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)


class Position(NamedTuple):
    """The id of an entry. It compares as two integers, as Redis orders entries: ``9-1`` comes before ``10-1``."""

    ms: int
    seq: int

    @classmethod
    def parse(cls, text: str) -> "Position":
        """A position from its text.

        Args:
            text: As Redis writes it: ``1700000000000-0``.

        Returns:
            The position.

        Raises:
            InvalidInputError: It is not two unsigned 64-bit integers and a dash.
        """
        match = _POSITION.fullmatch(text) if isinstance(text, str) else None
        if match is not None:
            position = cls(int(match[1]), int(match[2]))
            if max(position) <= limits.UINT64_MAX:
                return position
        raise InvalidInputError("position", "two unsigned 64-bit integers and a dash are needed, as 1700000000000-0")

    def __str__(self) -> str:
        return f"{self.ms}-{self.seq}"

    @property
    def time(self) -> datetime:
        """When the entry was appended, in UTC; at most the end of the year 9999."""
        return _EPOCH + timedelta(milliseconds=min(self.ms, _LAST_MS))

    @property
    def before(self) -> "Position":
        """The position before, so that this one is read, too; itself where there is none."""
        if self.seq > 0:
            return Position(self.ms, self.seq - 1)
        return Position(self.ms - 1, limits.UINT64_MAX) if self.ms > 0 else self

    @property
    def after(self) -> "Position":
        """The position after; itself where there is none."""
        if self.seq < limits.UINT64_MAX:
            return Position(self.ms, self.seq + 1)
        return Position(self.ms + 1, 0) if self.ms < limits.UINT64_MAX else self


FIRST: Final = Position(0, 0)
"""Before every entry. As a row's position: its log is there, and nothing of it is folded in yet."""

LAST: Final = Position(limits.UINT64_MAX, limits.UINT64_MAX)
"""The last position there can be."""


class Entry(NamedTuple):
    """One entry as the log holds it. A tuple, because a frozen dataclass takes 0.6 µs longer to make."""

    position: Position
    type: str
    raw: bytes
    """The JSON text of its data, not decoded; empty where the entry has no such field."""
    operation_id: str = ""
    """The operation that it belongs to; empty for none."""
    key: str = ""
    """What makes its repetition harmless; empty for none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """What a caller hands over to be appended."""

    type: str
    """1 to 100 characters."""
    data: Mapping[str, Any]
    operation_id: UUID | str | None = None
    key: UUID | str | None = None
    """Makes a repetition harmless: of two events with one key, appended to one log within a day, the second is none."""
