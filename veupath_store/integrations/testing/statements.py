"""Recording the SQL that the store sends."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Final, TypeAlias

from veupath_store.engine.announcing import ANNOUNCE_TASK
from veupath_store.models.unlogged import CATCH_UP_TASK

_LOGGER: Final = logging.getLogger("veupath_store.engine")
_MESSAGE: Final = "%s [%d values]"
_SHOWN: Final = 300
"""Characters of a statement that a failure shows."""


class RecordedStatements(list[str]):
    """The statements that were sent, in order, as texts with ``$1`` where a value is bound. No value is kept.

    BEGIN, COMMIT and savepoints are not among them.
    """

    @property
    def statements(self) -> list[str]:
        """A copy, as a plain list."""
        return list(self)

    def expect(self, *, exactly: int | None = None, at_most: int | None = None) -> None:
        """Fail with an `AssertionError` that lists them unless that many were sent."""
        sent = len(self)
        if exactly is not None and sent != exactly:
            raise AssertionError(self._listed(f"{exactly} were expected"))
        if at_most is not None and sent > at_most:
            raise AssertionError(self._listed(f"at most {at_most} were expected"))

    def _listed(self, expected: str) -> str:
        lines = [f"{number}. {_shown(text)}" for number, text in enumerate(self, 1)]
        return "\n".join([f"{len(self)} statements were sent, and {expected}:", *lines])


def _shown(statement: str) -> str:
    line = " ".join(statement.split())
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}…"


def _is_in_background() -> bool:
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return False
    return task is not None and task.get_name() in (CATCH_UP_TASK, ANNOUNCE_TASK)


class _Recorder(logging.Handler):
    def __init__(self, sent: RecordedStatements) -> None:
        super().__init__(logging.DEBUG)
        self._sent = sent

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the statement's text."""
        if record.msg == _MESSAGE and isinstance(record.args, tuple) and not _is_in_background():
            self._sent.append(str(record.args[0]))


@contextmanager
def recorded(*, exactly: int | None = None, at_most: int | None = None) -> Iterator[RecordedStatements]:
    """Record what this process sends inside the block, whichever of its tasks sends it.

    What is sent to bring the event log up to date in the background is not recorded: it comes when it comes.

    Args:
        exactly: How many statements there must be when the block has ended.
        at_most: How many there may be.

    Yields:
        The statements, which grow meanwhile.

    Raises:
        AssertionError: On leaving: there were others; it lists them.
    """
    sent = RecordedStatements()
    recorder, level = _Recorder(sent), _LOGGER.level
    _LOGGER.addHandler(recorder)
    _LOGGER.setLevel(logging.DEBUG)
    try:
        yield sent
    finally:
        _LOGGER.removeHandler(recorder)
        _LOGGER.setLevel(level)
    sent.expect(exactly=exactly, at_most=at_most)


Recorder: TypeAlias = Callable[..., AbstractContextManager[RecordedStatements]]
"""What the fixture ``store_statements`` is: `recorded`."""
