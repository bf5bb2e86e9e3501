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
    running,
    scoped,
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
from veupath_store.integrations.fastapi import (
    EveryonesAccounts,
    EveryonesControlSets,
    EveryonesExperiments,
    EveryonesGeneSets,
    EveryonesLogs,
    EveryonesOperations,
    EveryonesStreams,
    EveryonesUsers,
    StoreSession,
    scoped_to,
)


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
    app = registered()

    @app.get("/")
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

    async with running(app) as client:
        assert (await client.get("/", headers=as_user(user))).json() == 1
    assert len(lent) == 1


async def test_there_is_one_of_everyones_for_each_repository(store):
    app = registered()

    @app.get("/")
    async def route(
        one: EveryonesUsers,
        two: EveryonesStreams,
        three: EveryonesControlSets,
        four: EveryonesExperiments,
        five: EveryonesGeneSets,
        six: EveryonesOperations,
        seven: EveryonesAccounts,
    ) -> list[str]:
        found = (one, two, three, four, five, six, seven)
        assert {repository._owner for repository in found} == {None}
        return sorted(type(repository).__name__ for repository in found)

    async with running(app) as client:
        assert (await client.get("/")).json() == [repository.__name__ for repository in repositories()]
    assert len([name for name in integration.__all__ if name.startswith("Everyones")]) == len(repositories()) + 1


async def test_scoped_dependencies_cover_every_repository_and_are_restricted(store, user):
    app = registered()
    names = [name for name in vars(scoped) if name not in ("user_id", "log_reader")]
    for name in names:

        @app.get(f"/{name}")
        async def route(repository: Annotated[Any, getattr(scoped, name)]) -> list[str]:
            return [type(repository).__name__, str(repository._owner)]

    async with running(app) as client:
        found = [(await client.get(f"/{name}", headers=as_user(user))).json() for name in names]
    assert sorted(found) == [[repository.__name__, str(user.id)] for repository in repositories()]


@pytest.mark.with_log
async def test_log_readers_need_no_session(store, user, lent):
    stream = await StreamRepository().create(user.id, "plasmodb")
    app = registered()

    @app.get("/logs")
    async def route(logs: Logs, every: EveryonesLogs) -> list[str]:
        assert (logs._owner, every._owner) == (user.id, None)
        return [event.type for event in (await logs.page_events(stream.id)).items]

    async with running(app) as client:
        await Projector().append(stream.id, [Event(type="user_message", data={"content": "Find kinases"})])
        lent.clear()
        assert (await client.get("/logs", headers=as_user(user))).json() == ["user_message"]
        assert len(lent) == 1  # whose conversation it is


async def test_another_users_rows_look_like_none(store, user, stranger):
    stream = await StreamRepository().create(user.id, "plasmodb")
    app = registered()

    @app.delete("/streams/{stream_id}")
    async def delete(stream_id: UUID, streams: Streams) -> bool:
        return await streams.delete(stream_id)

    @app.get("/streams/{stream_id}")
    async def get(stream_id: UUID, streams: Streams) -> str:
        if (found := await streams.get_by_id(stream_id)) is None:
            raise NotFoundError("stream")
        return str(found.id)

    async with running(app) as client:
        foreign = await client.get(f"/streams/{stream.id}", headers=as_user(stranger))
        missing = await client.get(f"/streams/{user.id}", headers=as_user(stranger))
        assert foreign.status_code == missing.status_code == 404
        assert foreign.content == missing.content
        assert (await client.delete(f"/streams/{stream.id}", headers=as_user(stranger))).json() is False
        assert (await client.get(f"/streams/{stream.id}", headers=as_user(user))).json() == str(stream.id)


async def test_a_request_without_a_user_takes_no_connection(store, lent):
    app = registered()

    @app.get("/")
    async def route(streams: Streams) -> None:
        raise AssertionError

    async with running(app) as client:
        assert (await client.get("/")).status_code == 401
    assert not lent


async def test_an_http_exception_rolls_back_and_a_returned_response_commits(store, user):
    app = registered()

    @app.post("/raised")
    async def raised(streams: Streams) -> None:
        await streams.create(user.id, "plasmodb", name="raised")
        raise HTTPException(418)

    @app.post("/returned")
    async def returned(streams: Streams) -> JSONResponse:
        await streams.create(user.id, "plasmodb", name="returned")
        return JSONResponse({}, status_code=418)

    async with running(app) as client:
        assert (await client.post("/raised", headers=as_user(user))).status_code == 418
        assert (await client.post("/returned", headers=as_user(user))).status_code == 418
    assert [it.name for it in await StreamRepository().list_projections(user.id)] == ["returned"]


async def test_a_response_that_cannot_be_made_rolls_back(store, user):
    app = registered()

    @app.post("/")
    async def route(streams: Streams) -> int:
        await streams.create(user.id, "plasmodb")
        return "not a number"

    async with running(app) as client:
        with pytest.raises(Exception, match="validation error"):
            await client.post("/", headers=as_user(user))
    assert not await StreamRepository().list_projections(user.id)


async def test_background_tasks_run_after_the_commit_and_without_its_connection(store, user, watcher):
    seen = []
    app = registered()

    async def later(stream_id):
        seen.append(await watcher.fetchval("SELECT count(*) FROM streams WHERE id = $1", stream_id))
        seen.append(await faults.idle_in_transaction(watcher))
        async with async_session_factory() as session:
            seen.append((await StreamRepository(session).get_by_id(stream_id)).user_id)

    @app.post("/")
    async def route(streams: Streams, background: BackgroundTasks) -> None:
        background.add_task(later, (await streams.create(user.id, "plasmodb")).id)

    async with running(app) as client:
        assert (await client.post("/", headers=as_user(user))).status_code == 200
    assert seen == [1, 0, user.id]


class Name(BaseModel):
    name: str


async def test_no_connection_is_taken_while_a_body_arrives_nor_for_a_wrong_one(store, user, lent, watcher):
    app = registered()

    @app.post("/")
    async def route(body: Annotated[Name, Body()], streams: Streams) -> str:
        return (await streams.create(user.id, "plasmodb", name=body.name)).user_id.hex

    async def slowly():
        yield b'{"name": '
        assert not lent
        yield b'"Kinases"}'

    json = {"content-type": "application/json"}
    async with running(app) as client:
        answer = await client.post("/", content=slowly(), headers=as_user(user) | json)
        assert (answer.status_code, len(lent)) == (200, 1)
        assert (await client.post("/", content=b"{", headers=as_user(user) | json)).status_code == 422
        assert len(lent) == 1  # no JSON
        assert (await client.post("/", json={}, headers=as_user(user))).status_code == 422
        assert len(lent) == 1  # JSON that does not fit: FastAPI asks the model last, after the session is there
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
    app = registered()
    mine = scoped_to(user)

    @app.get("/")
    async def route(
        users: Annotated[UserRepository, mine.users],
        sets: Annotated[ControlSetRepository, mine.control_sets],
        me: Annotated[UUID, mine.user_id],
    ) -> UUID:
        assert users._session is sets._session
        assert users._owner == sets._owner == me
        await users.get_by_id(me)
        return me

    async with running(app) as client:
        assert (await client.get("/")).json() == str(UUID(int=7))
    assert len(lent) == 1


async def test_a_user_that_yields_in_the_scope_of_the_request_cannot_use_the_session_and_is_told(store):
    app = registered()
    mine = scoped_to(yielding_with_the_session)
    with pytest.raises(DependencyScopeError, match=r'"yielding_with_the_session" has a scope of "request"'):

        @app.get("/")
        async def route(streams: Annotated[StreamRepository, mine.streams]) -> None:
            """Refused when it is declared."""


async def test_the_user_is_asked_for_once_in_a_request(store, user):
    asked = []

    async def counted() -> UUID:
        asked.append(user.id)
        return user.id

    app = registered()
    mine = scoped_to(counted)

    @app.get("/")
    async def route(
        streams: Annotated[StreamRepository, mine.streams],
        sets: Annotated[ControlSetRepository, mine.control_sets],
        me: Annotated[UUID, Depends(counted)],
    ) -> None:
        assert streams._owner == sets._owner == me

    async with running(app) as client:
        await client.get("/")
    assert len(asked) == 1


async def test_tests_of_an_application_can_replace_the_user_and_the_session(store, user):
    app = registered()
    own = []

    async def own_session() -> AsyncIterator[Session]:
        async with async_session_factory() as session:
            own.append(session)
            yield session

    @app.post("/")
    async def route(streams: Streams, session: StoreSession) -> str:
        assert session is streams._session is own[0]
        return str((await streams.create(user.id, "plasmodb")).user_id)

    app.dependency_overrides = {current_user: lambda: user.id, get_db_session: own_session}
    async with running(app) as client:
        assert (await client.post("/")).json() == str(user.id)
    assert len(await StreamRepository().list_projections(user.id)) == 1


async def test_an_id_that_is_none_is_refused(store, lent):
    app = registered()
    mine = scoped_to(lambda: "nobody")

    @app.get("/")
    async def route(streams: Annotated[StreamRepository, mine.streams]) -> None:
        raise AssertionError

    async with running(app) as client:
        answer = await client.get("/")
    assert (answer.status_code, answer.json()["path"]) == (422, "user_id")
    assert not lent


async def test_concurrent_requests_have_sessions_of_their_own(settings):
    app = registered(settings=settings.model_copy(update={"pool_max_size": 4}))
    together = asyncio.Barrier(4)

    @app.post("/")
    async def route(users: EveryonesUsers) -> int:
        await users.create()
        await together.wait()
        return id(users._session)

    async with running(app) as client:
        answers = await asyncio.gather(*(client.post("/") for _ in range(4)))
    assert len({answer.json() for answer in answers}) == 4
