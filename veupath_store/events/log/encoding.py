"""Events as the log keeps them, and what Redis answers as values."""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeAlias
from uuid import UUID

from veupath_store.documents import json
from veupath_store.errors import InvalidInputError
from veupath_store.events.log.entries import Entry, Event, Position
from veupath_store.inputs import limits
from veupath_store.inputs.validation import as_operation_id, as_uuid, text

Fields: TypeAlias = tuple[str, str, str | bytes, str]
"""The operation id or empty, the type, the data as JSON text, the key or empty."""

_REPLACEMENT: Final = "\ufffd"
_NAMES: Final = [b"op", b"type", b"data"]


def encode_event(event: Event, path: str) -> Fields:
    """An event as the values of an entry's fields.

    U+0000 and lone surrogates become U+FFFD, in keys as well: they come from a model's output, and an answer of which
    one character is wrong must not be lost. ``NaN`` and the infinities become null; ids and times become text.

    Args:
        event: The event.
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
        return value.replace("\0", _REPLACEMENT).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if not isinstance(value, dict | list):
        return _cleaned_value(value)
    if not levels:
        raise InvalidInputError(path, f"it is nested more than {limits.DOCUMENT_DEPTH} levels deep")
    if isinstance(value, list):
        return [_cleaned(item, levels - 1, path) for item in value]
    return {_cleaned(key, 0, path): _cleaned(item, levels - 1, path) for key, item in value.items()}


def _cleaned_value(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    return None if isinstance(value, float) and not math.isfinite(value) else value


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
