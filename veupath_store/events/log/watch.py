"""Waiting for what is appended: one request of this process waits for all logs that anybody here follows.

A request for each follower would hold a connection each, and Redis would read one entry as often as it is followed.
Instead, one ``XREAD BLOCK`` names every log once, from the place up to which all of its followers have read, and what
it brings is handed to them. A follower that does not take what it is handed is let go (`Subscription.overflowed`) and
reads for itself until it has caught up, so that a slow client costs neither memory nor anybody else's time.
"""

import asyncio
import contextlib
import copy
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from veupath_store.engine import start_detached
from veupath_store.errors import InternalError, StoreClosedError, StoreError
from veupath_store.events.log.client import RedisClient
from veupath_store.events.log.encoding import entries_of
from veupath_store.events.log.entries import FIRST, Entry, Position
from veupath_store.events.log.keys import LogKey

logger: logging.Logger = logging.getLogger("veupath_store.events")

BLOCK: Final = 0.2
"""Seconds that Redis waits before it answers that there is nothing. A log that begins to be followed while a request
is under way is in the next one: an event that is appended meanwhile comes as much later."""

COUNT: Final = 64
"""Entries of one log that one answer brings at most."""

ROOM: Final = 256
"""Entries that wait for one follower at most."""


class Subscription:
    """One follower's place in a log.

    Attributes:
        key: The log.
        position: The last entry that was handed over, taken or not.
        overflowed: Whether more came than was taken in time. Nothing more comes then; what was handed over is whole up
            to `position`.
    """

    def __init__(self, key: LogKey, position: Position) -> None:
        self.key = key
        self.position: Position = position
        self.overflowed: bool = False
        self._waiting: list[Entry] = []
        self._stirred = asyncio.Event()
        self._failure: StoreError | None = None

    async def take(self, patience: float) -> list[Entry]:
        """What was appended since the last call, in order.

        Args:
            patience: Seconds to wait when that is nothing.

        Returns:
            The entries; none when nothing came in time, or nothing more will (`overflowed`).

        Raises:
            UnavailableError: Redis does not answer, or the store is being closed.
        """
        if not self._waiting:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self._stirred.wait()
        if not self._waiting and self._failure is not None:
            raise copy.copy(self._failure) from self._failure
        taken, self._waiting = self._waiting, []
        if self._failure is None and not self.overflowed:
            self._stirred.clear()
        return taken

    def hand(self, entries: Sequence[Entry]) -> None:
        """Hand over entries that follow one another; those before `position` are left out."""
        new = [entry for entry in entries if entry.position > self.position]
        if not new:
            return
        self._stirred.set()
        if len(self._waiting) + len(new) > ROOM:
            self.overflowed = True
            return
        self._waiting.extend(new)
        self.position = new[-1].position

    def wake(self) -> None:
        """Let `take` return now, with whatever is there."""
        self._stirred.set()

    def fail(self, error: StoreError) -> None:
        """Nothing more comes, for this reason."""
        self._failure = error
        self._stirred.set()


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
        """Follow a log while the block lasts.

        Args:
            key: The log; it need not be there yet.
            after: The last entry that is known already; ``None`` for none.
        """
        if self._closed:
            raise StoreClosedError("The event log of this process is closed.")
        subscription, text = Subscription(key, after or FIRST), key.text(self._prefix)
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
        failure: StoreError = StoreClosedError("The event log of this process is closed.")
        try:
            while self._followed:
                places = self._places()
                self._hand_over(places, await self._appended(places))
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

    def _places(self) -> dict[str, Position]:
        """The place in each log that all of its followers have reached."""
        return {text: min(each.position for each in followers) for text, followers in self._followed.items()}

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

    def _hand_over(self, places: Mapping[str, Position], reply: Any) -> None:  # noqa: ANN401
        for name, found in reply:
            text, entries = name.decode(), entries_of(found)
            for subscription in list(self._followed.get(text, ())):
                if subscription.position < places[text]:
                    continue  # it came meanwhile, and lacks what is before the answer; the next one begins there
                subscription.hand(entries)
                if subscription.overflowed:
                    self._let_go(text, subscription)
