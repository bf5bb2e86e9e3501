"""What requests get: one session, committed before the response; everybody's repositories, and those of who asks."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any
from uuid import UUID

import pytest
from fastapi import BackgroundTasks, Body, Depends, HTTPException, Security
from fastapi.exceptions import DependencyScopeError
from fastapi.responses import JSONResponse
from fastapi.security import SecurityScopes
from pydantic import BaseModel

from tests.support import faults
from tests.support.public import owned_repositories as repositories
from tests.support.web import (
    Accounts,
    ControlSets,
    Logs,
    Streams,
    as_user,
    current_user,
    registered,
    routed,
    running,
    scoped,
    serving,
)
from veupath_store import (
    ControlSetRepository,
    Event,
    NotFoundError,
    Projector,
    Session,
    StreamRepository,
    UserRepository,
    async_session_factory,
    get_db_session,
    get_engine,
)
from veupath_store.engine import client as engine_client
from veupath_store.integrations import fastapi as integration
from veupath_store.integrations.fastapi import EveryonesLogs, EveryonesStreams, EveryonesUsers, StoreSession, scoped_to


@pytest.fixture
async def lent(store, monkeypatch):
    """How often a connection of the pool was lent."""
    calls = []
    lend = engine_client.StoreClient.acquire

    async def counted(self):
        calls.append(asyncio.current_task())
        return await lend(self)

    monkeypatch.setattr(engine_client.StoreClient, "acquire", counted)
    return calls


async def test_all_dependencies_of_a_request_share_one_session_and_one_connection(store, user, lent):
    async def route(
        session: StoreSession,
        streams: Streams,
        control_sets: ControlSets,
        accounts: Accounts,
        everyone: EveryonesStreams,
        users: EveryonesUsers,
    ) -> int:
        made = await streams.create(user.id, "plasmodb")
        assert await everyone.get_by_id(made.id)
        assert await users.get_by_id(user.id)
        of = {repository._session for repository in (streams, control_sets, accounts, everyone, users)}
        assert of == {session}
        return len(await session.client.execute_rows("SELECT 1"))

    async with serving(route) as client:
        assert (await client.get("/", headers=as_user(user))).json() == 1
    assert len(lent) == 1


def showing(dependency):
    async def route(repository: dependency) -> list[str]:
        return [type(repository).__name__, str(repository._owner)]

    return route


EVERYONES = {
    f"/{name}": showing(getattr(integration, name))
    for name in integration.__all__
    if name.startswith("Everyones") and name != "EveryonesLogs"
}
SCOPED = {
    f"/{name}": showing(Annotated[Any, getattr(scoped, name)])
    for name in vars(scoped)
    if name not in ("user_id", "log_reader")
}


@pytest.mark.parametrize(("routes", "is_scoped"), [(EVERYONES, False), (SCOPED, True)])
async def test_every_repository_is_there_for_everyones_rows_and_for_those_of_who_asks(store, user, routes, is_scoped):
    async with serving(routes) as client:
        found = [(await client.get(path, headers=as_user(user))).json() for path in routes]
    owner = str(user.id) if is_scoped else "None"
    assert sorted(found) == [[repository.__name__, owner] for repository in repositories()]


@pytest.mark.with_log
async def test_log_readers_need_no_session(store, user, lent):
    stream = await StreamRepository().create(user.id, "plasmodb")

    async def route(logs: Logs, every: EveryonesLogs) -> list[str]:
        assert (logs._owner, every._owner) == (user.id, None)
        return [event.type for event in (await logs.page_events(stream.id)).items]

    async with serving(route) as client:
        await Projector().append(stream.id, [Event(type="user_message", data={"content": "Find kinases"})])
        lent.clear()
        assert (await client.get("/", headers=as_user(user))).json() == ["user_message"]
        assert len(lent) == 1  # whose conversation it is


async def test_another_users_rows_look_like_none(store, user, stranger):
    stream = await StreamRepository().create(user.id, "plasmodb")

    async def delete(stream_id: UUID, streams: Streams) -> bool:
        return await streams.delete(stream_id)

    async def get(stream_id: UUID, streams: Streams) -> str:
        if (found := await streams.get_by_id(stream_id)) is None:
            raise NotFoundError("stream")
        return str(found.id)

    async with serving({"/delete/{stream_id}": delete, "/{stream_id}": get}) as client:
        foreign = await client.get(f"/{stream.id}", headers=as_user(stranger))
        missing = await client.get(f"/{user.id}", headers=as_user(stranger))
        assert foreign.status_code == missing.status_code == 404
        assert foreign.content == missing.content
        assert (await client.delete(f"/delete/{stream.id}", headers=as_user(stranger))).json() is False
        assert (await client.get(f"/{stream.id}", headers=as_user(user))).json() == str(stream.id)


async def test_a_request_without_a_user_or_with_an_id_that_is_none_takes_no_connection(store, lent):
    async def anonymous(streams: Streams) -> None:
        raise AssertionError

    async def nobody(streams: Annotated[StreamRepository, scoped_to(lambda: "nobody").streams]) -> None:
        raise AssertionError

    async with serving({"/anonymous": anonymous, "/nobody": nobody}) as client:
        assert (await client.get("/anonymous")).status_code == 401
        answer = await client.get("/nobody")
    assert (answer.status_code, answer.json()["path"]) == (422, "user_id")
    assert not lent


async def test_what_raises_rolls_back_and_a_returned_response_commits(store, user):
    async def raised(streams: Streams) -> None:
        await streams.create(user.id, "plasmodb", name="raised")
        raise HTTPException(418)

    async def returned(streams: Streams) -> JSONResponse:
        await streams.create(user.id, "plasmodb", name="returned")
        return JSONResponse({}, status_code=418)

    async def cannot_be_made(streams: Streams) -> int:
        await streams.create(user.id, "plasmodb", name="cannot be made")
        return "not a number"

    async with serving({"/raised": raised, "/returned": returned, "/cannot-be-made": cannot_be_made}) as client:
        assert (await client.post("/raised", headers=as_user(user))).status_code == 418
        assert (await client.post("/returned", headers=as_user(user))).status_code == 418
        with pytest.raises(Exception, match="validation error"):
            await client.post("/cannot-be-made", headers=as_user(user))
    assert [it.name for it in await StreamRepository().list_projections(user.id)] == ["returned"]


async def test_background_tasks_run_after_the_commit_and_without_its_connection(store, user, watcher):
    seen = []

    async def later(stream_id):
        seen.append(await watcher.fetchval("SELECT count(*) FROM streams WHERE id = $1", stream_id))
        seen.append(await faults.idle_in_transaction(watcher))
        async with async_session_factory() as session:
            seen.append((await StreamRepository(session).get_by_id(stream_id)).user_id)

    async def route(streams: Streams, background: BackgroundTasks) -> None:
        background.add_task(later, (await streams.create(user.id, "plasmodb")).id)

    async with serving(route) as client:
        assert (await client.post("/", headers=as_user(user))).status_code == 200
    assert seen == [1, 0, user.id]


class Name(BaseModel):
    name: str


async def test_no_connection_is_taken_while_a_body_arrives_nor_for_a_wrong_one(store, user, lent, watcher):
    async def route(body: Annotated[Name, Body()], streams: Streams) -> str:
        return (await streams.create(user.id, "plasmodb", name=body.name)).user_id.hex

    async def slowly():
        yield b'{"name": '
        assert not lent
        yield b'"Kinases"}'

    json = {"content-type": "application/json"}
    async with serving(route) as client:
        answer = await client.post("/", content=slowly(), headers=as_user(user) | json)
        assert (answer.status_code, len(lent)) == (200, 1)
        # No JSON, and JSON that does not fit: FastAPI asks the model last, after the session is there.
        for wrong in (b"{", b"{}"):
            assert (await client.post("/", content=wrong, headers=as_user(user) | json)).status_code == 422
            assert len(lent) == 1
    assert await faults.idle_in_transaction(watcher) == 0
    assert get_engine().is_open
    await faults.assert_pool_complete()


def a_function() -> UUID:
    return UUID(int=7)


def a_generator() -> Iterator[str]:
    yield str(UUID(int=7))


async def an_async_generator() -> AsyncIterator[UUID]:
    yield UUID(int=7)


async def with_the_session(users: EveryonesUsers) -> UUID:
    return (await users.get_or_create(UUID(int=7))).id


async def yielding_with_the_session(users: EveryonesUsers) -> AsyncIterator[UUID]:
    yield (await users.get_or_create(UUID(int=7))).id


async def of_scopes(scopes: SecurityScopes) -> UUID:
    assert scopes.scopes == ["read"]
    return UUID(int=7)


@pytest.mark.parametrize(
    "user",
    [
        a_function,
        a_generator,
        an_async_generator,
        with_the_session,
        Depends(yielding_with_the_session, scope="function"),
        Security(of_scopes, scopes=["read"]),
    ],
    ids=lambda user: getattr(user, "dependency", user).__name__,
)
async def test_the_user_comes_from_any_kind_of_dependency(store, user, lent):
    mine = scoped_to(user)

    async def route(
        users: Annotated[UserRepository, mine.users],
        sets: Annotated[ControlSetRepository, mine.control_sets],
        me: Annotated[UUID, mine.user_id],
    ) -> UUID:
        assert users._session is sets._session
        assert users._owner == sets._owner == me
        await users.get_by_id(me)
        return me

    async with serving(route) as client:
        assert (await client.get("/")).json() == str(UUID(int=7))
    assert len(lent) == 1


async def test_a_user_that_yields_in_the_scope_of_the_request_cannot_use_the_session_and_is_told(store):
    async def route(streams: Annotated[StreamRepository, scoped_to(yielding_with_the_session).streams]) -> None:
        """Refused when it is declared."""

    with pytest.raises(DependencyScopeError, match=r'"yielding_with_the_session" has a scope of "request"'):
        serving(route)


async def test_the_user_is_asked_for_once_in_a_request(store, user):
    asked = []

    async def counted() -> UUID:
        asked.append(user.id)
        return user.id

    mine = scoped_to(counted)

    async def route(
        streams: Annotated[StreamRepository, mine.streams],
        sets: Annotated[ControlSetRepository, mine.control_sets],
        me: Annotated[UUID, Depends(counted)],
    ) -> None:
        assert streams._owner == sets._owner == me

    async with serving(route) as client:
        await client.get("/")
    assert len(asked) == 1


async def test_tests_of_an_application_can_replace_the_user_and_the_session(store, user):
    own = []

    async def own_session() -> AsyncIterator[Session]:
        async with async_session_factory() as session:
            own.append(session)
            yield session

    async def route(streams: Streams, session: StoreSession) -> str:
        assert session is streams._session is own[0]
        return str((await streams.create(user.id, "plasmodb")).user_id)

    app = routed(registered(), route)
    app.dependency_overrides = {current_user: lambda: user.id, get_db_session: own_session}
    async with running(app) as client:
        assert (await client.post("/")).json() == str(user.id)
    assert len(await StreamRepository().list_projections(user.id)) == 1
