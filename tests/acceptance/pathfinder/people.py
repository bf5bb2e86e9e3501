"""Who is asking: a guest by a cookie, who may sign in with a mail address later and stays the same account."""

from typing import Annotated
from uuid import UUID, uuid4

from fastapi import APIRouter, Cookie, HTTPException, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from veupath_store import (
    AccountRepository,
    LogReader,
    OperationRepository,
    StreamRepository,
    UserRepository,
)
from veupath_store.integrations.fastapi import json_lines, scoped_to
from veupath_store.values import PurgeMode, PurgeReport

router = APIRouter(tags=["people"])


class SignIn(BaseModel):
    """A mail address that an identity provider has confirmed."""

    email: str


async def current_user(guest: Annotated[UUID | None, Cookie()] = None) -> UUID:
    """Know the user of a request: one indexed read, and no write, for one who is known."""
    if guest is None:
        raise HTTPException(401, "Sign in first.")
    return (await UserRepository().get_or_create(guest)).id


store = scoped_to(current_user)

UserId = Annotated[UUID, store.user_id]
Streams = Annotated[StreamRepository, store.streams]
Operations = Annotated[OperationRepository, store.operations]
Logs = Annotated[LogReader, store.log_reader]


@router.post("/guest")
async def visit(response: Response) -> UUID:
    """Begin as a guest."""
    user = await UserRepository().get_or_create(uuid4())
    response.set_cookie("guest", str(user.id))
    return user.id


@router.post("/sign-in")
async def sign_in(sign_in: SignIn, response: Response, guest: Annotated[UUID | None, Cookie()] = None) -> UUID:
    """Sign in; a guest keeps what they have."""
    user = await UserRepository().get_or_create(guest or uuid4(), external_id=sign_in.email)
    response.set_cookie("guest", str(user.id))
    return user.id


@router.get("/me/export")
async def export(me: UserId) -> StreamingResponse:
    """All of a user's data, as JSON lines."""
    return json_lines(AccountRepository().for_user(me).export(me))


@router.delete("/me/data")
async def delete_my_data(me: UserId, *, keep_strategies: bool = False) -> PurgeReport:
    """Delete all that a user has; the account stays."""
    mode = PurgeMode.DISMISS if keep_strategies else PurgeMode.DELETE
    return await AccountRepository().for_user(me).purge(me, mode=mode, keep_account=True)
