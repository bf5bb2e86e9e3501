"""Strategies that grow: a plan with one search more at each stage."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Search:
    """One search, and how its result is combined with what was there before."""

    label: str
    search_name: str
    parameters: dict[str, str]
    operator: str = "INTERSECT"

    def node(self, number: int) -> dict[str, Any]:
        """The search as a node of a plan."""
        return {
            "id": f"step_{number}",
            "displayName": self.label,
            "searchName": self.search_name,
            "parameters": self.parameters,
        }


@dataclass(frozen=True)
class Strategy:
    """What a researcher builds, search by search."""

    owner: str
    site_id: str
    name: str
    searches: tuple[Search, ...]

    def stages(self) -> Iterator[dict[str, Any]]:
        """The whole plan after each search, as a client would save it."""
        root: dict[str, Any] | None = None
        for number, search in enumerate(self.searches, 1):
            leaf = search.node(number)
            root = leaf if root is None else _combined(number, search.operator, root, leaf)
            yield {"recordType": "transcript", "root": root, "metadata": {"name": self.name}}


def _combined(number: int, operator: str, primary: dict[str, Any], secondary: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": f"combine_{number - 1}",
        "displayName": operator.capitalize(),
        "operator": operator,
        "primaryInput": primary,
        "secondaryInput": secondary,
    }
