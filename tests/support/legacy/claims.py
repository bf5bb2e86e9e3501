"""What two conversations claim and one can have."""

from collections import defaultdict
from typing import Any
from uuid import UUID

from tests.support.legacy.rows import Row


def settle(expected: Any) -> None:
    """What two conversations claim: the preferred one keeps it."""
    streams, chats = expected.rows["streams"], expected.rows["stream_projections"]
    by_text = {new: text for text, new in expected.ids["streams"].own.items()}
    for group in _alike(streams, "user_id", "experiment_id"):
        for new in sorted(group, key=lambda new: (-chats[new]["updated_at"].timestamp(), new))[1:]:
            streams[new]["experiment_id"] = None
            expected.deviations.add("streams", by_text[new], "duplicate_experiment")
    for group in _alike(chats, "user_id", "site_id", "wdk_strategy_id"):
        for new in sorted(group, key=lambda new: preference(new, chats[new]))[1:]:
            chats[new]["wdk_strategy_id"] = None
            expected.deviations.add("stream_projections", by_text[new], "duplicate_wdk_id")


def preference(new: UUID, chat: Row) -> tuple[Any, ...]:
    """Visible before dismissed, then newest, then smallest id."""
    return chat["dismissed_at"] is not None, -chat["updated_at"].timestamp(), new


def _alike(rows: dict[UUID, Row], *columns: str) -> list[list[UUID]]:
    """Groups of rows that have these columns in common, none of them null."""
    groups = defaultdict(list)
    for new, row in rows.items():
        groups[tuple(row[column] for column in columns)].append(new)
    return [group for values, group in groups.items() if None not in values]
