"""The store in an application's life: its start and end, what is left when one fails, and what it maintains."""

import asyncio
from contextlib import asynccontextmanager
from functools import partial

import pytest
from fastapi import APIRouter, FastAPI
from tortoise.context import get_current_context

from tests.support import faults
from tests.support.jobs import expire, leased
from tests.support.servers import until
from tests.support.web import client_of, registered, running
from veupath_store import (
    Event,
    OperationRepository,
    Projector,
    StoreSettings,
    StreamRepository,
    UserRepository,
    check_readiness,
    close_db,
    get_engine,
    init_db,
    session,
)
from veupath_store.errors import ConfigurationError, SchemaError, UnavailableError
from veupath_store.events.log.entries import LogKey
from veupath_store.events.log.log import required_log
from veupath_store.integrations.fastapi import register_store, registration

pytestmark = pytest.mark.usefixtures("fresh_process")


def assert_nothing_left():
    assert session._process.engine is None
    assert get_current_context() is None


def telling_app(events, **options):
    """An application that tells when its own lifespan begins and ends, and what it can do then."""

    @asynccontextmanager
    async def lifespan(app):
        user = await UserRepository().create()
        get_engine().on_close(closer)
        events.append("begun")
        yield {"first_user": user.id}
        assert await UserRepository().get_by_id(user.id)
        events.append("ended")

    async def closer():
        await UserRepository().create()
        events.append("drained")

    app = FastAPI(lifespan=lifespan)
    register_store(app, **options)
    return app


async def test_the_own_lifespan_uses_the_store_and_keeps_its_state_also_twice_in_a_row(settings, watcher):
    events = []
    app = telling_app(events, settings=settings)
    for _ in range(2):
        async with app.router.lifespan_context(app) as state, client_of(app) as client:
            assert state.keys() == {"first_user"}
            assert app.state._tortoise_context is get_current_context()
            assert await UserRepository().get_by_id(state["first_user"])
            assert events[-1] == "begun"
            answer = await client.get("/readyz")
            assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-store")
            assert answer.json()["ready"] is True
        assert not hasattr(app.state, "_tortoise_context")
        assert_nothing_left()
        await faults.nobody_connected(watcher)
    assert events == ["begun", "ended", "drained"] * 2


async def test_the_environment_is_read_when_the_application_starts(database_url, monkeypatch):
    monkeypatch.delenv("DATABASE_URL", raising=False)
    app = registered()
    with pytest.raises(ConfigurationError, match="DATABASE_URL"):
        async with running(app):
            pass
    assert_nothing_left()
    monkeypatch.setenv("DATABASE_URL", database_url)
    async with running(app) as client:
        assert (await client.get("/readyz")).status_code == 200


async def test_a_start_without_a_server_leaves_nothing_behind(settings, database_url, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://127.0.0.1:9/store")
    events = []
    app = telling_app(events)
    for _ in range(2):
        with pytest.raises(UnavailableError):
            async with running(app):
                pass
        assert_nothing_left()
        assert not hasattr(app.state, "_tortoise_context")
    monkeypatch.setenv("DATABASE_URL", database_url)
    async with running(app):
        pass
    assert events == ["begun", "ended", "drained"]


async def test_a_database_that_is_behind_is_refused_unless_the_schema_is_to_be_made(empty_url):
    settings = StoreSettings(database_url=empty_url)
    with pytest.raises(SchemaError, match="veupath-store migrate"):
        async with running(registered(settings=settings)):
            pass
    assert_nothing_left()
    async with running(registered(settings=settings, create_schema=True)) as client:
        assert (await client.get("/readyz")).json()["pending_migrations"] == []


@pytest.mark.parametrize("when", ["start", "end"])
async def test_an_own_lifespan_that_fails_closes_the_store(settings, when):
    @asynccontextmanager
    async def lifespan(app):
        await UserRepository().create()
        if when == "start":
            raise LookupError(when)
        yield
        raise LookupError(when)

    app = FastAPI(lifespan=lifespan)
    register_store(app, settings=settings)
    for _ in range(2):
        with pytest.raises(LookupError, match=when):
            async with running(app):
                pass
        assert_nothing_left()


async def test_a_store_that_is_open_already_is_used_and_left_open(settings):
    engine = await init_db(settings=settings)
    events = []
    app = telling_app(events, settings=StoreSettings(database_url="postgresql://127.0.0.1:9/store"))
    async with running(app) as client:
        assert get_engine() is engine
        assert (await client.get("/readyz")).status_code == 200
    assert events == ["begun", "ended"]
    await UserRepository().create()
    await close_db()
    assert events == ["begun", "ended", "drained"]


async def test_lifespans_of_routers_and_old_hooks_find_the_store_open(settings):
    found = []

    @asynccontextmanager
    async def of_router(app):
        found.append(await UserRepository().create())
        yield {"of_router": True}

    router = APIRouter(lifespan=of_router)
    app = registered(settings=settings)
    app.include_router(router)
    async with app.router.lifespan_context(app) as state:
        assert state == {"of_router": True}
    old = FastAPI()
    old.router.on_startup.append(UserRepository().create)
    register_store(old, settings=settings)
    async with old.router.lifespan_context(old):
        assert len(found) == 1


async def test_readiness_is_503_while_the_pool_is_exhausted_and_after_the_end_and_nowhere_without_a_path(
    settings, monkeypatch
):
    monkeypatch.setattr(registration, "check_readiness", partial(check_readiness, patience=0.2))
    app = registered(settings=settings.model_copy(update={"pool_max_size": 1}), readiness_path="/health")
    async with running(app) as client:
        async with session.async_session_factory():
            answer = await client.get("/health")
        assert (answer.status_code, answer.headers["Cache-Control"]) == (503, "no-store")
        assert (answer.json()["ready"], answer.json()["pool_in_use"]) == (False, 1)
        assert (await client.get("/readyz")).status_code == 404
    async with client_of(app) as late:
        answer = await late.get("/health")
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/unavailable")
    async with running(registered(settings=settings, readiness_path=None)) as client:
        assert (await client.get("/readyz")).status_code == 404


async def test_an_application_that_has_started_is_refused(settings):
    app = FastAPI()
    async with running(app) as client:
        await client.get("/")
    with pytest.raises(ConfigurationError, match="started already"):
        register_store(app, settings=settings)


# An application that does without a worker process.


def maintainers():
    return [task for task in asyncio.all_tasks() if task.get_name() == "maintenance"]


@pytest.mark.with_log
async def test_an_application_sweeps_catches_up_and_removes_by_itself(settings):
    alone = settings.model_copy(update={"catch_up": False})
    await init_db(settings=alone)
    user = await UserRepository().create()
    lost = await leased(user)
    await expire(lost)
    stream, gone = [(await StreamRepository().create(user.id, "plasmodb")).id for _ in range(2)]
    for identity in (stream, gone):
        await Projector().append(identity, [Event(type="user_message", data={"content": "Find kinases"})])
    await StreamRepository().delete(gone)
    assert (await StreamRepository().get_projection(stream)).message_count == 0
    await close_db()

    async def all_done():
        swept = (await OperationRepository().get_status(lost.operation_id)).status == "failed"
        caught_up = (await StreamRepository().get_projection(stream)).message_count == 1
        return swept and caught_up and not await required_log().read(LogKey.stream(gone), after=None, count=1)

    async with running(registered(settings=alone, maintain=True)):
        await until(all_done, 10, "all is done")
        assert len(maintainers()) == 2
    assert maintainers() == []


async def test_an_application_without_a_log_sweeps_only(settings):
    without = settings.model_copy(update={"redis_url": None})
    async with running(registered(settings=without, maintain=True)):
        assert len(maintainers()) == 1
    assert maintainers() == []


async def test_an_application_maintains_nothing_unless_it_is_asked_to_and_nothing_of_a_store_that_was_open(settings):
    async with running(registered(settings=settings)):
        assert maintainers() == []
    await init_db(settings=settings)
    async with running(registered(maintain=True)):
        assert maintainers() == []
    await close_db()
