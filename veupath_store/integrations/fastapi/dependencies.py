"""The session of a request, and repositories on it: of the user whose request it is, or of everyone.

`scoped_to` makes those that are restricted to the user of the request. Those that are called after everyone see every
user's rows: they are for the routes of admins and jobs.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar
from uuid import UUID

from fastapi import Depends
from fastapi.params import Depends as Dependency

from veupath_store.events import LogReader
from veupath_store.inputs.validation import as_uuid
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


@dataclass(frozen=True, kw_only=True)
class ScopedStore:
    """Dependencies of one application, to be written once as ``Annotated[StreamRepository, store.streams]``.

    Each gives the repository of its name, restricted to the user of the request: `users` a `UserRepository` for the
    user's own row, `accounts` an `AccountRepository`. All that a request asks for shares one session, and the user is
    asked for once. `user_id`, a ``UUID``, and `log_reader`, a `LogReader`, need no session.
    """

    user_id: Dependency
    users: Dependency
    streams: Dependency
    control_sets: Dependency
    experiments: Dependency
    gene_sets: Dependency
    operations: Dependency
    accounts: Dependency
    log_reader: Dependency


def scoped_to(current_user: Callable[..., Any] | Dependency) -> ScopedStore:
    """The repositories of the user of a request, restricted to that user in SQL.

    The user comes first: a request that is refused there (a 401) takes no connection.

    Args:
        current_user: The application's own dependency that returns or yields the id of the user, a UUID or its text.
            One that yields and needs the session itself: ``Depends(current_user, scope="function")``; with scopes:
            ``Security(current_user, scopes=[…])``.

    Returns:
        A dependency for each repository.
    """
    # In the default scope, which is the one of the application's own Depends(current_user): they share one call.
    user = current_user if isinstance(current_user, Dependency) else Depends(current_user)

    async def user_id(given: Annotated[UUID | str, user]) -> UUID:
        return as_uuid(given, "user_id")

    owner = Depends(user_id)

    def on_session(kind: type[Repository[Any]]) -> Any:  # noqa: ANN401 - what `Depends` returns
        async def repository(user_id: Annotated[UUID, owner], session: StoreSession) -> Repository[Any]:
            return kind(session).for_user(user_id)

        return Depends(repository, scope="function")

    async def log_reader(user_id: Annotated[UUID, owner]) -> LogReader:
        return LogReader().for_user(user_id)

    return ScopedStore(
        user_id=owner,
        users=on_session(UserRepository),
        streams=on_session(StreamRepository),
        control_sets=on_session(ControlSetRepository),
        experiments=on_session(ExperimentRepository),
        gene_sets=on_session(GeneSetRepository),
        operations=on_session(OperationRepository),
        accounts=on_session(AccountRepository),
        log_reader=Depends(log_reader, scope="function"),
    )
