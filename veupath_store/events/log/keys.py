"""The keys under which Redis holds the logs."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from uuid import UUID

from veupath_store.inputs.validation import as_operation_id, legacy_operation_id

BEHIND: Final = "projections:behind"
"""A sorted set: the streams whose projection is behind, by the milliseconds since when."""

SWEPT: Final = "projections:swept"
"""There as long as the last sweep through all logs is recent."""

NEVER: Final = "projections:never"
"""Never there: what is appended to it tells whether the server takes writes."""

HOLDER: Final = "projections:database"
"""Which database the logs under a prefix belong to, for as long as that is in use."""

HELD: Final = 86_400
"""Seconds for which the logs belong to a database that is not seen any more."""

KEYS_KEPT: Final = 86_400
"""Seconds for which the key of an event makes its repetition harmless."""


GONE: Final = "operations:gone:"
"""What is there says that the operation behind it was deleted: nothing of it is appended any more."""

GONE_KEPT: Final = 86_400
"""Seconds for which that is kept. Its worker has lost its lease long before."""


class LogKind(StrEnum):
    """Whose log it is."""

    STREAM = "stream"
    OPERATION = "op"

    @property
    def entity(self) -> str:
        """What it is a log of, as the table of deleted ids has it."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class LogKey:
    """Which log is meant: a conversation's, or that of an operation without one."""

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

    def of_event(self, prefix: str, key: str) -> str:
        """Where the id of an event that has a key is kept for `KEYS_KEPT` seconds."""
        return f"{prefix}event:{self.name or self.id}:{key}"

    def text(self, prefix: str) -> str:
        """The key itself: ``stream:{id}``, or its old name, behind the prefix."""
        return f"{prefix}{self.kind}:{self.name or self.id}"
