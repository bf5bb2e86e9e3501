"""Values of the WDK sync."""

from enum import StrEnum
from typing import Annotated, Final, TypeAlias
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from veupath_store import limits

# pydantic's own constraints, not the functions of `validation`: a list of 1,000 is checked five times as fast.
_STORABLE: Final = r"^[^\x00]*$"
_Count: TypeAlias = Annotated[int, Field(strict=True, ge=0, le=limits.INT32_MAX)]


class WdkStrategy(BaseModel):
    """One strategy of a user on a WDK server, as its list shows it.

    Attributes:
        wdk_strategy_id: Its id there.
        name: Its name there; a conversation that exists keeps its own.
        record_type: Its record class, or ``None``.
        is_saved: Whether it is saved, not a draft.
        result_count: Its estimated size, or ``None`` while unknown.
        step_count: Its number of steps.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    wdk_strategy_id: Annotated[int, Field(strict=True, ge=0, le=limits.INT64_MAX)]
    name: Annotated[str, Field(strict=True, max_length=limits.NAME, pattern=_STORABLE)] = ""
    record_type: Annotated[str, Field(strict=True, max_length=limits.RECORD_TYPE, pattern=_STORABLE)] | None = None
    is_saved: Annotated[bool, Field(strict=True)] = False
    result_count: _Count | None = None
    step_count: _Count = 0


class SyncOutcome(StrEnum):
    """What a sync did with one strategy."""

    INSERTED = "inserted"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    SKIPPED = "skipped"
    """Its conversation is dismissed."""
    REFUSED = "refused"
    """It could not be kept; the report says why."""


class SyncedStrategy(BaseModel):
    """What became of one strategy of the list.

    Attributes:
        position: Its place in the given list, from 0.
        wdk_strategy_id: Its id, or ``None`` when that was refused.
        outcome: What was done.
        stream_id: Its conversation, or ``None`` when it was refused.
        reason: Why it was refused, or ``None``.
    """

    model_config = ConfigDict(frozen=True)

    position: int
    wdk_strategy_id: int | None
    outcome: SyncOutcome
    stream_id: UUID | None = None
    reason: str | None = None


class SyncReport(BaseModel):
    """What a sync did.

    Attributes:
        strategies: One entry for each given strategy, in the given order.
    """

    model_config = ConfigDict(frozen=True)

    strategies: list[SyncedStrategy]

    def count(self, outcome: SyncOutcome) -> int:
        """How many strategies had this outcome."""
        return sum(1 for strategy in self.strategies if strategy.outcome is outcome)

    def stream_ids(self, outcome: SyncOutcome) -> list[UUID]:
        """The conversations of the strategies that had this outcome, in the given order."""
        return [item.stream_id for item in self.strategies if item.outcome is outcome and item.stream_id is not None]
