"""Values that somebody may hand over by mistake or on purpose, and documents that are kept or refused."""

import collections
import datetime as dt
import enum
import fractions
from decimal import Decimal
from typing import Any
from uuid import UUID

from veupath_store.inputs import limits


class Word(str):
    """A subclass of str that lies about its length."""

    __slots__ = ()

    def __len__(self) -> int:
        return 1


class Site(enum.StrEnum):
    PLASMODB = "plasmodb, a StrEnum"


class OldSite(str, enum.Enum):  # noqa: UP042 - str() of it is not its value, which is the point
    TOXODB = "toxodb, an Enum"


class Number(enum.IntEnum):
    SEVEN = 7


class Spiteful:
    """Whatever is asked of it, it raises."""

    def _raise(self, *_: object) -> Any:
        raise RuntimeError("asked")

    __bool__ = __eq__ = __hash__ = __iter__ = __len__ = __repr__ = __str__ = __int__ = __index__ = _raise  # type: ignore[assignment]


UUIDS = {
    "11111111-2222-4333-8444-555555555555": "canonical",
    "11111111-2222-4333-8444-ABCDEFABCDEF": "upper case",
    "11111111222243338444555555555555": "without hyphens",
    "{11111111-2222-4333-8444-555555555555}": "in braces",
    "urn:uuid:11111111-2222-4333-8444-555555555555": "a URN",
    "00000000-0000-0000-0000-000000000000": "nil",
}
MALFORMED_UUIDS = [
    "11111111-2222-4333-8444-55555555555",
    "11111111-2222-4333-8444-5555555555555",
    "11111111-2222-4333-8444-55555555555g",
    "0x111111222243338444555555555555",
    "+1111111222243338444555555555555",
    " 1111111222243338444555555555555",
    "11111111222243338444555555555555\n",
    "1_1111112222433384445555555555_5",
    "1-1-1-1-1-1-1-1-2222433384445555555555555",
    "{11111111-2222-4333-8444-555555555555",
    "\uff11" * 32,
]
TEXTS = [
    "",
    " ",
    "\t\n\r",
    "plain",
    "\0",
    "before\0after",
    "\ud800",
    "a\udfffb",
    "\ud83d\ude00",
    "\\u0000",
    "\\",
    "\x01\x1b[31m\x7f",
    "\ufffd\ufffe\uffff",
    "😀 𐍈 👩‍🔬",
    "e\u0301 ṩ ﬁ",
    "\u202e\u0645\u0631\u062d\u0628\u0627\u202c",
    "'; DROP TABLE users; --",
    "\"quoted\" 'quoted' `quoted` $$quoted$$",
    "%s %(name)s $1 {name} :name ?",
    "null",
    "NaN",
    "-1",
    "[]",
    *UUIDS,
    *MALFORMED_UUIDS,
]
AWARE = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)


def corpus() -> list[Any]:
    """New hostile values, for any parameter."""
    numbers = [0, 1, -1, 7, 2**31 - 1, 2**31, 2**63 - 1, 2**63, 2**64, -(2**63) - 1, 10**400, Number.SEVEN]
    floats = [0.0, -0.0, 0.5, 1.0, 1e308, float("nan"), float("inf"), float("-inf")]
    others = [None, True, False, Decimal(1), Decimal("NaN"), fractions.Fraction(1, 2), 1j, ..., NotImplemented]
    raw = [b"", b"plasmodb", b"1" * 16, bytearray(b"x"), memoryview(b"x")]
    times = [AWARE, AWARE.replace(tzinfo=None), AWARE.date(), AWARE.time(), dt.timedelta(1)]
    words = [Word("a word"), Word(""), Word("nul\0"), Site.PLASMODB, OldSite.TOXODB]
    containers = [[], (), {}, set(), frozenset(), range(3), collections.deque(["x"]), {}.keys()]
    filled = [["x"], ("x", "y"), {"x"}, {"x": "y"}, {"x": 1}.keys(), [None], [[]], [0], {0, 1}, (2**63,), [True], [1.0]]
    lazy = [iter(["x"]), (item for item in ["x"]), map(str, [1]), lambda: "x"]
    objects = [object(), object, Spiteful(), [Spiteful()], ["x", "\0"], ["x", "\ud83d", "\ude00"], ValueError("x")]
    identities = [UUID(int=0), UUID(int=2**128 - 1)]
    return [
        *TEXTS, *numbers, *floats, *others, *raw, *times, *words, *containers, *filled, *lazy, *objects, *identities
    ]  # fmt: skip


def nested(depth: int, value: Any = 1) -> Any:
    """A document of so many levels."""
    for _ in range(depth):
        value = {"x": value}
    return value


def steps(depth: int) -> dict[str, Any]:
    """A plan of so many levels of steps."""
    node: dict[str, Any] | None = None
    for number in range(depth):
        node = {"id": str(number), "searchName": "s", "primaryInput": node}
    return {"root": node}


def shared_steps(depth: int) -> dict[str, Any]:
    """A plan of few objects that are 2**depth steps."""
    node: dict[str, Any] = {"id": "0"}
    for _ in range(depth):
        node = {"primaryInput": node, "secondaryInput": node}
    return {"root": node}


def sized(size: int) -> dict[str, Any]:
    """A document of so many bytes as JSON."""
    return {"x": "y" * (size - len('{"x":""}'))}


def cyclic() -> dict[str, Any]:
    document: dict[str, Any] = {}
    document["x"] = [document]
    return document


def documents() -> list[Any]:
    """Plans that are kept."""
    return [
        nested(limits.DOCUMENT_DEPTH),
        steps(limits.PLAN_DEPTH),
        sized(limits.DOCUMENT_BYTES),
        {"root": None},
        {"": "", " ": [], "ключ": {"😀": [1, 1.5, -0.5, True, None, "\\u0000", 'a"b\\c\n']}},
        {"numbers": [2**63, 2**64 - 1, -(2**63), 1e308, 5e-324, 1e16, 1.2345678901234567e17, 0.1]},
        {"a.b": {"$1": "'; DROP TABLE users; --"}, "a[0]": "\ufffe\uffff"},
    ]


def refused_documents() -> list[tuple[Any, str]]:
    """Plans that are refused, and the path that must be told."""
    at = {"root": {"parameters": {"x": None}}}

    def with_value(value: Any) -> dict[str, Any]:
        return {**at, "root": {"parameters": {"x": value}}}

    bad = [
        float("nan"), float("inf"), "\0", "\ud800", 2**64, -(2**63) - 1, Decimal(1), b"x", (1,), {1}, UUID(int=0),
        AWARE, AWARE.replace(tzinfo=None), object(), Spiteful(), iter([])
    ]  # fmt: skip
    return [
        *((with_value(value), "plan.root.parameters.x") for value in bad),
        *(([*[0] * 3, with_value(value)], "plan") for value in bad[:1]),
        ({"list": [0, 1, 2, {"deep": [float("nan")]}]}, "plan.list[3].deep[0]"),
        ({1: 2}, "plan"),
        ({"root": {"parameters": {1: 2}}}, "plan.root.parameters"),
        ({"root": {"parameters": {b"x": 2}}}, "plan.root.parameters"),
        ({b"x": 2}, "plan"),
        ({Site.PLASMODB: 2}, "plan"),
        ({None: 2}, "plan"),
        ({"root": {"bad\0key": 2}}, "plan.root (a key)"),
        ({"bad\ud800key": 2}, "plan (a key)"),
        (nested(limits.DOCUMENT_DEPTH + 1), "plan.x.x.x"),
        (nested(5_000), "plan.x.x.x"),
        (nested(200_000), "plan.x.x.x"),
        (steps(limits.PLAN_DEPTH + 1), "plan.root.primaryInput.primaryInput"),
        (steps(5_000), "plan.root.primaryInput.primaryInput"),
        (shared_steps(100), "plan"),
        (sized(limits.DOCUMENT_BYTES + 1), "plan"),
        ({"x": "😀" * (limits.DOCUMENT_BYTES // 4)}, "plan"),
        ({"root": []}, "plan.root"),
        ({"root": {"secondaryInput": "x"}}, "plan.root.secondaryInput"),
        (cyclic(), "plan.x[0].x[0]"),
    ]


def only_a_plan(document: Any) -> bool:
    """Whether a document is refused, or refused in time, for its steps only."""
    root = document.get("root") if type(document) is dict else None
    return type(root) is list or (type(root) is dict and not root.keys().isdisjoint(("primaryInput", "secondaryInput")))
