"""Checks at the door of the repositories: bad input is refused before any SQL, with its name.

Each gives what is kept of a value. For anything else it raises `InvalidInputError`, which names the `path` that it is
given. Arguments go through them as they are; at the end they are types, for the fields of patches and saves.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from enum import StrEnum
from typing import Annotated, Any, Final, TypeAlias, TypeVar
from uuid import UUID

from pydantic import BeforeValidator, Field, SkipValidation, ValidationError, ValidationInfo

from veupath_store.documents.json import LONE_SURROGATE, ZERO, check_text
from veupath_store.errors import InvalidInputError
from veupath_store.inputs import limits
from veupath_store.inputs.legacy_ids import adopted_id

E = TypeVar("E", bound=StrEnum)

Known: TypeAlias = Annotated[E | str, Field(union_mode="left_to_right")]
"""What is read of a set of names that a newer version may have extended: a member, or else the text as it is."""

_HEX: Final = "[0-9a-fA-F]"
_EXPERIMENT: Final = re.compile(r"exp_[0-9a-f]{12}")
_OPERATION: Final = re.compile(r"op_[0-9a-f]{12}")
_UUID: Final = re.compile(rf"(?:urn:uuid:)?(\{{)?{_HEX}{{8}}(-?)(?:{_HEX}{{4}}\2){{3}}{_HEX}{{12}}(?(1)\}})")


def as_uuid(value: object, path: str) -> UUID:
    """A `UUID` from a `UUID` or its text: 32 hexadecimal digits, in groups or not, in braces or not."""
    if isinstance(value, UUID):
        return value
    # UUID() alone reads "0x1…", "1_1…", "+1…", full-width digits and hyphens anywhere, too.
    if isinstance(value, str) and _UUID.fullmatch(value):
        return UUID(value)
    raise InvalidInputError(path, "a UUID, or its text, is needed")


def as_optional_uuid(value: object, path: str) -> UUID | None:
    """As `as_uuid`; ``None`` stays ``None``."""
    return None if value is None else as_uuid(value, path)


def as_experiment_id(value: object, path: str) -> UUID:
    """As `as_uuid`; an id that the SQLAlchemy layer gave to an experiment means what `adopted_id` makes of it.

    That layer wrote lower case only.
    """
    return _as_adopted(value, path, _EXPERIMENT, "exp_0123456789ab")


def as_operation_id(value: object, path: str) -> UUID:
    """As `as_experiment_id`, of an operation."""
    return _as_adopted(value, path, _OPERATION, "op_0123456789ab")


def legacy_operation_id(value: object) -> str | None:
    """The text itself of an id that the SQLAlchemy layer gave to an operation; ``None`` for anything else."""
    return str.__str__(value) if isinstance(value, str) and _OPERATION.fullmatch(value) else None


def _as_adopted(value: object, path: str, legacy: re.Pattern[str], example: str) -> UUID:
    if isinstance(value, str) and legacy.fullmatch(value):
        return adopted_id(value)
    try:
        return as_uuid(value, path)
    except InvalidInputError:
        raise InvalidInputError(path, f"a UUID, its text, or an old id as {example} is needed") from None


def text(value: object, path: str, longest: int, *, shortest: int = 1) -> str:
    """Text of a length that its column takes, of characters that PostgreSQL can store."""
    if not isinstance(value, str):
        raise InvalidInputError(path, "text is needed")
    plain = str.__str__(value)  # what is stored, and what a caller gets back, is no subclass of str
    if len(plain) < shortest:
        raise InvalidInputError(path, "it must not be empty")
    if len(plain) > longest:
        raise InvalidInputError(path, f"it must not be longer than {longest} characters")
    check_text(plain, path)
    return plain


_BOM: Final = "\ufeff"
# `str.isspace` of every character takes a third of a second; a test compares.
SPACE: Final = (
    "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000" + _BOM
)
"""White space, and the byte order mark that begins many a file."""


def tidied(value: str) -> str:
    """Text in the composed form of Unicode (NFC), without white space and byte order marks around it."""
    return value.strip() if value.isascii() else unicodedata.normalize("NFC", value).strip(SPACE)


def name_of(value: object, path: str = "name", *, shortest: int = 1) -> str:
    """A name, as `tidied` makes it: what looks the same is the same."""
    return text(tidied(str.__str__(value)) if isinstance(value, str) else value, path, limits.NAME, shortest=shortest)


def integer(value: object, path: str, lowest: int, highest: int) -> int:
    """A whole number within bounds, both included. A bool is none."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidInputError(path, "a whole number is needed")
    if not lowest <= value <= highest:
        raise InvalidInputError(path, f"it must be from {lowest} to {highest}")
    return value


def boolean(value: object, path: str) -> bool:
    """``True`` or ``False``, nothing that is merely true or false."""
    if not isinstance(value, bool):
        raise InvalidInputError(path, "true or false is needed")
    return value


def one_of(value: object, path: str, choices: type[E]) -> E:
    """A member of a closed set, or its value."""
    # Only text is looked up: other objects may raise whatever they like when they are hashed or compared.
    for member in choices:
        if isinstance(value, str) and str.__str__(value) == member.value:
            return member
    raise InvalidInputError(path, f"it must be one of {', '.join(member.value for member in choices)}")


def known(value: str, names: type[E]) -> E | str:
    """The member of that value; the text itself where there is none, because a newer version has written it."""
    try:
        return names(value)
    except ValueError:
        return value


def share(value: object, path: str) -> float:
    """A number from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise InvalidInputError(path, "a number from 0 to 1 is needed")
    return float(value)


def seconds(value: object, path: str, highest: float) -> float:
    """A span of time in seconds, above 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= highest:
        raise InvalidInputError(path, f"a number of seconds above 0, up to {highest:g}, is needed")
    return float(value)


def recordable(value: str, longest: int) -> str:
    """Any text as PostgreSQL can store it: U+0000 and lone surrogates become U+FFFD, and what is too long is cut.

    For text that must never keep the record around it from being written, as the message of an exception.
    """
    stored = value[:longest].replace("\x00", "\ufffd")
    return "".join("\ufffd" if "\ud800" <= letter <= "\udfff" else letter for letter in stored)


def page_size(value: object) -> int:
    """How many rows to return: 1 to `limits.PAGE`."""
    return integer(value, "limit", 1, limits.PAGE)


def texts(value: object, path: str, *, most: int, longest: int, fewest: int = 0) -> list[str]:
    """A list (or tuple) of non-empty texts, so many of them at most and at least."""
    items = _items(value, path, most)
    if len(items) < fewest:
        raise InvalidInputError(path, "it must not be empty" if fewest == 1 else f"it must have {fewest} items or more")
    if _all_good(items, longest):
        return items
    return [text(item, f"{path}[{index}]", longest) for index, item in enumerate(items)]


def ids_of_genes(value: object, path: str, *, most: int, fewest: int = 0) -> list[str]:
    """A list (or tuple) of gene ids, each without white space and byte order marks around it.

    So ids that were pasted or read from a file are stored, and looked for, as the databases write them. 250,000 take
    30 ms more than as `texts` (Python 3.11).
    """
    return texts(_trimmed(_items(value, path, most)), path, most=most, longest=limits.GENE_ID, fewest=fewest)


def _trimmed(items: list[Any]) -> list[Any]:
    if set(map(type, items)) != {str}:
        return [str.strip(item, SPACE) if isinstance(item, str) else item for item in items]
    stripped = list(map(str.strip, items))
    return [item.strip(SPACE) for item in stripped] if _BOM in "".join(stripped) else stripped


def _all_good(items: list[Any], longest: int) -> bool:
    """Whether all are plain texts that `text` would take: 250,000 in 30 ms instead of 200 (Python 3.11)."""
    if set(map(type, items)) != {str} or not all(items) or max(map(len, items)) > longest:
        return False
    try:
        check_text("".join(items), "")
    except InvalidInputError:
        return False
    return True


def integers(value: object, path: str, *, most: int, highest: int) -> list[int]:
    """A list, tuple or set of whole numbers from 0 on.

    Items of a set have no index: of one that is refused, the path is the set's.
    """
    items = _items(value, path, most, sets=True)
    if set(map(type, items)) == {int} and min(items) >= 0 and max(items) <= highest:
        return items
    ordered = isinstance(value, Sequence)
    return [integer(item, f"{path}[{index}]" if ordered else path, 0, highest) for index, item in enumerate(items)]


def _items(value: object, path: str, most: int, *, sets: bool = False) -> list[Any]:
    if not isinstance(value, Sequence | AbstractSet) or isinstance(value, str | bytes | bytearray | memoryview):
        raise InvalidInputError(path, "a list is needed")
    if isinstance(value, AbstractSet) and not sets:
        raise InvalidInputError(path, "a list is needed: a set has no order")
    if len(value) > most:
        raise InvalidInputError(path, f"it must not have more than {most} items")
    return list(value)


_WORDS: Final = {
    "int_type": "a whole number is needed",
    "bool_type": "true or false is needed",
    "string_type": "text is needed",
    "greater_than_equal": "it must be {ge} or more",
    "less_than_equal": "it must be {le} or less",
    "string_too_long": "it must not be longer than {max_length} characters",
    "string_unicode": LONE_SURROGATE,
    # The one pattern that values have.
    "string_pattern_mismatch": ZERO,
}
"""Ours for pydantic's."""


def first_mistake(error: ValidationError) -> InvalidInputError:
    """Our own error out of pydantic's, which would show the beginning of the value."""
    first = error.errors(include_url=False, include_input=False)[0]
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, InvalidInputError):
        return cause
    words = _WORDS.get(first["type"])
    reason = words.format(**first.get("ctx", {})) if words else first["msg"]
    return InvalidInputError(".".join(str(part) for part in first["loc"]) or "value", reason)


def checked(check: Callable[..., Any], *bounds: Any, none: bool = False, **options: Any) -> BeforeValidator:  # noqa: ANN401
    """One of the checks as a part of ``Annotated``, whose first part is what a type checker lets be given.

    It is called with the value, the name of the field, the bounds and the options; not for ``None`` where that may be.
    What it returns is kept as it is where `SkipValidation` stands between the two.
    """

    def validate(value: object, info: ValidationInfo) -> Any:  # noqa: ANN401
        return None if none and value is None else check(value, info.field_name or "value", *bounds, **options)

    return BeforeValidator(validate)


def gene_ids(value: object, path: str) -> list[str]:
    """As `ids_of_genes`, at most `limits.GENE_IDS` of them."""
    return ids_of_genes(value, path, most=limits.GENE_IDS)


Id: TypeAlias = Annotated[UUID | str, checked(as_uuid)]
OptionalId: TypeAlias = Annotated[UUID | str | None, checked(as_uuid, none=True)]
ExperimentId: TypeAlias = Annotated[UUID | str, checked(as_experiment_id)]
Name: TypeAlias = Annotated[str, checked(name_of)]
NameOrBlank: TypeAlias = Annotated[str, checked(name_of, shortest=0)]
SiteId: TypeAlias = Annotated[str, checked(text, limits.SITE_ID)]
RecordType: TypeAlias = Annotated[str, checked(text, limits.RECORD_TYPE)]
OptionalRecordType: TypeAlias = Annotated[str | None, checked(text, limits.RECORD_TYPE, shortest=0, none=True)]
SearchName: TypeAlias = Annotated[str | None, checked(text, limits.SEARCH_NAME, shortest=0, none=True)]
Status: TypeAlias = Annotated[str, checked(text, limits.STATUS)]
BatchId: TypeAlias = Annotated[str | None, checked(text, limits.BATCH_ID, shortest=0, none=True)]
Source: TypeAlias = Annotated[str | None, checked(text, limits.SOURCE, shortest=0, none=True)]
ProvenanceNotes: TypeAlias = Annotated[str | None, checked(text, limits.PROVENANCE_NOTES, shortest=0, none=True)]
GeneSetOperation: TypeAlias = Annotated[str | None, checked(text, limits.GENE_SET_OPERATION, shortest=0, none=True)]
Flag: TypeAlias = Annotated[bool, checked(boolean)]
Count: TypeAlias = Annotated[int, checked(integer, 0, limits.INT32_MAX)]
OptionalCount: TypeAlias = Annotated[int | None, checked(integer, 0, limits.INT32_MAX, none=True)]
WdkId: TypeAlias = Annotated[int | None, checked(integer, 0, limits.INT64_MAX, none=True)]
GeneIds: TypeAlias = Annotated[Sequence[str], SkipValidation(), checked(gene_ids)]
Tags: TypeAlias = Annotated[Sequence[str], SkipValidation(), checked(texts, most=limits.TAGS, longest=limits.TAG)]
