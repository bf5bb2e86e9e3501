"""A page of messages, each with what else was logged of its turn, whichever way the page is cut."""

from typing import Final

from veupath_store.events.log.entries import Entry, Position
from veupath_store.events.log.keys import LogKey
from veupath_store.events.log.log import EventLog
from veupath_store.events.log.walking import Ended, walk
from veupath_store.events.turns import ASKED, SHOWN, begins_within, ends_within, is_message, messages
from veupath_store.values import Message

TURN: Final = 20_000
"""Entries of a turn that are read beyond one end of a page of messages at most; each word of a model is an entry. Of a
turn that is longer, what is further away is left out of the messages at that end."""


class _Part:
    """The part of a log that a page of messages goes through, in the direction of reading."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.entries: list[Entry] = []
        self.said: set[str] = set()
        self.first: Position | None = None
        self.last: Position | None = None

    def take(self, entry: Entry) -> bool:
        """Whether that was the last message of the page."""
        self.first = self.first or entry.position
        self.last = entry.position
        if entry.type in SHOWN:
            self.entries.append(entry)
        if is_message(entry):
            self.said.add(str(entry.position))
            return len(self.said) == self._most
        return False


class _Edge:
    """The rest of a turn, beyond one end of a page."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def take(self, entry: Entry) -> bool:
        """Whether the turn begins there, or another one."""
        if entry.type in SHOWN:
            self.entries.append(entry)
        return entry.type == ASKED


async def page_of_messages(
    log: EventLog, key: LogKey, position: Position | None, most: int, *, backwards: bool, floor: Position | None
) -> tuple[list[Message], Ended]:
    """Messages from a position on. A turn that an end of the page cuts is read whole, so that each is shown whole."""
    part = _Part(most)
    ended = await walk(log, key, position, part.take, backwards=backwards, floor=floor)
    entries, first, last = part.entries, part.first, part.last
    if backwards:
        entries, first, last = entries[::-1], last, first
    before, after = _Edge(), _Edge()
    if begins_within(entries):
        await walk(log, key, first, before.take, backwards=True, floor=floor, most=TURN)
    if ends_within(entries):
        await walk(log, key, last, after.take, most=TURN)
    shown = messages([*before.entries[::-1], *entries, *after.entries])
    found = [message for message in shown if message.id in part.said]
    return found[::-1] if backwards else found, ended
