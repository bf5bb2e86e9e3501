"""The event log and the projection: what was said, and the rows that it adds up to.

`EventLog` keeps the events in Redis Streams; the fold (`fold`, `fold_all`) is a pure function of them; `Projector` and
`ProjectionWorker` keep the table equal to it; `LogReader` reads conversations back. How a unit of work and its events
are one is told in `veupath_store.events.settlement`.
"""

from veupath_store.events.entries import Entry, Event, Position
from veupath_store.events.fold import INITIAL, PROJECTING, State, fold, fold_all
from veupath_store.events.keys import LogKey
from veupath_store.events.log import EventLog
from veupath_store.events.projector import Projector
from veupath_store.events.reading import LogReader
from veupath_store.events.worker import ProjectionWorker

__all__ = [
    "INITIAL",
    "PROJECTING",
    "Entry",
    "Event",
    "EventLog",
    "LogKey",
    "LogReader",
    "Position",
    "ProjectionWorker",
    "Projector",
    "State",
    "fold",
    "fold_all",
]
