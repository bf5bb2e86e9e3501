"""`Day`: what all scenes share. People, the ledger, the stopwatch, and a direct connection to the server."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from demo.ledger import Check, Kind, Ledger
from demo.place import Place
from demo.show import Show
from demo.timings import Timings
from veupath_store import StreamRepository
from veupath_store.documents.plans import count_searches
from veupath_store.models import Stream, StreamProjection, User

FIRST_WDK_ID: Final = 330_514_201
_FLAGS: Final = "_set"


@dataclass
class Day:
    """One day on the store."""

    place: Place
    show: Show
    direct: Any
    """An asyncpg connection of its own, beside the store's pool."""

    ledger: Ledger = field(default_factory=Ledger)
    timings: Timings = field(default_factory=Timings)
    people: dict[str, User] = field(default_factory=dict)
    strategies: dict[str, UUID] = field(default_factory=dict)
    """The conversations of the day's strategies, by the strategy's name."""

    promises: list[Check] = field(default_factory=list)
    """What the scenes said would hold, and whether it did."""

    earlier: int = 0
    """Conversations from earlier days."""

    wdk_ids: Iterator[int] = field(default_factory=lambda: itertools.count(FIRST_WDK_ID))
    """WDK strategy ids that nobody has yet."""

    def promise(self, what: str, holds: bool, detail: object = "") -> None:
        """Enter something that must hold; the proof fails if it did not."""
        self.promises.append(Check(what, holds, str(detail)))

    def start_after(self, highest_wdk_id: int) -> None:
        """Take today's WDK ids from behind those of earlier days."""
        self.wdk_ids = itertools.count(max(FIRST_WDK_ID, highest_wdk_id + 1))

    def streams(self, who: str) -> StreamRepository:
        """What request code of this researcher gets: restricted to their rows, in autocommit."""
        return StreamRepository().for_user(self.people[who].id)

    async def converse(self, who: str, site_id: str, name: str, kind: str = "create a conversation") -> Stream:
        """Create a conversation and enter it in the ledger."""
        user_id = self.people[who].id
        stream = await self.timings.of(kind, self.streams(who).create(user_id, site_id, name=name))
        self.note_new(stream, stream.projection.name)
        return stream

    def note_new(self, stream: Stream, name: str) -> None:
        """Enter a conversation that was just saved."""
        self.ledger.acknowledge(
            Kind.CONVERSATION,
            stream.id,
            user_id=stream.user_id,
            site_id=stream.site_id,
            name=name,
            plan={},
            step_count=0,
            wdk_strategy_id=None,
            dismissed_reason=None,
        )

    async def change(self, who: str, stream_id: UUID, kind: str, **fields: Any) -> None:  # noqa: ANN401
        """Change a conversation and enter that in the ledger. Names are entered when they are read back."""
        await self.timings.of(kind, self.streams(who).update_projection(stream_id, **fields))
        self.note_change(stream_id, **fields)

    def note_change(self, stream_id: UUID, **fields: Any) -> None:  # noqa: ANN401
        """Enter a change that was just saved; the step count follows from the plan."""
        values = {name: value for name, value in fields.items() if not name.endswith(_FLAGS)}
        if "plan" in values:
            values["step_count"] = count_searches(values["plan"])
        self.ledger.acknowledge(Kind.CONVERSATION, stream_id, **values)

    async def open(self, who: str, stream_id: UUID) -> StreamProjection:
        """Open a conversation as its owner, who must find it."""
        projection = await self.timings.of("open a conversation", self.streams(who).get_projection(stream_id))
        if projection is None:
            raise LookupError(f"{who} does not find conversation {stream_id}")
        return projection
