"""The public names, which `veupath_store` itself has, too."""

from veupath_store.check.readiness import check_readiness
from veupath_store.config import StoreSettings
from veupath_store.engine import start_detached
from veupath_store.errors import (
    ConfigurationError,
    ConflictError,
    InvalidInputError,
    LeaseLostError,
    NotFoundError,
    OperationActiveError,
    OutcomeUnknownError,
    StoreError,
    UnavailableError,
    WriterFullError,
)
from veupath_store.events import Event, LogReader, ProjectionWorker, Projector
from veupath_store.jobs import JobContext, Worker, leased_session, run_under_lease
from veupath_store.repositories import (
    AccountRepository,
    ControlSetRepository,
    ExperimentRepository,
    GeneSetRepository,
    LeaseRepository,
    OperationRepository,
    StreamRepository,
    UserRepository,
)
from veupath_store.session import async_session_factory, close_db, get_db_session, get_engine, init_db
from veupath_store.session.unit_of_work import Session
from veupath_store.values import ExperimentSave, GeneSetSave
from veupath_store.writer import DocumentWriter

__all__ = [
    "AccountRepository",
    "ConfigurationError",
    "ConflictError",
    "ControlSetRepository",
    "DocumentWriter",
    "Event",
    "ExperimentRepository",
    "ExperimentSave",
    "GeneSetRepository",
    "GeneSetSave",
    "InvalidInputError",
    "JobContext",
    "LeaseLostError",
    "LeaseRepository",
    "LogReader",
    "NotFoundError",
    "OperationActiveError",
    "OperationRepository",
    "OutcomeUnknownError",
    "ProjectionWorker",
    "Projector",
    "Session",
    "StoreError",
    "StoreSettings",
    "StreamRepository",
    "UnavailableError",
    "UserRepository",
    "Worker",
    "WriterFullError",
    "async_session_factory",
    "check_readiness",
    "close_db",
    "get_db_session",
    "get_engine",
    "init_db",
    "leased_session",
    "run_under_lease",
    "start_detached",
]
