"""`scoped_to`: the repositories of the user whose request it is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Protocol, Self, TypeVar
from uuid import UUID

from fastapi import Depends
from fastapi.params import Depends as Dependency

from veupath_store.events import LogReader
from veupath_store.inputs.validation import as_uuid
from veupath_store.integrations.fastapi.dependencies import StoreSession
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


class _Scoped(Protocol):
    def for_user(self, user_id: UUID | str) -> Self:
        """The same, for one user."""


S = TypeVar("S", bound=_Scoped)


@dataclass(frozen=True, kw_only=True)
class ScopedStore:
    """Dependencies of one application, to be written once as ``Annotated[StreamRepository, store.streams]``.

    All that a request asks for shares one session, and the user of the request is asked for once.

    Attributes:
        user_id: The id of the user, a ``UUID``. Needs no session.
        users: `UserRepository`, for the user's own row.
        streams: `StreamRepository`.
        control_sets: `ControlSetRepository`.
        experiments: `ExperimentRepository`.
        gene_sets: `GeneSetRepository`.
        operations: `OperationRepository`.
        accounts: `AccountRepository`.
        log_reader: `LogReader`. Needs no session.
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

    def on_session(kind: type[Repository[Any]]) -> Dependency:
        async def repository(user_id: Annotated[UUID, owner], session: StoreSession) -> Repository[Any]:
            return kind(session).for_user(user_id)

        return _in_function(repository)

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
        log_reader=_in_function(log_reader),
    )


def _in_function(dependency: Callable[..., Any]) -> Dependency:
    made: Dependency = Depends(dependency, scope="function")
    return made
