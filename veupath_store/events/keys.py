"""The keys under which Redis holds the logs."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from uuid import UUID

BEHIND: Final = "projections:behind"
"""A sorted set: the streams whose projection is behind, by the milliseconds since when."""

SWEPT: Final = "projections:swept"
"""There as long as the last sweep through all logs is recent."""


class LogKind(StrEnum):
    """Whose log it is."""

    STREAM = "stream"
    OPERATION = "op"


@dataclass(frozen=True, slots=True)
class LogKey:
    """Which log is meant: a conversation's, or an operation's of its own."""

    kind: LogKind
    id: UUID

    @classmethod
    def stream(cls, stream_id: UUID) -> "LogKey":
        """The log of a conversation."""
        return cls(LogKind.STREAM, stream_id)

    @classmethod
    def operation(cls, operation_id: UUID) -> "LogKey":
        """The log of an operation that belongs to no conversation."""
        return cls(LogKind.OPERATION, operation_id)

    def text(self, prefix: str) -> str:
        """The key itself: ``stream:{id}`` behind the prefix."""
        return f"{prefix}{self.kind}:{self.id}"
