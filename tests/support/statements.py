"""Recording the SQL that is sent."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from veupath_store.engine.statements import Statements

_LOGGER = logging.getLogger("veupath_store.engine")


class _Recorder(logging.Handler):
    def __init__(self, sent: list[str]) -> None:
        super().__init__(logging.DEBUG)
        self._sent = sent

    def emit(self, record: logging.LogRecord) -> None:
        if record.msg == "%s [%d values]" and record.args:
            self._sent.append(str(record.args[0]))


@contextmanager
def recorded() -> Iterator[list[str]]:
    """The statements sent inside the block, in order; BEGIN, COMMIT and savepoints are not among them."""
    sent: list[str] = []
    recorder, level = _Recorder(sent), _LOGGER.level
    _LOGGER.addHandler(recorder)
    _LOGGER.setLevel(logging.DEBUG)
    try:
        yield sent
    finally:
        _LOGGER.removeHandler(recorder)
        _LOGGER.setLevel(level)


@contextmanager
def recorded_with_values() -> Iterator[list[tuple[str, list[Any]]]]:
    """The statements sent inside the block with their values, in order, to be explained afterwards."""
    sent: list[tuple[str, list[Any]]] = []
    run = Statements._run

    async def recording(self: Statements, query: str, values: Sequence[Any], call: Any) -> Any:
        sent.append((query, list(values)))
        return await run(self, query, values, call)

    Statements._run = recording  # type: ignore[method-assign]
    try:
        yield sent
    finally:
        Statements._run = run  # type: ignore[method-assign]
