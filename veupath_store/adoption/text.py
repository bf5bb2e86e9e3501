r"""JSON text of the old tables as jsonb can take it.

The type json keeps any escape; jsonb refuses ``\u0000`` and surrogates that are no pair. The text is fixed, not the
values, so that numbers keep their digits. jsonb has no exponents: without a point 1e16 would read back as an integer.
"""

import re
from decimal import Decimal
from typing import Final

from veupath_store.inputs import limits

REPLACEMENT: Final = "\\ufffd"

# A pair of surrogates, one escaped code unit, or any other escape, as an escaped backslash.
_ESCAPE: Final = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|.)", re.DOTALL
)
_CODE_UNIT: Final = len("\\u0000")
_NUMBER: Final = re.compile(
    r'"[^"\\]*(?:\\.[^"\\]*)*"|-?[0-9]+(?P<fraction>\.[0-9]+)?(?P<exponent>[eE][-+]?[0-9]+)?', re.DOTALL | re.ASCII
)
"""A number, or a string, so that what looks like a number in one is left alone."""

# From here on the decoder makes a float of whatever is whole.
_FLOATS: Final = 20
_TOKEN: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)


def storable(text: str) -> str:
    r"""JSON text with U+FFFD for every ``\u0000`` and every lone surrogate, also in keys. Pure, one pass."""
    return _ESCAPE.sub(_replaced, text)


def with_floats(text: str) -> str:
    """JSON text whose floats that are whole, and have an exponent, are written in full: 1e16 as 10000000000000000.0."""
    return _NUMBER.sub(_in_full, text)


def has_large_integer(text: str) -> bool:
    """Whether an integer of a JSON text needs more than 64 bits, so that it reads back as a float."""
    matches = (match for match in _NUMBER.finditer(text) if match["fraction"] is match["exponent"] is None)
    integers = (Decimal(match[0]) for match in matches if not match[0].startswith('"'))
    return any(not limits.INT64_MIN <= number <= limits.UINT64_MAX for number in integers)


def depth(text: str) -> int:
    """How many levels of objects and arrays a JSON text has. Pure, one pass, without recursion."""
    level = most = 0
    for match in _TOKEN.finditer(text):
        bracket = match[0]
        if bracket in "[{":
            level += 1
            most = max(most, level)
        elif bracket in "]}":
            level -= 1
    return most


def _replaced(match: re.Match[str]) -> str:
    escape = match[0]
    if len(escape) != _CODE_UNIT:
        return escape
    unit = int(escape.removeprefix("\\u"), base=16)
    return REPLACEMENT if unit == 0 or 0xD800 <= unit <= 0xDFFF else escape  # noqa: PLR2004 - the surrogates


def _in_full(match: re.Match[str]) -> str:
    token = match[0]
    if match["exponent"] is None:
        return token
    number = Decimal(token)
    if number.adjusted() >= _FLOATS or number != number.to_integral_value():
        return token
    digits = f"{number:f}"
    return digits if "." in digits else f"{digits}.0"
