"""The keys under which Redis holds the logs."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from uuid import UUID

from veupath_store.validation import as_operation_id, legacy_operation_id

BEHIND: Final = "projections:behind"
"""A sorted set: the streams whose projection is behind, by the milliseconds since when."""

SWEPT: Final = "projections:swept"
"""There as long as the last sweep through all logs is recent."""


class LogKind(StrEnum):
    """Whose log it is."""

    STREAM = "stream"
    OPERATION = "op"

    @property
    def told(self) -> str:
        """What the table of removals calls it."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class LogKey:
    """Which log is meant: a conversation's, or an operation's of its own."""

    kind: LogKind
    id: UUID
    name: str = ""
    """What stands for the id in the key of a log of the SQLAlchemy layer, where that was no UUID in its usual form."""

    @classmethod
    def stream(cls, stream_id: UUID) -> "LogKey":
        """The log of a conversation."""
        return cls(LogKind.STREAM, stream_id)

    @classmethod
    def operation(cls, operation_id: UUID) -> "LogKey":
        """The log of an operation that belongs to no conversation."""
        return cls(LogKind.OPERATION, operation_id)

    @classmethod
    def operation_given(cls, operation_id: object) -> "LogKey":
        """The same, of an operation that a caller names: by its old id it is the log under its old name.

        Raises:
            InvalidInputError: It is no id of an operation.
        """
        identity = as_operation_id(operation_id, "operation_id")
        return cls(LogKind.OPERATION, identity, legacy_operation_id(operation_id) or "")

    def text(self, prefix: str) -> str:
        """The key itself: ``stream:{id}``, or its old name, behind the prefix."""
        return f"{prefix}{self.kind}:{self.name or self.id}"
