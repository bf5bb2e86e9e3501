"""Which conversations a rebuild, a verification or a report of lag goes through."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeVar
from uuid import UUID

from veupath_store import limits
from veupath_store.session import get_engine
from veupath_store.validation import as_optional_uuid, integer, text

T = TypeVar("T")
Progress: TypeAlias = Callable[[int], None]
"""Called with the number of conversations that were done since it was called last."""

CHUNK: Final = 500
PARALLEL: Final = 64

_CHOSEN: Final = (
    "($1::uuid IS NULL OR s.id = $1) AND ($2::uuid IS NULL OR s.user_id = $2) AND ($3::text IS NULL OR s.site_id = $3)"
)
_COUNT: Final = f"SELECT count(*) AS streams FROM streams s WHERE {_CHOSEN}"
_PAGE: Final = f"""
SELECT s.id, p.last_event_id, COALESCE(pg_column_size(p.plan), 0) AS plan_size
FROM streams s LEFT JOIN stream_projections p ON p.stream_id = s.id
WHERE {_CHOSEN} AND ($4::uuid IS NULL OR s.id > $4) ORDER BY s.id LIMIT {CHUNK}"""


@dataclass(frozen=True, slots=True)
class Chosen:
    """One conversation of a selection.

    Attributes:
        stream_id: The conversation.
        last_event_id: The last entry that its row has seen, or ``None``.
        plan_size: Bytes that its plan takes in the table; the largest entries of its log are of that size.
    """

    stream_id: UUID
    last_event_id: str | None
    plan_size: int


class Selection:
    """All conversations, one user's, one site's, or one.

    Args:
        stream_id: Only this one.
        user_id: Only this user's.
        site_id: Only those on this site.

    Raises:
        InvalidInputError: An argument is refused.
    """

    def __init__(
        self, stream_id: UUID | str | None = None, user_id: UUID | str | None = None, site_id: str | None = None
    ) -> None:
        self._values: list[Any] = [
            as_optional_uuid(stream_id, "stream_id"),
            as_optional_uuid(user_id, "user_id"),
            None if site_id is None else text(site_id, "site_id", limits.STREAM_SITE_ID),
        ]

    async def count(self) -> int:
        """How many there are."""
        client = await get_engine().open()
        streams: int = (await client.execute_rows(_COUNT, self._values))[0]["streams"]
        return streams

    async def chunks(self) -> AsyncIterator[list[Chosen]]:
        """Them, `CHUNK` at a time, in the order of their ids. No connection is held between two reads."""
        last: UUID | None = None
        while True:
            client = await get_engine().open()
            rows = await client.execute_rows(_PAGE, [*self._values, last])
            if rows:
                yield [Chosen(row["id"], row["last_event_id"], row["plan_size"]) for row in rows]
            if len(rows) < CHUNK:
                return
            last = rows[-1]["id"]


async def for_each(
    selection: Selection,
    work: Callable[[list[Chosen]], AsyncIterator[T]],
    done: Callable[[T], None],
    parallel: int,
    progress: Progress | None,
    *,
    together: int = 1,
) -> None:
    """Do something with each conversation, several at once.

    Args:
        selection: The conversations.
        work: What to do with some of them; gives a result for each as soon as it is done. One that is deleted
            meanwhile has none.
        done: Takes each result.
        parallel: How many calls at once.
        progress: Told about each conversation.
        together: Conversations of a call at the most.

    Raises:
        InvalidInputError: `parallel` is not from 1 to `PARALLEL`.
    """
    workers = integer(parallel, "parallel", 1, PARALLEL)
    tell = progress or (lambda _: None)

    async def take(waiting: list[Chosen]) -> None:
        while waiting:
            group = waiting[: -together - 1 : -1]
            del waiting[-together:]
            left = len(group)
            async for result in work(group):
                done(result)
                left -= 1
                tell(1)
            if left:
                tell(left)

    async for chunk in selection.chunks():
        waiting = chunk[::-1]
        tasks = [asyncio.ensure_future(take(waiting)) for _ in range(workers)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
