"""An event log of a test's own, looked at from beside it."""

from contextlib import contextmanager
from typing import NamedTuple

from tests.support.redis_servers import client, new_prefix, remove_keys
from veupath_store.config import StoreSettings
from veupath_store.events.log.entries import Entry, Event, Position


class AnyLog(NamedTuple):
    """Where a log is, and a client of one's own."""

    url: str
    prefix: str
    beside: object

    @property
    def settings(self) -> StoreSettings:
        return StoreSettings(database_url="postgresql://nowhere/store", redis_url=self.url, log_prefix=self.prefix)


@contextmanager
def redis_log(url: str):
    prefix = new_prefix()
    with client(url) as beside:
        yield AnyLog(url, prefix, beside)
    remove_keys(url, prefix)


def delta(**data) -> Event:
    return Event(type="assistant_delta", data=data)


def positions(entries: list[Entry]) -> list[Position]:
    return [entry.position for entry in entries]
