"""Free names: ``Kinases``, ``Kinases (1)``, ``Kinases (2)``, … within one user's conversations on one site.

The unique index ``stream_projections_name_key`` guarantees that two never have the same name; what is here chooses
a name that is free, without reading the taken ones. It doubles a number until it hits a free one, then bisects
between the last taken and the first free: about 2 · log2(n) index probes for n names, all in the statement that
writes. Asking for ``max(suffix)`` would need the suffix in a column of its own; reading the names, which the previous
layer did, costs a thousand rows for the thousandth name.

Where no name was ever given back the result is the smallest free number; after deletions it is a free number whose
predecessor is taken.

`FREE_NAME` is for one name among a user's stored ones; `free_names` numbers names of one list that are the same.
"""

from collections.abc import Iterable, Iterator
from typing import Final, TypeVar

from veupath_store.inputs import limits

Key = TypeVar("Key")


def _taken(name: str) -> str:
    return (
        "EXISTS (SELECT FROM stream_projections taken, asked WHERE taken.user_id = asked.user_id "
        f"AND taken.site_id = asked.site_id AND taken.name = {name} AND taken.stream_id IS DISTINCT FROM asked.named)"
    )


def numbered_in_sql(base: str, number: str) -> str:
    """As `numbered`, of two expressions of SQL."""
    suffix = f"' (' || {number} || ')'"
    return f"(left({base}, {limits.NAME} - length({suffix})) || {suffix})"


FREE_NAME: Final = f"""
gallop(number) AS (
    SELECT 1 WHERE {_taken("asked.base")}
    UNION ALL
    SELECT number * 2 FROM gallop WHERE number < 1000000000 AND {_taken(numbered_in_sql("asked.base", "number"))}
),
bisect(low, high) AS (
    SELECT max(number) / 2, max(number) FROM gallop HAVING count(*) > 0
    UNION ALL
    SELECT CASE WHEN step.taken THEN step.middle ELSE step.low END,
           CASE WHEN step.taken THEN step.high ELSE step.middle END
    FROM (
        SELECT probe.*, {_taken(numbered_in_sql("asked.base", "probe.middle"))} AS taken
        FROM (SELECT low, high, (low + high) / 2 AS middle FROM bisect WHERE high - low > 1) probe
    ) step
),
free(name) AS (
    SELECT COALESCE((SELECT {numbered_in_sql("asked.base", "min(high)")} FROM bisect), asked.base) FROM asked
)"""
"""Common table expressions after ``WITH RECURSIVE asked(user_id, site_id, named, base) AS (…),``: the last one,
``free``, has one row with one column, ``name``. ``asked.named`` is the conversation that is renamed, whose own present
name counts as free; null for a new one."""


def free_names(group: Iterable[tuple[Key, str]]) -> Iterator[tuple[Key, str]]:
    """For those whose name another one keeps: their keys, and the smallest free ``name (n)`` of each, shortened to fit.

    Pure; its cost is linear. The group is all conversations of one user and site with their names, in the order in
    which they keep theirs.
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
