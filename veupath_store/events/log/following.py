"""Following a log: what it holds, and then what is appended to it, without a gap and without a repeat.

One request of this process waits for all logs that anybody here follows. A request for each follower would hold a
connection each, and Redis would read one entry as often as it is followed. Instead, one ``XREAD BLOCK`` names every log
once, from the place up to which all of its followers have read, and what it brings is handed to them. A follower that
does not take what it is handed, has more to read than an answer brings, or whose last entry is gone, is let go
(`Subscription.overflowed`) and reads for itself until it has caught up: a slow client costs neither memory nor anybody
else's time, and who reads for itself sees what is missing.
"""

import asyncio
import contextlib
import copy
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import orjson

from veupath_store.engine import start_detached
from veupath_store.errors import InternalError, StoreClosedError, StoreError
from veupath_store.events.fold.patch import whole_data
from veupath_store.events.log.client import RedisClient
from veupath_store.events.log.entries import FIRST, Entry, LogKey, Position, entries_of
from veupath_store.events.log.pages import PageSize

if TYPE_CHECKING:
    from veupath_store.events.log.log import EventLog

logger: logging.Logger = logging.getLogger("veupath_store.events")

GAP: Final = "log_gap"
"""The type of what `follow` yields where the log does not hold the last entry that is known: some may be missing."""

BLOCK: Final = 0.2
"""Seconds that Redis waits before it answers that there is nothing. A log that begins to be followed while a request
is under way is in the next one: an event that is appended meanwhile comes as much later."""

COUNT: Final = 64
"""Entries of one log that one answer brings at most."""

ROOM: Final = 256
"""Entries that wait for one follower at most."""

Hints: TypeAlias = Callable[[Callable[[], None]], Callable[[], None]]
"""Has what it is given called whenever what is followed may be over; returns what ends that."""

_CLOSED: Final = "The event log of this process is closed."


async def follow(
    log: "EventLog",
    key: LogKey,
    position: Position | None,
    is_over: Callable[[], Awaitable[bool]],
    every: float,
    *,
    is_seen: bool = True,
    hints: Hints | None = None,
) -> AsyncGenerator[Entry, None]:
    """All entries after a position, in order, as they are appended.

    Where the log does not hold the last entry that is known, as after a trim or a loss, one of the type `GAP` comes
    first, at the place from which it goes on.

    Holds nothing while its consumer is busy: no connection, and no more than `ROOM` entries.

    Args:
        position: The last entry that is known already; ``None`` for none.
        is_over: Whether nothing more will be appended. The log is read once more afterwards, so that what was appended
            before it became true is not missed.
        every: Seconds between two times that this is asked.
        is_seen: Whether the entry at `position` was read from the log, which should hold it then.
        hints: Says when it may be over, so that this is asked at once.

    Raises:
        UnavailableError: Redis does not answer, or the store is being closed.
    """
    over = False
    while not over:
        async for entry in _held(log, key, position, is_seen=is_seen):
            position, is_seen = entry.position, True
            yield entry
        with log.watch.subscribe(key, position) as news, ExitStack() as stack:
            if hints is not None:
                stack.callback(hints(news.hint))
                news.hint()
            asked = time.monotonic()
            while not (over or news.overflowed):
                for entry in await news.take(every):
                    position, is_seen = entry.position, True
                    yield entry
                if news.hinted or time.monotonic() - asked >= every:
                    news.hinted = False
                    over, asked = await is_over(), time.monotonic()
    async for entry in _held(log, key, position, is_seen=False):
        yield entry


async def _held(
    log: "EventLog", key: LogKey, position: Position | None, *, is_seen: bool
) -> AsyncGenerator[Entry, None]:
    """What the log holds now, page by page. A page begins with the entry that is known, to see that it is there."""
    size = PageSize()
    while True:
        known = position if is_seen and position != FIRST else None
        if known is None:
            entries, gap = await log.read(key, after=position, count=size.entries), None
        else:
            page = await log.read(key, after=known.before, count=size.entries + 1)
            entries = [entry for entry in page if entry.position != known]
            gap = await _gap_after(log, key, known, entries) if len(entries) == len(page) else None
        for entry in entries if gap is None else [gap]:
            position, is_seen = entry.position, True
            yield entry
        if gap is None and not size.seen(entries):
            return


async def _gap_after(log: "EventLog", key: LogKey, known: Position, after: Sequence[Entry]) -> Entry | None:
    """What tells that a known entry is not there, and from where to go on; ``None`` where nothing is missing."""
    before = await log.read_newest(key, 1, before=known)
    if not before and after and after[0].position.before == known:
        return None
    place = before[0].position if before else after[0].position.before if after else FIRST
    return _gap(place, known, "lost" if before or not after or _begins_anew(after[0]) else "trimmed")


def _gap(place: Position, known: Position | None, reason: str) -> Entry:
    return Entry(place, GAP, orjson.dumps({"position": str(known), "reason": reason}))


def _begins_anew(entry: Entry) -> bool:
    """Whether it is the whole row with which a log begins that was lost."""
    data = whole_data(entry)
    return data is not None and data.get("whole") == "lost"


class Subscription:
    """One follower's place in a log."""

    def __init__(self, position: Position) -> None:
        self.position: Position = position
        """The last entry that was handed over, taken or not."""
        self.overflowed: bool = False
        """Whether more came than was taken in time, or is handed over, or `position` is gone. Nothing more comes then;
        what was handed over is whole up to `position`."""
        self.hinted: bool = False
        """Whether what is followed may be over."""
        self._waiting: list[Entry] = []
        self._changed = asyncio.Event()
        self._failure: StoreError | None = None

    async def take(self, patience: float) -> list[Entry]:
        """What was appended since the last call, in order, after so many seconds at most.

        Nothing after a hint, or where nothing more will come. Raises what `fail` was given.
        """
        if not self._waiting:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self._changed.wait()
        if not self._waiting and self._failure is not None:
            raise copy.copy(self._failure) from self._failure
        taken, self._waiting = self._waiting, []
        if self._failure is None and not self.overflowed:
            self._changed.clear()
        return taken

    def hand(self, entries: Sequence[Entry], held: Container[Position]) -> None:
        """Hand over entries that follow one another; those before `position` are left out.

        Where `position` is not held any more something may be missing: who reads for itself finds out.
        """
        new = [entry for entry in entries if entry.position > self.position]
        if not new:
            return
        self._changed.set()
        # After a full answer there are more: who reads for itself takes larger pages.
        if self.position not in held or len(entries) == COUNT or len(self._waiting) + len(new) > ROOM:
            self.overflowed = True
            return
        self._waiting.extend(new)
        self.position = new[-1].position

    def hint(self) -> None:
        """What is followed may be over."""
        self.hinted = True
        self._changed.set()

    def fail(self, error: StoreError) -> None:
        """Nothing more comes, for this reason."""
        self._failure = error
        self._changed.set()


class LogWatch:
    """All that this process follows in one event log."""

    def __init__(self, client: RedisClient, prefix: str) -> None:
        self._client = client
        self._prefix = prefix
        self._followed: dict[str, set[Subscription]] = {}
        self._waiting: asyncio.Task[None] | None = None
        self._closed = False

    @contextmanager
    def subscribe(self, key: LogKey, after: Position | None) -> Iterator[Subscription]:
        """Follow a log, which need not be there yet, while the block lasts."""
        if self._closed:
            raise StoreClosedError(_CLOSED)
        subscription, text = Subscription(after or FIRST), key.text(self._prefix)
        self._followed.setdefault(text, set()).add(subscription)
        if self._waiting is None:
            self._waiting = start_detached(self._wait(), name="event log watch")
        try:
            yield subscription
        finally:
            self._let_go(text, subscription)

    async def close(self) -> None:
        """Tell all followers that nothing more comes. May be repeated."""
        self._closed = True
        if self._waiting is not None:
            self._waiting.cancel()
            await asyncio.wait({self._waiting})

    def _let_go(self, text: str, subscription: Subscription) -> None:
        followers = self._followed.get(text, set())
        followers.discard(subscription)
        if not followers:
            self._followed.pop(text, None)

    async def _wait(self) -> None:
        failure: StoreError = StoreClosedError(_CLOSED)
        try:
            while self._followed:
                # The place in each log that all of its followers have reached.
                places = {text: min(each.position for each in them) for text, them in self._followed.items()}
                found = {name.decode(): entries_of(entries) for name, entries in await self._appended(places)}
                self._hand_over(places, found, await self._unheld(places, found))
        except StoreError as exc:
            failure = exc
            logger.warning("logs cannot be followed now: %s", exc)
        except Exception:
            failure = InternalError("The event log cannot be followed: a defect of the store, which its log shows.")
            logger.exception("logs cannot be followed")
        finally:
            self._waiting = None
            for text in list(self._followed):
                self._fail(text, failure)

    def _fail(self, text: str, error: StoreError) -> None:
        for subscription in list(self._followed.get(text, ())):
            subscription.fail(error)
            self._let_go(text, subscription)

    async def _appended(self, places: Mapping[str, Position]) -> Any:  # noqa: ANN401 - as Redis answers
        """What was appended after those places."""
        options = ("COUNT", COUNT, "BLOCK", round(BLOCK * 1000))
        [reply] = await self._client.run_each([("XREAD", *options, "STREAMS", *places, *map(str, places.values()))])
        if isinstance(reply, InternalError):
            return await self._appended_to_each(places, reply)
        if isinstance(reply, StoreError):
            raise reply
        return reply or ()

    async def _appended_to_each(self, places: Mapping[str, Position], refusal: StoreError) -> list[Any]:
        """The same, where Redis refuses the request for one of the keys, of another type: it harms itself only."""
        commands = [("XREAD", "COUNT", COUNT, "STREAMS", text, str(place)) for text, place in places.items()]
        found: list[Any] = []
        refused = False
        for text, reply in zip(places, await self._client.run_each(commands), strict=True):
            if isinstance(reply, StoreError):
                self._fail(text, reply)
                refused = True
            else:
                found += reply or ()
        if not refused:
            raise refusal
        return found

    async def _unheld(self, places: Mapping[str, Position], found: Iterable[str]) -> set[str]:
        """Logs that do not hold the entry at their place any more: it was lost, or trimmed, before this was found."""
        asked = [(text, str(places[text])) for text in found if places[text] != FIRST]
        commands = [("XRANGE", text, place, place, "COUNT", 1) for text, place in asked]
        replies = await self._client.run_each(commands) if commands else ()
        return {text for (text, _), reply in zip(asked, replies, strict=True) if reply == []}

    def _hand_over(
        self, places: Mapping[str, Position], found: Mapping[str, Sequence[Entry]], unheld: Container[str]
    ) -> None:
        for text, entries in found.items():
            place = places[text]
            held = {FIRST, *(entry.position for entry in entries), *(() if text in unheld else (place,))}
            for subscription in list(self._followed.get(text, ())):
                if subscription.position < place:
                    continue  # it came meanwhile, and lacks what is before the answer; the next one begins there
                subscription.hand(entries, held)
                if subscription.overflowed:
                    self._let_go(text, subscription)
