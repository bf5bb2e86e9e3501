"""What the projector reports."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any
from uuid import UUID

from veupath_store.documents.json import JsonMapping
from veupath_store.values.value import Value


class LogProblem(Value):
    """An entry that could not be used, or whose plan could not.

    Attributes:
        position: Its id, ``ms-seq``.
        type: Its type.
        reason: What is wrong with it; nothing of its content.
    """

    position: str
    type: str
    reason: str


class CaughtUp(Value):
    """What a catch-up did.

    Attributes:
        position: The last entry that is folded in now; ``None`` where the log has none.
        events: How many entries were folded.
        problems: Those of them that were skipped.
    """

    position: str | None
    events: int = 0
    problems: tuple[LogProblem, ...] = ()


class RebuildOutcome(StrEnum):
    """What became of one conversation's row."""

    REBUILT = "rebuilt"
    EMPTY = "empty"
    """Its log holds nothing and its row never saw any; the row stayed as it was."""
    BEHIND = "behind"
    """Refused: the log lacks the last entry that the row has seen. Redis lost the log, or its end."""
    INCOMPLETE = "incomplete"
    """Refused: the log has no beginning. It was trimmed, or is older than the store."""
    BUSY = "busy"
    """Left alone: the row moved while its log was read, or was locked for too long. Try again."""
    UNREADABLE = "unreadable"
    """Left alone: its log cannot be read, or its row not be read or written; `StreamRebuild.reason` says why."""


class StreamRebuild(Value):
    """The rebuilding of one conversation.

    Attributes:
        outcome: What became of it.
        events: How many entries were folded.
        problems: Those of them that were skipped.
        reason: Why it cannot be read, or what it waited for in vain; empty otherwise.
    """

    stream_id: UUID
    outcome: RebuildOutcome
    events: int = 0
    problems: tuple[LogProblem, ...] = ()
    reason: str = ""

    @property
    def refused(self) -> bool:
        """Whether the row was left as it was although there is a log."""
        return self.outcome not in {RebuildOutcome.REBUILT, RebuildOutcome.EMPTY}


class RebuildReport(Value):
    """What a rebuild did.

    Attributes:
        counts: Conversations by their outcome.
        events: How many entries were folded.
        refused: The conversations that were left as they were.
        problems: Entries that were skipped, by conversation.
    """

    counts: Mapping[RebuildOutcome, int]
    events: int
    refused: tuple[StreamRebuild, ...]
    problems: Mapping[UUID, tuple[LogProblem, ...]]


class FieldDifference(Value):
    """A column that is not what the log says.

    Attributes:
        column: Its name.
        stored: What the table holds.
        folded: What the log says.
    """

    column: str
    stored: Any
    folded: Any


class VerifyOutcome(StrEnum):
    """What a comparison of one row with its log found."""

    EQUAL = "equal"
    DIFFERENT = "different"
    EMPTY = "empty"
    """No log, and the row never saw one: there is nothing to compare."""
    BEHIND = "behind"
    """The log lacks the last entry that the row has seen."""
    INCOMPLETE = "incomplete"
    """The log has no beginning: differences may be due to that."""
    MISSING = "missing"
    """There is no row."""
    UNREADABLE = "unreadable"
    """Its log, or its row's position, cannot be read."""


class StreamVerification(Value):
    """One conversation's comparison.

    Attributes:
        outcome: What was found.
        events: How many entries were folded.
        differences: Column by column.
        problems: Entries that were skipped.
        reason: Why it cannot be read; empty otherwise.
    """

    stream_id: UUID
    outcome: VerifyOutcome
    events: int = 0
    differences: tuple[FieldDifference, ...] = ()
    problems: tuple[LogProblem, ...] = ()
    reason: str = ""


class VerifyReport(Value):
    """What a verification found.

    Attributes:
        counts: Conversations by what was found.
        events: How many entries were folded.
        suspects: The conversations whose row is not proven by its log: all but the equal and the empty ones.
    """

    counts: Mapping[VerifyOutcome, int]
    events: int
    suspects: tuple[StreamVerification, ...]


class LagState(StrEnum):
    """Where a row stands beside its log."""

    CURRENT = "current"
    BEHIND = "behind"
    STUCK = "stuck"
    """Behind for longer than the worker should need."""
    AHEAD = "ahead"
    """The log ends before what the row has seen: it has lost something. The next catch-up marks the row."""
    UNLOGGED = "unlogged"
    """The row is at the log's end, and holds something that is not in the log yet."""
    MISSING = "missing"
    """There is no row."""
    UNREADABLE = "unreadable"
    """The log, or the row's position, cannot be read; `StreamLag.reason` says why."""


class StreamLag(Value):
    """How far one row is behind its log.

    Attributes:
        state: Where it stands.
        position: The last entry that the row has seen, or ``None``.
        newest: The log's newest entry, or ``None``.
        events: Entries that are not folded in yet, 1,000 or some megabytes of them at the most.
        seconds: The age of the oldest of them, by this machine's clock.
        lost: What its log has lost, for good: the number of ``messages``, the entries ``after`` and ``before`` which
            something is gone, and ``at`` what time that was seen; ``None`` for nothing.
        reason: Why it cannot be read; empty otherwise.
    """

    stream_id: UUID
    state: LagState
    position: str | None
    newest: str | None
    events: int = 0
    seconds: float = 0.0
    lost: JsonMapping | None = None
    reason: str = ""


class LagReport(Value):
    """How far rows are behind their logs.

    Attributes:
        counts: Conversations by where they stand.
        events: Entries that are not folded in yet, of all of them.
        seconds: The age of the oldest of these.
        removals: Logs of deleted conversations and operations that are still to be removed.
        without_row: Logs of conversations that have no row, and were not deleted here; 0 where not all were asked for.
        lagging: The conversations that are behind, stuck, ahead or unreadable, or whose log has lost something.
    """

    counts: Mapping[LagState, int]
    events: int
    seconds: float
    removals: int
    without_row: int
    lagging: tuple[StreamLag, ...]
