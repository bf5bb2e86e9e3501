"""The event log of the open store."""

from typing import Final

from veupath_store.events.log import EventLog
from veupath_store.session import get_engine

NO_LOG: Final = (
    "The store has no event log: set REDIS_URL (redis://… for a running server, embedded:PATH for one of its own). "
    "Without one, repositories write the table only."
)


def event_log() -> EventLog | None:
    """The log that ``REDIS_URL`` configures, made on first use; connects to nothing.

    Returns:
        The log, or ``None`` where the store has none: the variable is unset, or empty.

    Raises:
        ConfigurationError: The extra ``events`` is not installed.
        StoreClosedError: The store is closed.
    """
    engine = get_engine()
    url = engine.settings.redis_url
    return engine.resource(EventLog) if url is not None and url.get_secret_value().strip() else None
