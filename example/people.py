"""Who is asking, and what of the store is theirs: the aliases that all routes use."""

from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Cookie, HTTPException, Response
from pydantic import BaseModel

from veupath_store import (
    ControlSetRepository,
    ExperimentRepository,
    LogReader,
    OperationRepository,
    StreamRepository,
    UserRepository,
)
from veupath_store.integrations.fastapi import scoped_to

COOKIE: Final = "researcher"

router = APIRouter(tags=["people"])


class SignIn(BaseModel):
    """A researcher, by e-mail address."""

    email: str


class Person(BaseModel):
    """Who is signed in."""

    user_id: UUID


async def current_user(researcher: Annotated[str | None, Cookie()] = None) -> UUID:
    """Stands in for an application's own sign-in: it believes the address that the cookie says.

    One indexed read for a user who is known, and no write.
    """
    if researcher is None:
        raise HTTPException(401, "Sign in first.")
    user = await UserRepository().get_or_create_by_external_id(researcher)
    return user.id


store = scoped_to(current_user)

UserId = Annotated[UUID, store.user_id]
Streams = Annotated[StreamRepository, store.streams]
ControlSets = Annotated[ControlSetRepository, store.control_sets]
Experiments = Annotated[ExperimentRepository, store.experiments]
Operations = Annotated[OperationRepository, store.operations]
Logs = Annotated[LogReader, store.log_reader]


@router.post("/sign-in")
async def sign_in(sign_in: SignIn, response: Response) -> Person:
    """Remember who this is."""
    user = await UserRepository().get_or_create_by_external_id(sign_in.email)
    response.set_cookie(COOKIE, sign_in.email, httponly=True, samesite="strict")
    return Person(user_id=user.id)
