"""Messages as the application shows them: with what else was logged of their turn. Pure: no I/O and no clock.

A turn is a user's message and all that follows it, up to the next one. In it each operation's events are merged with
each other only: the last words of a cancelled one are not another's. What is logged before an assistant's message is
part of that message; what follows the last one, too, up to ``message_end``. ``message_start`` begins anew: what an
attempt left that came to no message is not shown. An event without an operation goes with the message that comes next,
or with the last.

What has a wrong type is left out, field by field. An entry that is no JSON object harms itself only: it is no message,
which is how the fold counts; a user's begins a turn all the same.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

from veupath_store.events.fold.text import decoded
from veupath_store.events.log.entries import Entry
from veupath_store.events.parts import END, TAKEN, Gathering, Parts
from veupath_store.inputs.validation import as_operation_id
from veupath_store.values import Message, MessageRole

ASKED: Final = "user_message"
ANSWERED: Final = "assistant_message"
_START: Final = "message_start"
_BOUNDS: Final = (_START, END)

SHOWN: Final = frozenset((ASKED, ANSWERED, _START, *TAKEN))
"""The types of entries of which messages are made."""


def messages(entries: Iterable[Entry]) -> list[Message]:
    """The messages of whole turns.

    Args:
        entries: All entries of these turns whose types are `SHOWN`, oldest first; others are ignored. Entries before
            the first user's message are a turn.

    Returns:
        The messages, oldest first. What their events hold is not shared.
    """
    return [message for turn in _turns(entries) for message in _messages(turn)]


def is_message(entry: Entry) -> bool:
    """Whether an entry is one of the messages that are counted."""
    return entry.type in (ASKED, ANSWERED) and decoded(entry.raw) is not None


def is_cut(entries: Iterable[Entry]) -> bool:
    """Whether the turn of the first message is cut there, as the message is an answer; in reverse, of the last one."""
    return next((entry.type for entry in entries if entry.type in (ASKED, ANSWERED)), ASKED) == ANSWERED


@lru_cache(maxsize=128)
def operation_of(text: str) -> UUID | None:
    """The operation that an entry names, however that is written; ``None`` for none, or for what is no id."""
    try:
        return as_operation_id(text, "operation_id")
    except ValueError:
        return None


def _turns(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    turn: list[Entry] = []
    for entry in entries:
        if entry.type == ASKED and turn:
            yield turn
            turn = []
        turn.append(entry)
    if turn:
        yield turn


def _messages(turn: Sequence[Entry]) -> list[Message]:
    """The messages of one turn."""
    found: list[tuple[Entry, Message]] = []
    data = decoded(turn[0].raw) if turn[0].type == ASKED else None
    if data is not None:
        found.append((turn[0], _message(turn[0], MessageRole.USER, data, {})))
    for group in _by_operation(turn):
        found += _answers(group)
    return [message for _, message in sorted(found, key=lambda pair: pair[0].position)]


def _by_operation(turn: Sequence[Entry]) -> Iterator[list[Entry]]:
    """Each operation's entries of a turn, in their order."""
    groups: defaultdict[str, list[Entry]] = defaultdict(list)
    loose: list[Entry] = []  # of no operation: the next message's
    latest = ""
    for entry in turn:
        if entry.type == ANSWERED:
            latest = entry.operation_id
            groups[latest] += [*loose, entry]
            loose.clear()
        elif entry.operation_id or entry.type in _BOUNDS:
            groups[entry.operation_id or latest].append(entry)
        else:
            loose.append(entry)
    groups[latest] += loose
    for group in groups.values():
        group.sort(key=lambda entry: entry.position)
        yield group


def _answers(entries: Sequence[Entry]) -> list[tuple[Entry, Message]]:
    """One operation's messages of one turn."""
    answers: list[tuple[Entry, dict[str, Any], Parts]] = []
    gathering, is_open = Gathering(), False
    for entry in entries:
        data = decoded(entry.raw)
        if entry.type == ANSWERED and data is not None:
            answers.append((entry, data, gathering.next()))
            is_open = True
        elif entry.type in _BOUNDS:
            gathering.take(entry.type, data or {})
            if is_open:
                answers[-1][2].add(gathering.parts)
            gathering, is_open = Gathering(), False
        elif data is not None:
            gathering.take(entry.type, data)
    if is_open:
        answers[-1][2].add(gathering.parts)
    return [(entry, _message(entry, MessageRole.ASSISTANT, data, parts.fields(data))) for entry, data, parts in answers]


def _message(entry: Entry, role: MessageRole, data: dict[str, Any], merged: dict[str, Any]) -> Message:
    message_id, content = data.get("messageId"), data.get("content")
    return Message(
        id=str(entry.position),
        created_at=entry.position.time,
        role=role,
        message_id=message_id if isinstance(message_id, str) else None,
        content=content if isinstance(content, str) else "",
        operation_id=operation_of(entry.operation_id),
        data=data,
        **merged,
    )
