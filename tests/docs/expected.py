"""Comparing what was printed with what a page shows.

`...` stands for anything within a line, and alone on a line for any lines.
"""

import re


def matches(expected: list[str], printed: str) -> int | None:
    """Compare all of it; the index of the first line that is not as expected (one too far: too much was printed)."""
    text = _normal(printed)
    if re.fullmatch(_pattern(expected), text):
        return None
    return max(count for count in range(len(expected) + 1) if re.match(_pattern(expected[:count]), text))


def has_come(expected: list[str], printed: str) -> bool:
    """Whether what was printed so far begins with all that is expected."""
    complete = printed[: printed.rfind("\n") + 1]
    return re.match(_pattern(expected), _normal(complete)) is not None


def _pattern(expected: list[str]) -> str:
    return "".join(_line(line.rstrip()) for line in expected)


def _line(line: str) -> str:
    if line.strip() == "...":
        return r"(?:.*\n)*?"
    return ".*?".join(re.escape(part) for part in line.split("...")) + r"\n"


def _normal(printed: str) -> str:
    return "".join(f"{line.rstrip()}\n" for line in printed.splitlines())
