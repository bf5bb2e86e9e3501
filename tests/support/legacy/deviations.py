"""Where an adopted row is not its legacy row, and whether that is listed as it must be."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Deviation:
    """Something that must be, or only may be, among the problems.

    Attributes:
        table: The legacy table.
        key: The row's legacy id.
        kinds: As what it may be listed.
        field: The column; `None` where that is left open.
        needed: Whether it must be listed.
    """

    table: str
    key: str
    kinds: frozenset[str]
    field: str | None = None
    needed: bool = True

    def matches(self, problem: Any) -> bool:
        return (
            (problem.table, problem.key) == (self.table, self.key)
            and str(problem.kind) in self.kinds
            and self.field in (None, problem.field)
        )


class Deviations(list[Deviation]):
    """All of a database."""

    def add(self, table: str, key: str, kinds: str, field: str | None = None, *, needed: bool = True) -> None:
        self.append(Deviation(table, key, frozenset(kinds.split()), field, needed))

    def mistakes(self, problems: Iterable[Any]) -> list[str]:
        """What is not listed, listed twice, or listed of a row that has nothing of the kind."""
        by_row: dict[tuple[str, str], list[Any]] = {}
        for problem in problems:
            by_row.setdefault((problem.table, problem.key), []).append(problem)
        found, explained = [], set()
        for one in self:
            matching = [problem for problem in by_row.get((one.table, one.key), ()) if one.matches(problem)]
            explained.update(map(id, matching))
            if one.needed and not matching:
                found.append(f"not listed: {one}")
        for row in by_row.values():
            found.extend(f"listed for nothing: {problem}" for problem in row if id(problem) not in explained)
            listed = [(problem.kind, problem.field, problem.fixed) for problem in row]
            found.extend(f"listed twice: {problem}" for problem in set(listed) if listed.count(problem) > 1)
        return found
