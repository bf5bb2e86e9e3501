"""A WDK server's list of strategies, before and after it is brought into the table."""

from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter, itemgetter
from typing import Any, Final, TypeAlias
from uuid import UUID

from pydantic import TypeAdapter, ValidationError

from veupath_store import limits
from veupath_store.errors import InvalidInputError
from veupath_store.names import free_names
from veupath_store.validation import first_mistake
from veupath_store.values import SyncOutcome, SyncReport, WdkStrategy
from veupath_store.values.streams import DEFAULT_NAME

Wanted: TypeAlias = dict[int, tuple[int, WdkStrategy]]
"""Strategies that are still to be settled, with their positions in the list, by their WDK ids."""

Settled: TypeAlias = dict[str, Any]
"""The fields of a `SyncedStrategy`: a list of them is made into values at once, in a third of the time."""

_LIST: Final = TypeAdapter(list[WdkStrategy])
_KEPT: Final = attrgetter("record_type", "is_saved", "result_count", "step_count")


def accepted(strategies: Sequence[WdkStrategy | Mapping[str, Any]]) -> tuple[Wanted, list[Settled]]:
    """The strategies that can be kept, and the refusals.

    Raises:
        InvalidInputError: It is no list, or has more than `limits.SYNC` items.
    """
    if isinstance(strategies, str | bytes | bytearray | memoryview) or not isinstance(strategies, Sequence):
        raise InvalidInputError("strategies", "a list is needed")
    if len(strategies) > limits.SYNC:
        raise InvalidInputError("strategies", f"it must not have more than {limits.SYNC} items")
    wanted: Wanted = {}
    refused: list[Settled] = []
    for position, strategy in enumerate(_checked(list(strategies))):
        if isinstance(strategy, str):
            refused.append(_refusal(position, None, strategy))
        elif strategy.wdk_strategy_id in wanted:
            reason = "wdk_strategy_id: it is in the list twice"
            refused.append(_refusal(position, strategy.wdk_strategy_id, reason))
        else:
            wanted[strategy.wdk_strategy_id] = position, strategy
    return wanted, refused


def _checked(items: list[object]) -> Sequence[WdkStrategy | str]:
    """The strategies; in the place of what is none, why it is none."""
    try:
        return _LIST.validate_python(items)
    except ValidationError:
        return [_checked_alone(item) for item in items]


def _checked_alone(item: object) -> WdkStrategy | str:
    try:
        return WdkStrategy.model_validate(item)
    except ValidationError as exc:
        return str(first_mistake(exc))


def _refusal(position: int, wdk_strategy_id: int | None, reason: str) -> Settled:
    outcome = SyncOutcome.REFUSED
    return {"position": position, "wdk_strategy_id": wdk_strategy_id, "outcome": outcome, "reason": reason}


def unaffected(found: Sequence[Any], wanted: Wanted) -> list[Settled]:
    """Settle what is dismissed, and what the table has as the list has it; it is taken out of the list.

    Args:
        found: Rows of `wdk_sync.KNOWN`.
        wanted: What is to be settled.
    """
    settled = []
    for row in found:
        stream_id, wdk_strategy_id, is_dismissed = row[:3]
        position, strategy = wanted[wdk_strategy_id]
        if is_dismissed or row[3:] == _KEPT(strategy):
            outcome = SyncOutcome.SKIPPED if is_dismissed else SyncOutcome.UNCHANGED
            settled.append(settlement(position, wdk_strategy_id, outcome, stream_id))
            del wanted[wdk_strategy_id]
    return settled


def settlement(position: int, wdk_strategy_id: int, outcome: SyncOutcome, stream_id: UUID) -> Settled:
    """What became of a strategy that has a conversation."""
    return {"position": position, "wdk_strategy_id": wdk_strategy_id, "outcome": outcome, "stream_id": stream_id}


def report(settled: list[Settled]) -> SyncReport:
    """What became of each, in the order of the list."""
    return SyncReport.model_validate({"strategies": sorted(settled, key=itemgetter("position"))})


def columns(strategies: Iterable[tuple[int, WdkStrategy]], *, numbered: bool) -> list[list[Any]]:
    """The strategies' fields as one array a column, in the given order.

    Args:
        strategies: The strategies.
        numbered: Whether their names are made different from each other.
    """
    rows = [strategy for _, strategy in strategies]
    names = [row.name or DEFAULT_NAME for row in rows]
    return [
        [row.wdk_strategy_id for row in rows],
        _different(names) if numbered else names,
        [row.record_type for row in rows],
        [row.is_saved for row in rows],
        [row.result_count for row in rows],
        [row.step_count for row in rows],
    ]


def _different(names: list[str]) -> list[str]:
    """The first of a name keeps it, the others are numbered, past what another one is called."""
    if len(set(names)) == len(names):
        return names
    renamed = dict(free_names(enumerate(names)))
    return [renamed.get(place, name) for place, name in enumerate(names)]
