"""The session of a request, and repositories on it, as annotations of parameters.

The repositories here see every user's rows: they are for the routes of admins and jobs. `scoped_to` makes those that
are restricted to the user of the request.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

from fastapi import Depends

from veupath_store.events import LogReader
from veupath_store.repositories import (
    AccountRepository,
    ControlSetRepository,
    ExperimentRepository,
    GeneSetRepository,
    OperationRepository,
    StreamRepository,
    UserRepository,
)
from veupath_store.repositories.base import Repository
from veupath_store.session import get_db_session
from veupath_store.session.unit_of_work import Session

R = TypeVar("R", bound=Repository[Any])

StoreSession = Annotated[Session, Depends(get_db_session, scope="function")]
"""The unit of work of a request, one for all its dependencies: committed before the response is sent, and rolled back
when the route raises, an ``HTTPException`` included."""


def _on_session(kind: type[R]) -> Callable[[Session], Awaitable[R]]:
    # async, although it awaits nothing: FastAPI runs other functions in a thread.
    async def repository(session: StoreSession) -> R:
        return kind(session)

    return repository


async def _every_log() -> LogReader:
    return LogReader()


EveryonesUsers = Annotated[UserRepository, Depends(_on_session(UserRepository), scope="function")]
EveryonesStreams = Annotated[StreamRepository, Depends(_on_session(StreamRepository), scope="function")]
EveryonesControlSets = Annotated[ControlSetRepository, Depends(_on_session(ControlSetRepository), scope="function")]
EveryonesExperiments = Annotated[ExperimentRepository, Depends(_on_session(ExperimentRepository), scope="function")]
EveryonesGeneSets = Annotated[GeneSetRepository, Depends(_on_session(GeneSetRepository), scope="function")]
EveryonesOperations = Annotated[OperationRepository, Depends(_on_session(OperationRepository), scope="function")]
EveryonesAccounts = Annotated[AccountRepository, Depends(_on_session(AccountRepository), scope="function")]
EveryonesLogs = Annotated[LogReader, Depends(_every_log, scope="function")]
