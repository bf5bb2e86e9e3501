"""The one JSON encoder and decoder of the store, and what a document may hold.

orjson turns NaN into null without a word, and PostgreSQL refuses U+0000 half-way through a transaction. `encode`
refuses both before any SQL, with the path to the offending value, so that a document reads back as it was written.
"""

import math
from typing import Any, Final, TypeAlias

import orjson

from veupath_store import limits
from veupath_store.errors import InvalidInputError

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"

_NUL: Final = b"\\u0000"
_STRICT: Final = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME


def encode(value: Any, path: str = "document") -> str:  # noqa: ANN401 - anything is refused but JSON
    """A document as JSON text.

    The check is that the text reads back equal, which catches NaN, tuples, UUIDs and whatever else orjson converts
    without a word, at the speed of orjson. The slow walk that names the culprit runs only when that fails.

    Args:
        value: A dict or a list of JSON values.
        path: What to call it in an error.

    Returns:
        JSON text that PostgreSQL stores and reads back as an equal value.

    Raises:
        InvalidInputError: Not JSON (a tuple, a datetime, a key that is no string), NaN or an infinity, U+0000 or a
            lone surrogate, an integer beyond 64 bits, more than `limits.DOCUMENT_DEPTH` levels, or more than
            `limits.DOCUMENT_BYTES` bytes.
    """
    if not isinstance(value, dict | list):
        raise InvalidInputError(path, "a JSON object or array is needed")
    try:
        text = orjson.dumps(value, option=_STRICT)
    except (TypeError, RecursionError) as exc:
        check(value, path)
        raise InvalidInputError(path, "it is no JSON") from exc
    if len(text) > limits.DOCUMENT_BYTES:
        raise InvalidInputError(path, f"it is larger than {limits.DOCUMENT_BYTES} bytes as JSON")
    reads_back = orjson.loads(text) == value
    if not reads_back or _NUL in text:
        check(value, path)
    if not reads_back:
        raise InvalidInputError(path, "it would not read back as it was written")
    return text.decode()


def decode(text: str | bytes) -> Any:  # noqa: ANN401 - any JSON value
    """A JSON value from its text."""
    return orjson.loads(text)


def check(document: Any, path: str) -> None:  # noqa: ANN401
    """Refuse what JSON, orjson or PostgreSQL cannot keep, naming where it is.

    Walks without recursion, so that no depth can exhaust the stack.

    Raises:
        InvalidInputError: As `encode`.
    """
    stack: list[tuple[Any, str, int]] = [(document, path, 1)]
    while stack:
        value, where, depth = stack.pop()
        if isinstance(value, dict):
            _check_depth(where, depth)
            for key, item in value.items():
                _check_key(key, where)
                stack.append((item, f"{where}.{key}", depth + 1))
        elif isinstance(value, list):
            _check_depth(where, depth)
            stack.extend((item, f"{where}[{index}]", depth + 1) for index, item in enumerate(value))
        else:
            check_scalar(value, where)


def _check_depth(where: str, depth: int) -> None:
    if depth > limits.DOCUMENT_DEPTH:
        # The path to it is hundreds of names long: its beginning tells enough.
        raise InvalidInputError(where[:80], f"it is nested more than {limits.DOCUMENT_DEPTH} levels deep")


def _check_key(key: Any, where: str) -> None:  # noqa: ANN401
    if type(key) is not str:
        raise InvalidInputError(where, "an object's keys must be strings")
    check_text(key, f"{where} (a key)")


def check_scalar(value: Any, path: str) -> None:  # noqa: ANN401
    """Refuse a value that is no JSON scalar, or one that would not read back equal.

    Raises:
        InvalidInputError: As `encode`.
    """
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, str):
        check_text(value, path)
    elif isinstance(value, int):
        if not limits.INT64_MIN <= value <= limits.UINT64_MAX:
            raise InvalidInputError(path, "an integer must fit 64 bits")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidInputError(path, "a number must be finite")
    else:
        raise InvalidInputError(path, f"a {type(value).__name__} is no JSON value")


def check_text(value: str, path: str) -> None:
    """Refuse text that PostgreSQL cannot store.

    Raises:
        InvalidInputError: It contains U+0000 or a lone surrogate.
    """
    if "\x00" in value:
        raise InvalidInputError(path, "it contains the character U+0000")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidInputError(path, "it contains a lone surrogate, which is no character") from None
