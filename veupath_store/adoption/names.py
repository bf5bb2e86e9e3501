"""Free names for conversations that have one name with another of their user and site."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from veupath_store import limits

Key = TypeVar("Key")


def free_names(group: Iterable[tuple[Key, str]]) -> Iterator[tuple[Key, str]]:
    """New names for those whose name another one keeps. Pure; its cost is linear.

    Args:
        group: All conversations of one user and site with their names, in the order in which they keep theirs.

    Yields:
        The keys of those that are renamed, and the smallest free ``name (n)`` of each, shortened to fit.
    """
    rows = list(group)
    taken = {name for _, name in rows}
    kept: set[str] = set()
    last: dict[str, int] = {}
    for key, name in rows:
        if name not in kept:
            kept.add(name)
            continue
        number = last.get(name, 0) + 1
        while (free := numbered(name, number)) in taken:
            number += 1
        last[name] = number
        taken.add(free)
        yield key, free


def numbered(name: str, number: int) -> str:
    """A name with a number, shortened so that it fits the column."""
    suffix = f" ({number})"
    return f"{name[: limits.NAME - len(suffix)]}{suffix}"
