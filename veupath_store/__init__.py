"""The persistence layer of PathFinder: Tortoise ORM, asyncpg and aerich on PostgreSQL.

In short:

    await init_db()
    async with async_session_factory() as session:
        user = await UserRepository(session).get_or_create(user_id)
        stream = await StreamRepository(session).for_user(user.id).create(user.id, "plasmodb", name="Kinases")
    await close_db()
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
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

__version__ = "0.2.0"

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

# Imported when they are asked for, what costs least first: the command line imports this package at each start, pytest
# in each run where it is installed, for its plugin, and Tortoise alone takes a third of a second.
_HOMES: Final = (
    *("errors", "config", "values", "engine", "session", "session.unit_of_work", "repositories"),
    *("check.readiness", "events", "jobs", "writer"),
)


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever it names
    if name in __all__:
        for home in _HOMES:
            module = import_module(f"{__name__}.{home}")
            if hasattr(module, name):
                return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
