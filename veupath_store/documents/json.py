"""The one JSON encoder and decoder of the store, and what a document may hold.

orjson turns NaN into null without a word, and PostgreSQL refuses U+0000 half-way through a transaction. `encode`
refuses both before any SQL, with the path to the offending value, so that a document reads back as it was written.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import orjson

from veupath_store.errors import InvalidInputError
from veupath_store.inputs import limits

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"
"""A JSON value as the store hands it out."""

JsonObject: TypeAlias = dict[str, Json]
"""A JSON object as the store hands it out."""

JsonInput: TypeAlias = Mapping[str, object] | Sequence[object] | str | int | float | bool | None
"""A JSON value as a caller gives it: what is in it may be of any more exact type, a literal's or a ``TypedDict``.

Wider than `Json`, whose dictionaries and lists a type checker takes only where they have exactly that type. Whether it
is JSON all the way down is checked when it is stored: a dictionary or a list, not just any mapping or sequence."""

if TYPE_CHECKING:
    JsonMapping: TypeAlias = Mapping[str, Json]
    JsonField: TypeAlias = Json
else:
    # Read from the database or the log, so that there is nothing to validate.
    JsonMapping = Mapping[str, Any]
    JsonField = Any

ZERO: Final = "it contains the character U+0000"
LONE_SURROGATE: Final = "it contains a lone surrogate, which is no character"
"""Why text cannot be stored."""

_NUL: Final = b"\\u0000"
# jsonb keeps a number's digits, not its exponent: 1.2345678901234567e17 comes back as the whole number
# 123456789012345670, which is not the same number. From 2**64 on the decoder makes a float of it again.
_TEXT_OR_WHOLE_FLOAT: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|-?\d(?:\.\d+)?e\+1[6-9](?!\d)')
_STRICT: Final = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME


def encode(value: Any, path: str = "document") -> str:  # noqa: ANN401 - anything is refused but JSON
    """A document as JSON text.

    The check is that the text reads back equal, which catches NaN, tuples, UUIDs and whatever else orjson converts
    without a word, at the speed of orjson. The slow walk that names the culprit runs only when that fails.

    Args:
        value: A dict or a list of JSON values.
        path: What to call it in an error.

    Returns:
        JSON text that PostgreSQL stores and reads back as an equal value (-0.0 as 0.0).

    Raises:
        InvalidInputError: Not JSON (a tuple, a datetime, a key that is no string), NaN or an infinity, U+0000 or a
            lone surrogate, an integer beyond 64 bits, more than `limits.DOCUMENT_DEPTH` levels, or more than
            `limits.DOCUMENT_BYTES` bytes.
    """
    if not isinstance(value, dict | list):
        raise InvalidInputError(path, "a JSON object or array is needed")
    text = _dumped(value, path)
    reads_back = _is_plain_text(value) or orjson.loads(text) == value
    if not reads_back or _NUL in text:
        check(value, path)
    if not reads_back:
        raise InvalidInputError(path, "it would not read back as it was written")
    return _stored(text)


def encode_decoded(value: dict[str, Any] | list[Any], path: str = "document") -> str:
    """As `encode`, of what `decode` made and nobody has changed: it is JSON, so that only size and depth are checked.

    A seventh of the time. There must be no U+0000 in it.
    """
    return _stored(_dumped(value, path))


def _dumped(value: dict[str, Any] | list[Any], path: str) -> bytes:
    try:
        text = orjson.dumps(value, option=_STRICT)
    except (TypeError, RecursionError) as exc:
        check(value, path)
        raise InvalidInputError(path, "it is no JSON") from exc
    if len(text) > limits.DOCUMENT_BYTES:
        raise InvalidInputError(path, f"it is larger than {limits.DOCUMENT_BYTES} bytes as JSON")
    return text


def _stored(text: bytes) -> str:
    return (_TEXT_OR_WHOLE_FLOAT.sub(_in_digits, text) if b"e+1" in text else text).decode()


def _is_plain_text(value: dict[Any, Any] | list[Any]) -> bool:
    """A list of texts, as of 250,000 gene ids: what orjson takes of it reads back equal, no need to try."""
    return isinstance(value, list) and set(map(type, value)) == {str}


def _in_digits(match: re.Match[bytes]) -> bytes:
    """A float in full, as ``123456789012345664.0``; a text as it is."""
    token = match[0]
    return token if token.startswith(b'"') else f"{float(token):.1f}".encode()


def decode(text: str | bytes) -> Any:  # noqa: ANN401 - any JSON value
    """A JSON value from its text."""
    return orjson.loads(text)


def check(document: Any, path: str) -> None:  # noqa: ANN401
    """Refuse what JSON, orjson or PostgreSQL cannot keep, naming the first place where it is. Raises as `encode`.

    Walks without recursion, and builds no path before one is needed: neither depth nor width exhausts anything.
    """
    trail: list[str | int] = [path]
    walks = [_entries(document, trail)]
    while walks:
        entry = next(walks[-1], None)
        if entry is None:
            walks.pop()
            trail.pop()
            continue
        key, value = entry
        trail.append(key)
        if isinstance(value, dict | list):
            walks.append(_entries(value, trail))
        else:
            _check_scalar(value, trail)
            trail.pop()


def _entries(container: dict[Any, Any] | list[Any], trail: Sequence[str | int]) -> Iterator[tuple[str | int, Any]]:
    if len(trail) > limits.DOCUMENT_DEPTH:
        raise InvalidInputError(_path(trail), f"it is nested more than {limits.DOCUMENT_DEPTH} levels deep")
    if isinstance(container, list):
        return enumerate(container)
    for key in container:
        if type(key) is not str:
            raise InvalidInputError(_path(trail), "an object's keys must be strings")
        check_text(key, trail, " (a key)")
    return iter(container.items())


def _check_scalar(value: Any, trail: Sequence[str | int]) -> None:  # noqa: ANN401
    """Refuse a value that is no JSON scalar, or one that would not read back equal."""
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, str):
        check_text(value, trail)
    elif isinstance(value, int):
        if not limits.INT64_MIN <= value <= limits.UINT64_MAX:
            raise InvalidInputError(_path(trail), "an integer must fit 64 bits")
    elif type(value) is float:  # orjson takes no subclass, as numpy's
        if not math.isfinite(value):
            raise InvalidInputError(_path(trail), "a number must be finite")
    else:
        raise InvalidInputError(_path(trail), f"a {type(value).__name__} is no JSON value")


def _path(trail: Sequence[str | int]) -> str:
    """``plan.root.parameters.organism``, ``positive_ids[3]``."""
    names = (f"[{name}]" if isinstance(name, int) else f".{name}" for name in trail[1:])
    return f"{trail[0]}{''.join(names)}"


def check_text(value: str, path: str | Sequence[str | int], note: str = "") -> None:
    """Refuse text with U+0000 or a lone surrogate, which PostgreSQL cannot store; a note is added to the path."""
    reason = ZERO if "\x00" in value else None
    try:
        value.encode()
    except UnicodeEncodeError:
        reason = reason or LONE_SURROGATE
    if reason is not None:
        raise InvalidInputError(f"{path if isinstance(path, str) else _path(path)}{note}", reason)
