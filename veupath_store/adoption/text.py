r"""JSON text of the old tables as jsonb can take it.

The type json keeps any escape; jsonb refuses ``\u0000`` and surrogates that are no pair. The text is mended, not the
values, so that numbers keep their digits.
"""

import re
from typing import Final

REPLACEMENT: Final = "\\ufffd"

# A pair of surrogates, one escaped code unit, or any other escape, as an escaped backslash.
_ESCAPE: Final = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|.)", re.DOTALL
)
_CODE_UNIT: Final = len("\\u0000")
_TOKEN: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)


def storable(text: str) -> str:
    r"""JSON text with U+FFFD for every ``\u0000`` and every lone surrogate, also in keys. Pure, one pass."""
    return _ESCAPE.sub(_replaced, text)


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
