"""The scripts that the event log has Redis run, each beside what it does to keys in memory.

They are found by their text: a script that changes is missing here, and the tests of the log say so.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

from veupath_store.events import exchange, log_names, log_scripts, marks
from veupath_store.events.entries import Position
from veupath_store.events.memory_streams import Keys, Stream

_Script: TypeAlias = Callable[[Keys, Sequence[str], Sequence[str]], Any]

_NOT_THERE: Final = 0
_LOST: Final = 1
_WHOLE: Final = 2


def _bytes(position: Position) -> bytes:
    return str(position).encode()


def _whole(keys: Keys, names: Sequence[str], arguments: Sequence[str]) -> int:
    stream = keys.streams.get(names[0])
    if stream is None:
        return _NOT_THERE
    return _WHOLE if not arguments[0] or Position.parse(arguments[0]) in stream.positions else _LOST


def _ends(keys: Keys, names: Sequence[str], _arguments: Sequence[str]) -> list[Any] | None:
    stream = keys.streams.get(names[0])
    if stream is None:
        return None
    first, newest = (_bytes(stream.positions[at]) if stream.positions else b"" for at in (0, -1))
    return [first, newest, _bytes(stream.last), len(stream.positions)]


def _remove_empty(keys: Keys, names: Sequence[str], _arguments: Sequence[str]) -> int:
    return 0 if keys.streams.get(names[0], Stream()).positions else keys.unlink(names[0])


def _ahead(keys: Keys, names: Sequence[str], arguments: Sequence[str]) -> list[Any]:
    positions = keys.streams.get(names[0], Stream()).positions
    found = [it for it in positions if not arguments[0] or it > Position.parse(arguments[0])]
    return [len(found), _bytes(found[0]) if found else b""]


def _newest(keys: Keys, names: Sequence[str], arguments: Sequence[str]) -> bytes | None:
    newest = keys.streams.get(names[0], Stream()).positions[-int(arguments[0]) :]
    return _bytes(newest[0]) if newest else None


def _remove(keys: Keys, names: Sequence[str], arguments: Sequence[str]) -> int:
    stream = keys.streams.get(names[0])
    if stream is None or stream.last != Position.parse(arguments[0]):
        return 0
    keys.remove_member(names[1], arguments[1])
    return keys.unlink(names[0])


def _mark(keys: Keys, names: Sequence[str], arguments: Sequence[str]) -> int:
    if names[1] not in keys.streams:
        return 0
    members = keys.sets.setdefault(names[0], {})
    score = members[arguments[0]] + 0.001 if arguments[0] in members else time.time() * 1_000
    members[arguments[0]] = round(score, 3)
    return 1


def _caught_up(keys: Keys, names: Sequence[str], arguments: Sequence[str]) -> int:
    members = keys.sets.get(names[0], {})
    seen = zip(arguments[::2], arguments[1::2], strict=True)
    gone = [member for member, score in seen if members.get(member) == float(score)]
    return sum(keys.remove_member(names[0], member) for member in gone)


SCRIPTS: Final[dict[str, _Script]] = {
    exchange.WHOLE: _whole,
    log_names.REMOVE: _remove,
    log_scripts.AHEAD: _ahead,
    log_scripts.ENDS: _ends,
    log_scripts.NEWEST: _newest,
    log_scripts.REMOVE_EMPTY: _remove_empty,
    marks.CAUGHT_UP: _caught_up,
    marks.MARK: _mark,
}
