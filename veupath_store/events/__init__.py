"""The event log and the projection: what was said, and the rows that it adds up to.

`log/` keeps the events in Redis Streams; `fold/` is a pure function of them; `project/` keeps rows and logs at the same
place: PostgreSQL commits first, and the log is brought up to date afterwards, in order, until it is
(`veupath_store.events.project.catch_up`). `LogReader` reads conversations back.
"""

from veupath_store.events.fold.fold import INITIAL, PROJECTING, State, fold, fold_all
from veupath_store.events.log.entries import Entry, Event, LogKey, Position
from veupath_store.events.log.log import EventLog
from veupath_store.events.project.projector import Projector
from veupath_store.events.project.worker import ProjectionWorker
from veupath_store.events.reader import LogReader

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
