"""Recording the SQL that is sent."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

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
