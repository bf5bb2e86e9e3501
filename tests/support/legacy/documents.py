"""JSON as the reader of the tests sees it: values that compare as JSON does, whatever wrote them."""

import json
import re
from decimal import Decimal
from math import isinf
from typing import Any

DEEPEST = 254
REPLACEMENT = "\ufffd"
# Digits before the point that a number of double precision can have.
LARGEST = 309

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)


class RefusedError(Exception):
    """jsonb does not take the document, or the store would not read it: too deep, or a number beyond a double."""


class Read:
    """A document that was read.

    `value` has Decimals or integers for numbers, and `Flag` for true and false, which are no numbers here.
    """

    def __init__(self, text: str) -> None:
        if _depth(text) > DEEPEST:
            raise RefusedError
        self.mended = False
        self.value = self._walk(json.loads(text, parse_int=_number, parse_float=_number, object_pairs_hook=_Pairs))

    def _walk(self, value: Any) -> Any:
        if isinstance(value, bool):
            return Flag(value)
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, _Pairs):
            return {self._text(key): self._walk(item) for key, item in value}
        if isinstance(value, list):
            return [self._walk(item) for item in value]
        return value

    def _text(self, text: str) -> str:
        whole, count = _UNSTORABLE.subn(REPLACEMENT, text)
        self.mended = self.mended or count > 0
        return whole


class Flag:
    """true or false: in Python those would equal 1 and 0."""

    def __init__(self, flag: bool) -> None:
        self.flag = flag

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Flag) and self.flag == other.flag

    def __hash__(self) -> int:
        return hash(("flag", self.flag))

    def __repr__(self) -> str:
        return repr(self.flag)


class _Pairs(tuple):
    """An object's pairs in their order, also where a key is there twice: the last one counts."""


def _number(text: str) -> int | Decimal:
    number = Decimal(text)
    if number and (number.adjusted() >= LARGEST or isinf(float(number))):
        raise RefusedError
    return int(text) if text.lstrip("-").isdigit() and len(text) < 1_000 else number


def _depth(text: str) -> int:
    level = deepest = 0
    for mark in re.sub(r"[^][{}]+", "", _STRING.sub("", text)):
        level += 1 if mark in "[{" else -1
        deepest = max(deepest, level)
    return deepest
