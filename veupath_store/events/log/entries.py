"""What the log holds, and under which keys: entries at their positions, made of the events that callers hand over.

Both ways are here: an event becomes the values of an entry's fields, and what Redis answers becomes entries.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final, NamedTuple, TypeAlias
from uuid import UUID

from veupath_store.documents import json
from veupath_store.errors import InvalidInputError
from veupath_store.inputs import limits
from veupath_store.inputs.validation import as_operation_id, as_uuid, legacy_operation_id, text

_NAMES: Final = [b"op", b"type", b"data"]
_POSITION: Final = re.compile(r"([0-9]{1,20})-([0-9]{1,20})")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MS: Final = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)


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
        """The same, of an operation that a caller names: by its old id it is the log under its old name."""
        identity = as_operation_id(operation_id, "operation_id")
        return cls(LogKind.OPERATION, identity, legacy_operation_id(operation_id) or "")

    def of_event(self, prefix: str, key: str) -> str:
        """Where the id of an event that has a key is kept for a day."""
        return f"{prefix}event:{self.name or self.id}:{key}"

    def text(self, prefix: str) -> str:
        """The key itself: ``stream:{id}``, or its old name, behind the prefix."""
        return f"{prefix}{self.kind}:{self.name or self.id}"


class Position(NamedTuple):
    """The id of an entry. It compares as two integers, as Redis orders entries: ``9-1`` comes before ``10-1``."""

    ms: int
    seq: int

    @classmethod
    def parse(cls, text: str) -> "Position":
        """A position from its text, as Redis writes it: ``1700000000000-0``.

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


Fields: TypeAlias = tuple[str, str, str | bytes, str]
"""The operation id or empty, the type, the data as JSON text, the key or empty."""


def encode_event(event: Event, path: str) -> Fields:
    """An event as the values of an entry's fields.

    U+0000 and lone surrogates become U+FFFD, in keys as well: they come from a model's output, and an answer of which
    one character is wrong must not be lost. ``NaN`` and the infinities become null; ids and times become text.

    Args:
        path: What to call it in an error, as ``events[3]``.

    Raises:
        InvalidInputError: The type is no text of 1 to `limits.EVENT_TYPE` characters, the operation id no UUID, or
            the data are no JSON object or more than `limits.DOCUMENT_BYTES` bytes.
    """
    kind = text(event.type, f"{path}.type", limits.EVENT_TYPE)
    operation_id = (
        "" if event.operation_id is None else str(as_operation_id(event.operation_id, f"{path}.operation_id"))
    )
    key = "" if event.key is None else str(as_uuid(event.key, f"{path}.key"))
    return operation_id, kind, _encode(event.data, f"{path}.data"), key


def _encode(data: object, path: str) -> str:
    if not isinstance(data, Mapping):
        raise InvalidInputError(path, "a JSON object is needed")
    document = data if isinstance(data, dict) else dict(data)
    try:
        return json.encode(document, path)
    except InvalidInputError:
        # The rare case; the common one is not slowed down by looking for it.
        cleaned = _cleaned(document, limits.DOCUMENT_DEPTH, path)
        return json.encode(cleaned, path)


def _cleaned(value: Any, levels: int, path: str) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, str):
        return value.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if not isinstance(value, dict | list):
        return None if isinstance(value, float) and not math.isfinite(value) else value
    if not levels:
        raise InvalidInputError(path, f"it is nested more than {limits.DOCUMENT_DEPTH} levels deep")
    if isinstance(value, list):
        return [_cleaned(item, levels - 1, path) for item in value]
    return {_cleaned(key, 0, path): _cleaned(item, levels - 1, path) for key, item in value.items()}


def entries_of(reply: Iterable[Sequence[Any]] | None) -> list[Entry]:
    """The entries of an ``XRANGE``'s answer."""
    return [_entry(position, fields) for position, fields in reply or ()]


def _entry(position: bytes, fields: Sequence[bytes] | None) -> Entry:
    if fields and fields[::2] == _NAMES:
        operation_id, kind, raw = fields[1::2]  # as we append them; twice as fast as by name
        key = b""
    else:
        by_name = dict(zip(fields[::2], fields[1::2], strict=True)) if fields else {}
        operation_id, kind, raw, key = (by_name.get(name, b"") for name in (*_NAMES, b"key"))
    return Entry(
        position_of(position),
        kind.decode(errors="replace"),
        raw,
        operation_id.decode(errors="replace") if operation_id else "",
        key.decode(errors="replace") if key else "",
    )


def position_of(identifier: bytes) -> Position:
    """A position from what Redis wrote, which needs no checking."""
    ms, _, seq = identifier.partition(b"-")
    return Position(int(ms), int(seq))
