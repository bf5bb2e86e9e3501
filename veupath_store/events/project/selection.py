"""Which conversations a rebuild, a verification or a report of lag goes through."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeVar
from uuid import UUID

from veupath_store.documents.json import decode
from veupath_store.errors import NotFoundError
from veupath_store.inputs import limits
from veupath_store.inputs.validation import as_optional_uuid, integer, text
from veupath_store.session import get_engine
from veupath_store.values import StreamRebuild, StreamVerification

R = TypeVar("R", bound=StreamRebuild | StreamVerification)
Progress: TypeAlias = Callable[[int], None]
"""Called with the number of conversations that were done since it was called last."""

TOGETHER: Final = 32
"""Conversations of one group at the most: so many rows may be locked together for a moment."""

CHUNK: Final = 500
PARALLEL: Final = 64

_CHOSEN: Final = (
    "($1::uuid IS NULL OR s.id = $1) AND ($2::uuid IS NULL OR s.user_id = $2) AND ($3::text IS NULL OR s.site_id = $3)"
)
_COUNT: Final = f"SELECT count(*) AS streams FROM streams s WHERE {_CHOSEN}"
_PAGE: Final = f"""
SELECT s.id AS stream_id, p.last_event_id, p.stream_id IS NULL AS is_missing, p.lost::text AS lost,
       p.unlogged <> '{{}}' OR p.last_event_id IS NULL
           OR EXISTS (SELECT FROM stream_events e WHERE e.user_id = s.user_id AND e.stream_id = s.id) AS is_waiting
FROM streams s LEFT JOIN stream_projections p ON p.stream_id = s.id
WHERE {_CHOSEN} AND ($4::uuid IS NULL OR s.id > $4) ORDER BY s.id LIMIT {CHUNK}"""


@dataclass(frozen=True, slots=True)
class Chosen:
    """One conversation of a selection."""

    stream_id: UUID
    last_event_id: str | None
    """The last entry that its row has seen, or ``None``."""
    is_missing: bool
    """Whether it has no row."""
    is_waiting: bool
    """Whether something of it is not in its log yet."""
    lost: Mapping[str, Any] | None
    """What its log has lost, or ``None``."""


class Selection:
    """All conversations, one user's, one site's, or one."""

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
        """Them, `CHUNK` at a time, in the order of their ids. No connection is held between two reads.

        Raises:
            NotFoundError: The one is not there.
        """
        last: UUID | None = None
        while True:
            client = await get_engine().open()
            rows = await client.execute_rows(_PAGE, [*self._values, last])
            if last is None and not rows and self._values[0] is not None:
                raise NotFoundError("stream")
            if rows:
                yield [Chosen(**{**row, "lost": _lost(row["lost"])}) for row in rows]
            if len(rows) < CHUNK:
                return
            last = rows[-1]["stream_id"]


def _lost(text: str | None) -> Mapping[str, Any] | None:
    with suppress(ValueError):  # a verification names what cannot be read
        lost = None if text is None else decode(text)
        return lost if isinstance(lost, dict) else None
    return None


async def for_each(
    selection: Selection,
    work: Callable[[Sequence[Chosen]], Awaitable[list[R]]],
    done: Callable[[R], None],
    parallel: int,
    progress: Progress | None,
) -> None:
    """Do something with all conversations, `TOGETHER` at a time, several such groups at once.

    Args:
        work: What to do with a group; gives a result for each, but for those that are deleted meanwhile, and those that
            are too large to be done with others: these are done alone afterwards.
        done: Takes each result.
        parallel: How many groups at once.
        progress: Called with the number of conversations of each group that is done.

    Raises:
        InvalidInputError: `parallel` is not from 1 to `PARALLEL`.
    """
    workers = integer(parallel, "parallel", 1, PARALLEL)

    async def take(groups: Iterator[list[Chosen]]) -> None:
        for group in groups:
            results = await work(group)
            found = {one.stream_id for one in results}
            for left in group if len(group) > 1 else ():
                results += await work([left]) if left.stream_id not in found else ()
            for result in results:
                done(result)
            if progress is not None:
                progress(len(group))

    async for chunk in selection.chunks():
        groups = (chunk[start : start + TOGETHER] for start in range(0, len(chunk), TOGETHER))
        tasks = [asyncio.ensure_future(take(groups)) for _ in range(workers)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
