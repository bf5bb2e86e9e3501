"""A page of messages, each with what else was logged of its turn, whichever way the page is cut."""

from collections.abc import Callable
from typing import Final

from veupath_store.events.log.entries import Entry, LogKey, Position
from veupath_store.events.log.log import EventLog
from veupath_store.events.log.pages import Ended, walk
from veupath_store.events.turns import ASKED, SHOWN, begins_within, ends_within, is_message, messages
from veupath_store.values import Message

TURN: Final = 20_000
"""Entries of a turn that are read beyond one end of a page of messages at most; each word of a model is an entry. Of a
turn that is longer, what is further away is left out of the messages at that end."""


async def page_of_messages(
    log: EventLog, key: LogKey, position: Position | None, most: int, *, backwards: bool, floor: Position | None
) -> tuple[list[Message], Ended]:
    """Messages from a position on. A turn that an end of the page cuts is read whole, so that each is shown whole."""
    entries: list[Entry] = []
    listed: set[str] = set()

    def take(entry: Entry) -> bool:
        if entry.type in SHOWN:
            entries.append(entry)
        if is_message(entry):
            listed.add(str(entry.position))
        return len(listed) == most

    ended = await walk(log, key, position, take, backwards=backwards, floor=floor)
    first, last = position and position.after, ended[0]
    if backwards:
        entries.reverse()
        first, last = ended[0], position and position.before
    before: list[Entry] = []
    after: list[Entry] = []
    if first is not None and begins_within(entries):
        await walk(log, key, first, _rest_of_turn(before), backwards=True, floor=floor, most=TURN)
    if last is not None and ends_within(entries):
        await walk(log, key, last, _rest_of_turn(after), most=TURN)
    found = [message for message in messages([*before[::-1], *entries, *after]) if message.id in listed]
    return found[::-1] if backwards else found, ended


def _rest_of_turn(found: list[Entry]) -> Callable[[Entry], bool]:
    """Takes entries up to where the turn begins, or another one."""

    def take(entry: Entry) -> bool:
        if entry.type in SHOWN:
            found.append(entry)
        return entry.type == ASKED

    return take
