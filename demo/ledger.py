"""The ledger: what the store acknowledged, to be compared with what it holds in the end."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

_SHOWN: Final = 60


class Kind(StrEnum):
    """What an entry is about."""

    USER = "users"
    CONVERSATION = "conversations"
    CONTROL_SET = "control sets"
    EARLIER = "conversations of earlier days"


@dataclass(frozen=True)
class Verdict:
    """How one kind of entry came out.

    Attributes:
        subject: What was compared.
        acknowledged: Rows that must be there.
        found: Rows that are there.
        equal: Rows with every acknowledged value.
        differences: One line for each thing that is not as acknowledged.
    """

    subject: str
    acknowledged: int
    found: int
    equal: int
    differences: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether everything is as acknowledged."""
        return not self.differences and self.acknowledged == self.found == self.equal


@dataclass(frozen=True)
class Check:
    """One thing that must hold beside the rows."""

    what: str
    holds: bool
    detail: str = ""


class Ledger:
    """Acknowledged writes, in memory. A value is entered when the call that saves it has returned, never before."""

    def __init__(self) -> None:
        self.writes = 0
        self.undone: set[UUID] = set()
        self._rows: dict[Kind, dict[UUID, dict[str, Any]]] = {kind: {} for kind in Kind}

    def acknowledge(self, kind: Kind, identity: UUID, **values: Any) -> None:  # noqa: ANN401 - any column's value
        """Enter one acknowledged write: the row is there, and these attributes have these values."""
        self.writes += 1
        self.remember(kind, identity, **values)

    def remember(self, kind: Kind, identity: UUID, **values: Any) -> None:  # noqa: ANN401
        """Enter what was read, not written: the row must still be so in the end."""
        self._rows[kind].setdefault(identity, {}).update(values)

    def renounce(self, identity: UUID) -> None:
        """Enter a conversation whose unit of work failed: it must never be seen."""
        self.undone.add(identity)

    def rows(self, kind: Kind) -> Mapping[UUID, Mapping[str, Any]]:
        """The entries of one kind, by the row's id."""
        return self._rows[kind]


def compare(kind: Kind, expected: Mapping[UUID, Mapping[str, Any]], found: Mapping[UUID, object]) -> Verdict:
    """Compare what was acknowledged with the rows that were read back.

    Args:
        kind: What they are.
        expected: Attributes and values, by the row's id.
        found: The rows, by id; one that is missing has no key.
    """
    there = {identity: found[identity] for identity in expected if identity in found}
    wrong = {identity: _differing(row, expected[identity]) for identity, row in there.items()}
    lines = [f"{kind.value}: {identity} is missing" for identity in expected if identity not in there]
    lines += [f"{kind.value}: {identity} {what}" for identity, whats in wrong.items() for what in whats]
    equal = sum(1 for whats in wrong.values() if not whats)
    return Verdict(kind.value, len(expected), len(there), equal, tuple(lines))


def compare_undone(undone: set[UUID], found: Mapping[UUID, object]) -> Verdict:
    """See that nothing came of the units of work that failed."""
    seen = sorted(undone & found.keys())
    lines = tuple(f"undone: {identity} is there" for identity in seen)
    return Verdict(f"undone writes ({len(undone)}), must be absent", 0, len(seen), 0, lines)


def _differing(row: object, expected: Mapping[str, Any]) -> list[str]:
    return [
        f"{name} is {_short(getattr(row, name))}, acknowledged was {_short(value)}"
        for name, value in expected.items()
        if getattr(row, name) != value
    ]


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
