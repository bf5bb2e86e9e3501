"""The event log of the open store."""

from typing import Final

from veupath_store.errors import ConfigurationError
from veupath_store.events.log.log import EventLog
from veupath_store.session import get_engine
from veupath_store.session.unit_of_work import Session

NO_LOG: Final = (
    "The store has no event log: set REDIS_URL (redis://… for a running server, embedded:PATH for one of its own). "
    "Without one, repositories write the table only."
)


def required_log() -> EventLog:
    """As `event_log`, where nothing can be done without one.

    Raises:
        ConfigurationError: The store has no log, or the extra ``events`` is not installed.
    """
    log = event_log()
    if log is None:
        raise ConfigurationError(NO_LOG)
    return log


def event_log(session: Session | None = None) -> EventLog | None:
    """The log that ``REDIS_URL`` configures, made on first use; connects to nothing.

    Args:
        session: A unit of work, whose log is wanted: it may go on while the store is being closed.

    Returns:
        The log, or ``None`` where the store has none: the variable is unset, or empty.

    Raises:
        ConfigurationError: The extra ``events`` is not installed.
    """
    engine = get_engine() if session is None else session.engine
    url = engine.settings.redis_url
    return engine.resource(EventLog) if url is not None and url.get_secret_value().strip() else None
