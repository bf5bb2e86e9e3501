"""Which hostile values each kind of parameter takes.

A `Kind` says independently of the store what is right: the tests fail when the store takes more, or less.
"""

import base64
import collections
import datetime as dt
import enum
import json
import math
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from tests.support.hostile import AWARE, UUIDS, Number, Word, corpus, documents, nested, sized
from tests.support.world import new_lease
from veupath_store.inputs import limits
from veupath_store.values import ExperimentSave, GeneSetSave, Lease, WdkStrategy


@dataclass(frozen=True)
class Kind:
    """A kind of parameter.

    Attributes:
        accepts: Whether a value is right.
        more: Further values, at its bounds and just beyond.
        stored: What an accepted value reads back as.
    """

    accepts: Callable[[Any], bool]
    more: Callable[[], list[Any]] = list
    stored: Callable[[Any], Any] = lambda value: value

    def values(self) -> list[Any]:
        return [*corpus(), *self.more()]

    def after(self, tidy: Callable[[Any], Any], *more: Any) -> "Kind":
        """What is accepted when it has been tidied."""
        return Kind(
            lambda value: self.accepts(tidy(value)),
            lambda: [*self.more(), *more],
            lambda value: self.stored(tidy(value)),
        )


def optional(kind: Kind) -> Kind:
    return Kind(
        lambda value: value is None or kind.accepts(value),
        kind.more,
        lambda value: None if value is None else kind.stored(value),
    )


def text(longest: int, *, shortest: int = 1) -> Kind:
    def accepts(value: Any) -> bool:
        return isinstance(value, str) and shortest <= str.__len__(value) <= longest and storable(value)

    return Kind(accepts, lambda: ["x" * longest, "😀" * longest, "x" * (longest + 1), "y" * 1_000_000])


_AROUND = re.compile(r"\A[\s\ufeff]+|[\s\ufeff]+\Z")


def tidied(value: Any) -> Any:
    """A name as it is kept: composed, without white space and byte order marks around it."""
    return bare(unicodedata.normalize("NFC", str.__str__(value))) if isinstance(value, str) else value


def bare(value: str) -> str:
    """A gene id as it is kept."""
    return _AROUND.sub("", value)


def name(longest: int, *, shortest: int = 1) -> Kind:
    shorter_when_composed, longer = "e\u0301" * longest + " ", "\u0958" * (longest // 2 + 1)
    more = (" " + "x" * longest + "\ufeff", "\ufeff \ufeff", shorter_when_composed, longer)
    return text(longest, shortest=shortest).after(tidied, *more)


LISTS = (list, tuple, range, collections.deque)


def genes(most: int, longest: int, *, fewest: int = 0) -> Kind:
    def trimmed(value: Any) -> Any:
        return [bare(it) if type(it) is str else it for it in value] if isinstance(value, LISTS) else value

    more = (["\ufeffG1", " G2\r\n", " " + "x" * longest], ["G1", "\ufeff"])
    return texts(most, longest, fewest=fewest).after(trimmed, *more)


_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def storable(value: str) -> bool:
    return _UNSTORABLE.search(value) is None


def texts(most: int, longest: int, *, fewest: int = 0) -> Kind:
    item = text(longest)

    def accepts(value: Any) -> bool:
        if not isinstance(value, LISTS):
            return False
        return fewest <= len(value) <= most and all(type(it) is str and item.accepts(it) for it in value)

    def more() -> list[Any]:
        full = [f"G{number}" for number in range(most)]
        bad = [[*full[1:], wrong] for wrong in ("", "\0", "\ud800", 7, b"x", None)]
        return [full, [*full, "one more"], ["x" * longest], ["x" * (longest + 1)], "G1", *bad]

    return Kind(accepts, more, list)


def whole(lowest: int, highest: int) -> Kind:
    def accepts(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and lowest <= value <= highest

    return Kind(accepts, lambda: [lowest, lowest - 1, highest, highest + 1])


def whole_numbers(most: int, highest: int) -> Kind:
    item = whole(0, highest)
    kinds = (list, tuple, range, collections.deque, set, frozenset, type({}.keys()))

    def accepts(value: Any) -> bool:
        return isinstance(value, kinds) and len(value) <= most and all(map(item.accepts, value))

    return Kind(
        accepts, lambda: [[highest], [highest + 1], [-1], list(range(most)), set(range(most + 1)), {Spiteless()}]
    )


class Spiteless:
    """Can be in a set, but not be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("asked")


UUID_KIND = Kind(
    lambda value: isinstance(value, UUID) or (isinstance(value, str) and value in UUIDS),
    stored=lambda value: value if isinstance(value, UUID) else UUID(value),
)
FLAG = Kind(lambda value: isinstance(value, bool))
SHARE = Kind(lambda value: type(value) in (int, float, Number) and 0 <= value <= 1, lambda: [0.999, 1.0000001, -1e-9])
PLAN = Kind(
    lambda value: isinstance(value, dict) and any(value == good for good in [{}, {"x": "y"}, *documents()]), documents
)


def _none_or_in(value: Any, texts: list[str]) -> bool:
    return value is None or (isinstance(value, str) and value in texts)


def choice(choices: type[enum.StrEnum]) -> Kind:
    """A member of a closed set, or its value."""
    members = list(choices)
    values = [str(member.value) for member in members]

    def accepts(value: Any) -> bool:
        return isinstance(value, str) and str.__str__(value) in values

    near = [values[0].upper(), f" {values[0]}", f"{values[0]}\0", values[0].encode(), values, "x" * 1_000_000]
    return Kind(accepts, lambda: [*members, *values, Word(values[0]), *near])


def collection(member: Kind, values: list[str]) -> Kind:
    """A collection of what is taken, as those values, not empty."""
    kinds = (list, tuple, set, frozenset, collections.deque, dict, type({}.keys()))

    def accepts(value: Any) -> bool:
        return isinstance(value, kinds) and len(value) > 0 and all(map(member.accepts, value))

    return Kind(accepts, lambda: [values, set(values), tuple(values), [*values, ""], values * 1_000, [*values, None]])


def span(highest: float) -> Kind:
    """Seconds above 0."""
    return Kind(
        lambda value: type(value) in (int, float, Number) and 0 < value <= highest,
        lambda: [highest, highest * 1.001, 1e-9, -1e-9, int(highest)],
    )


def cursor(name: str, *key: Any) -> Kind:
    """A cursor of a list: its name and the last row's key, as JSON in base64."""
    good = _cursor([name, *key])
    damaged = [
        good[:-2], good + "!", good[:4] + "\n" + good[4:], "=" * 9, good * 1_000, good.encode(), Word(good * 1_000),
        *map(_cursor, [[], {}, 5, None, name, [name], ["another list", *key], [name, *key, *key], {name: 1}]),
        _raw(b'["' + name.encode() + b'", "\\ud800", "\\ud800", "\\ud800"]'), _raw(b"[" * 3_000), _raw(b"\xff\xfe"),
    ]  # fmt: skip

    def changed(place: int, bad: Any) -> str:
        return _cursor([name, *key[:place], bad, *key[place + 1 :]])

    wrong = [changed(place, bad) for place in range(len(key)) for bad in _WRONG_PARTS]
    # Another text is as good as this one where the key has any text.
    of_text = [place for place, part in enumerate(key) if isinstance(part, str) and part not in (TIME, ID)]
    texts = [bad for bad in _WRONG_PARTS if isinstance(bad, str) and storable(bad)]
    kept = [it for place in of_text for bad in texts if len(it := changed(place, bad)) <= 4_096]
    return Kind(lambda value: _none_or_in(value, [good, *kept]), lambda: [good, *damaged, *wrong])


_WRONG_PARTS = [
    None, 5, 2**63, 2**64 - 1, -1.5, True, [], {}, "", "x", "a\0b", "2026-01-02T03:04:05", "2026-01-02",
    "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "11111111-2222", "\uff11" * 32, "y" * 2_000,
]  # fmt: skip


def _raw(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _cursor(parts: Any) -> str:
    return _raw(json.dumps(parts).encode())


TIME = "2026-01-02T03:04:05.678901+00:00"
ID = "11111111-2222-4333-8444-555555555555"


def _saves() -> list[Any]:
    given = {"id": uuid4(), "user_id": uuid4(), "site_id": "plasmodb", "name": "Kinases"}
    return [ExperimentSave(**given, status="pending", data={}), GeneSetSave(**given, gene_ids=[])]


EXPERIMENT_SAVE = Kind(lambda value: isinstance(value, ExperimentSave), _saves)
GENE_SET_SAVE = Kind(lambda value: isinstance(value, GeneSetSave), _saves)

LEASE = Kind(
    lambda value: isinstance(value, Lease) and 0 < value.seconds <= limits.LEASE_SECONDS,
    lambda: [
        new_lease(), new_lease().model_dump(), new_lease(seconds=limits.LEASE_SECONDS),
        *(new_lease(seconds=seconds) for seconds in [0, -1, 1e9, 1e308, float("nan"), float("inf")]),
    ],
)  # fmt: skip

_LAST = 2**64 - 1
_POSITIONS = ["0-0", "1700000000000-0", f"{_LAST}-{_LAST}", f"{'0' * 20}-1"]
_NO_POSITIONS = [
    f"{_LAST + 1}-0", f"0-{_LAST + 1}", "1", "-1", "1-", "1--1", "1-1-1", " 1-1", "1-1\n", "+1-1", "\uff11-1", "*", "$",
    f"{'0' * 21}-1", 1.1, (1, 1), dt.timedelta(1),
]  # fmt: skip
POSITION = Kind(lambda value: _none_or_in(value, _POSITIONS), lambda: [*_POSITIONS, *_NO_POSITIONS])


def recorded(value: str) -> str:
    """An operation's error as it is stored: cut, and with U+FFFD for what PostgreSQL cannot keep."""
    letters = [letter if letter != "\0" and not 0xD800 <= ord(letter) <= 0xDFFF else "\ufffd" for letter in value]
    return "".join(letters[: limits.OPERATION_ERROR])


ERROR = Kind(
    lambda value: isinstance(value, str),
    lambda: ["x" * limits.OPERATION_ERROR, "x" * (limits.OPERATION_ERROR + 1), "😀\0\ud800" * 100_000],
    lambda value: recorded(str.__str__(value)),
)


def _strategies_accepted(value: Any) -> bool:
    return isinstance(value, list | tuple | range | collections.deque) and len(value) <= limits.SYNC


STRATEGIES = Kind(
    _strategies_accepted,
    lambda: [
        [WdkStrategy(wdk_strategy_id=number) for number in range(limits.SYNC)],
        [{}] * limits.SYNC, [{}] * (limits.SYNC + 1),
        [{1: 2}], [{"x" * 1_000_000: 1}], {"wdk_strategy_id": 1}, WdkStrategy(wdk_strategy_id=1),
    ],
)  # fmt: skip


def identities(most: int) -> Kind:
    """A list of UUIDs or their texts."""

    def accepts(value: Any) -> bool:
        return isinstance(value, list | tuple) and len(value) <= most and all(map(UUID_KIND.accepts, value))

    many = [UUID(int=number) for number in range(most)]
    return Kind(
        accepts,
        lambda: [
            many,
            [*many, UUID(int=most)],
            list(UUIDS),
            [*UUIDS, None],
            [ID, "11111111"],
            [UUID(int=0), b"x" * 16],
        ],
        lambda value: [UUID(str(item)) for item in value],
    )


def is_json(value: Any, depth: int) -> bool:
    """Whether a value is JSON that can be stored, of so many levels at most."""
    if type(value) is list:
        return depth > 0 and all(is_json(item, depth - 1) for item in value)
    if type(value) is dict:
        keys = all(type(key) is str and storable(key) for key in value)
        return depth > 0 and keys and all(is_json(item, depth - 1) for item in value.values())
    if isinstance(value, int):
        return -(2**63) <= value < 2**64
    if isinstance(value, str):
        return storable(value)
    return value is None or (type(value) is float and math.isfinite(value))


def _fits(value: Any, around: int = 0) -> bool:
    """Whether a document of these tests, which has one text if it is large, is not too large."""
    large = value["x"] if type(value) is dict and isinstance(value.get("x"), str) else ""
    return len(large) + len('{"x":""}') + around <= limits.DOCUMENT_BYTES


_BAD_DOCUMENTS = [
    nested(limits.DOCUMENT_DEPTH + 1), sized(limits.DOCUMENT_BYTES + 1), {1: 2}, {"x": float("nan")}, {"x": AWARE},
    {"x": {"y\0": 1}}, {"x": (1,)}, {"x": 2**64},
]  # fmt: skip
DATA = Kind(
    lambda value: type(value) is dict and _fits(value) and is_json(value, limits.DOCUMENT_DEPTH),
    lambda: [*documents(), *_BAD_DOCUMENTS],
)
PARAMETERS = Kind(
    lambda value: type(value) in (dict, list) and _fits(value) and is_json(value, limits.DOCUMENT_DEPTH),
    lambda: [*documents(), *_BAD_DOCUMENTS, [documents()[3]], [[[float("inf")]]]],
)
# One level and the field's name are the document's around it.
FIELD_VALUE = Kind(
    lambda value: _fits(value, len('{"status":}')) and is_json(value, limits.DOCUMENT_DEPTH - 1),
    lambda: [
        *documents()[3:], nested(limits.DOCUMENT_DEPTH - 1), nested(limits.DOCUMENT_DEPTH), *_BAD_DOCUMENTS,
        sized(limits.DOCUMENT_BYTES), sized(limits.DOCUMENT_BYTES - len('{"status":}')),
    ],
)  # fmt: skip
