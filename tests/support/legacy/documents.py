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


# Digits behind the point that jsonb takes.
SMALLEST = -16_383


class RefusedError(Exception):
    """jsonb does not take the document, or the store would not read it: too deep, or a number beyond a double."""


class Real(Decimal):
    """A number that reads as a float: never equal to one that reads as an integer."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Real) and Decimal.__eq__(self, other)

    __hash__ = Decimal.__hash__


class Read:
    """A document that was read.

    `value` has `Real` ones or integers for numbers, and `Flag` for true and false, which are no numbers here; `inexact`
    says whether an integer reads as a float.
    """

    def __init__(self, text: str) -> None:
        if _depth(text) > DEEPEST:
            raise RefusedError
        self.fixed = self.inexact = False
        parse = {"parse_int": self._integer, "parse_float": _real, "object_pairs_hook": _Pairs}
        self.value = self._walk(json.loads(text, **parse))

    def _integer(self, text: str) -> int | Real:
        number = _real(text)
        fits = -(2**63) <= number <= 2**64 - 1
        self.inexact = self.inexact or not fits
        return int(text) if fits else number

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
        self.fixed = self.fixed or count > 0
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


def _real(text: str) -> Real:
    number = Real(text)
    if number and (number.adjusted() >= LARGEST or isinf(float(number))):
        raise RefusedError
    if int(number.as_tuple().exponent) < SMALLEST:
        raise RefusedError
    return number


def _depth(text: str) -> int:
    level = deepest = 0
    for mark in re.sub(r"[^][{}]+", "", _STRING.sub("", text)):
        level += 1 if mark in "[{" else -1
        deepest = max(deepest, level)
    return deepest
