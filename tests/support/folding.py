"""A state that is full, and what it is after one event; and flat steps of every size."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from tests.support.logs import entry
from veupath_store.events.fold.fold import State, fold
from veupath_store.events.log.entries import Position

AT = Position(1_700_000_000_123, 4)
TIME = datetime(2023, 11, 14, 22, 13, 20, 123_000, tzinfo=UTC)
FULL = State(
    name="Old",
    record_type="gene",
    wdk_strategy_id=7,
    is_saved=True,
    model_id="model",
    message_count=3,
    step_count=1,
    plan={"recordType": "gene", "root": {"id": "a", "searchName": "s"}, "metadata": {"name": "Old"}},
    result_count=9,
    last_event_id="9-9",
    updated_at=datetime(2020, 1, 1, tzinfo=UTC),
    dismissed_at=datetime(2020, 1, 2, tzinfo=UTC),
    dismissed_reason="user",
    gene_set_id=UUID(int=1),
    gene_set_auto_imported=True,
    begun=True,
)
MOVED = replace(FULL, last_event_id=str(AT))
"""FULL after an event that sets nothing."""


def changed(**columns: Any) -> State:
    """FULL after an event that sets these columns and no others."""
    return replace(MOVED, **{"updated_at": TIME, **columns})


def after(kind: str, data: Any = None, state: State = FULL) -> State:
    return fold(state, entry(kind, data, AT.ms, AT.seq))


def chain(length: int) -> list[dict[str, Any]]:
    """Steps 0 … length-1, each the input of the next."""
    below = [None, *(str(n) for n in range(length - 1))]
    return [{"id": str(n), "searchName": "s", "primaryInputStepId": below[n]} for n in range(length)]


def doubling(length: int) -> list[dict[str, Any]]:
    """Steps of which each uses the one before twice: 2**length - 1 nodes."""
    return [{**step, "secondaryInputStepId": step["primaryInputStepId"]} for step in chain(length)]


def looped(length: int) -> list[dict[str, Any]]:
    """A chain whose end is the input of its beginning."""
    first, *others = chain(length)
    return [{**first, "primaryInputStepId": str(length - 1)}, *others]


def nested(levels: int, name: str | None = None) -> bytes:
    """The data of a plan of that many levels of steps, as JSON text."""
    plan = b'{"primaryInput":' * (levels - 1) + b"{}" + b"}" * (levels - 1)
    return b'{"name":%b,"plan":{"root":%b}}' % (json.dumps(name).encode(), plan)
