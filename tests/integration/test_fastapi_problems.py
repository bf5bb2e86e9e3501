"""What clients and logs see of errors: the right status, and nothing that is stored, sent or configured."""

import asyncio
import logging
from uuid import UUID

import pytest
from fastapi import APIRouter, FastAPI, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse
from tortoise.exceptions import IntegrityError

from tests.support import faults
from tests.support.servers import until
from tests.support.web import Streams, as_user, registered, routed, running, serving
from veupath_store import UserRepository, async_session_factory, errors
from veupath_store.engine.connect import is_lost
from veupath_store.integrations.fastapi import (
    PROBLEM_RESPONSES,
    EveryonesUsers,
    StoreSession,
    install_problem_handlers,
    problem_of,
    register_store,
)
from veupath_store.models import User

SECRET = "curator@example.org"


@pytest.fixture
def logged(caplog):
    """All that is logged at INFO and above, tracebacks included."""
    caplog.set_level(logging.INFO)
    formatter = logging.Formatter("%(name)s %(levelname)s %(message)s")
    return lambda: "\n".join(formatter.format(record) for record in caplog.records)


def raising(make):
    """A route that raises what it is told to."""

    async def route(name: str) -> None:
        raise make()

    return {"/{name}": route}


def assert_problem(answer, status, name):
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["Cache-Control"] == "no-store"
    document = answer.json()
    assert document["type"] == (f"/problems/{name}" if name else "about:blank")
    assert document["status"] == status
    assert ("Retry-After" in answer.headers) is (status == 503)
    return document


async def test_a_unique_violation_shows_its_constraint_and_no_value(store, logged):
    async def through_the_store(users: EveryonesUsers) -> None:
        await users.create(SECRET)

    async def through_tortoise(session: StoreSession) -> None:
        await User.create(external_id=SECRET, using_db=session.client)

    async with serving({"/store": through_the_store, "/tortoise": through_tortoise}) as client:
        assert (await client.post("/store")).status_code == 200
        for path in ("/store", "/tortoise"):
            answer = await client.post(path)
            document = assert_problem(answer, 409, "conflict")
            assert document["constraint"] == "users_external_id_key"
            assert SECRET not in answer.text
            assert "path" not in document
    assert SECRET not in logged()


async def test_an_error_of_tortoise_is_logged_without_what_it_says(store, logged):
    async with serving(raising(lambda: IntegrityError(f"Key (external_id)=({SECRET}) already exists."))) as client:
        answer = await client.get(f"/{SECRET}")
    assert_problem(answer, 500, None)
    assert SECRET not in answer.text
    shown = logged().replace(f"http://store/{SECRET}", "")  # which is httpx's line about its own request
    assert "GET /{name} failed" in shown
    assert "tortoise.exceptions.IntegrityError" in shown
    assert "raise make()" in shown
    assert SECRET not in shown


async def test_a_defect_is_logged_with_its_place_and_answered_with_nothing(store, logged):
    async def route(session: StoreSession) -> None:
        await session.client.execute_rows("SELECT 1/0 FROM no_such_table")

    async with serving(route) as client:
        answer = await client.get("/")
    assert "no_such_table" not in answer.text
    assert_problem(answer, 500, None)
    assert "veupath_store.errors.SchemaError: The database lacks something" in logged()
    assert "test_fastapi_problems.py" in logged()


@pytest.mark.own_database
@pytest.mark.parametrize(("how", "status", "name"), [("refused", 500, "commit-refused"), ("raised", 500, None)])
async def test_a_commit_that_fails_is_never_a_200(store, watcher, logged, how, status, name):
    await faults.check_at_commit(watcher)
    if how == "raised":
        await watcher.execute("""
            CREATE OR REPLACE FUNCTION at_commit() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION 'not %', NEW.external_id; END $$""")

    async def route(users: EveryonesUsers) -> None:
        await users.create(f"refused {SECRET}")

    async with serving(route) as client:
        answer = await client.post("/")
    assert_problem(answer, status, name)
    assert SECRET not in answer.text + logged()
    assert await watcher.fetchval("SELECT count(*) FROM users") == 0


@pytest.mark.own_database
async def test_a_connection_that_is_lost_before_commit_is_a_503_and_during_commit_a_500(store, watcher, logged):
    await faults.check_at_commit(watcher)

    async def before(users: EveryonesUsers, session: StoreSession) -> None:
        await users.create("before")
        pid = await faults.client_pid(session.client)
        await watcher.fetchval("SELECT pg_terminate_backend($1, 10000)", pid)
        await until(lambda: is_lost(session.client._connection), within=15, what="the connection is known to be lost")

    async def during(users: EveryonesUsers) -> None:
        await users.create("slow")

    async with serving({"/before": before, "/during": during}) as client:
        assert_problem(await client.post("/before"), 503, "unavailable")
        answer = asyncio.create_task(client.post("/during"))
        await until(lambda: faults.committing(watcher), within=10, what="COMMIT is under way")
        await faults.kill_backends(watcher)
        assert_problem(await answer, 500, "outcome-unknown")
    assert "POST /during failed" in logged()
    assert "WARNING POST /before: UnavailableError" in logged()


async def test_an_exhausted_pool_is_a_503_that_names_no_server(settings, logged):
    narrow = settings.model_copy(update={"pool_max_size": 1, "acquire_timeout": 0.2})

    async def route(users: EveryonesUsers) -> None:
        await users.create()
        raise AssertionError

    async with serving(route, settings=narrow) as client, async_session_factory():
        document = assert_problem(await client.get("/"), 503, "unavailable")
    assert "pool" not in document["detail"]
    assert "No connection was free" in logged()
    assert "Traceback" not in logged()


async def test_handlers_of_the_application_stay_whenever_they_are_added(store):
    def saying(status):
        async def handler(request, error):
            return PlainTextResponse(f"{type(error).__name__}", status_code=status)

        return handler

    early = {errors.NotFoundError: saying(410), IntegrityError: saying(410), RequestValidationError: saying(400)}
    app = FastAPI(exception_handlers=early)
    register_store(app)
    app.add_exception_handler(errors.UnavailableError, saying(411))
    kinds = {
        "missing": (lambda: errors.NotFoundError("stream"), 410),
        "conflict": (lambda: errors.ConflictError("It is there already."), 409),
        "away": (lambda: errors.WriterFullError(1), 411),
        "raw": (lambda: IntegrityError("no error of the store"), 410),
    }

    async def route(name: str) -> None:
        raise kinds[name][0]()

    async def identified(stream_id: UUID) -> None:
        """Never called with what is no UUID."""

    async with running(routed(app, {"/ids/{stream_id}": identified, "/{name}": route})) as client:
        found = {name: (await client.get(f"/{name}")).status_code for name in (*kinds, "ids/none")}
    assert found == {name: status for name, (_, status) in kinds.items()} | {"ids/none": 400}


async def test_an_own_handler_for_the_whole_tree_stays(store):
    async def own(request, error):
        return PlainTextResponse(problem_of(error).title, status_code=499)

    app = routed(FastAPI(), raising(lambda: errors.StaleVersionError("gene set")))
    app.add_exception_handler(errors.StoreError, own)
    register_store(app)
    async with running(app) as client:
        answer = await client.get("/x")
    assert (answer.status_code, answer.text) == (499, "Changed by somebody else")


async def test_a_mounted_application_can_have_the_handlers_too(store):
    inner = routed(FastAPI(), raising(lambda: errors.NotFoundError("user")))
    install_problem_handlers(inner)
    app = registered()
    app.mount("/inner", inner)
    async with running(app) as client:
        assert_problem(await client.get("/inner/x"), 404, "not-found")


@pytest.mark.parametrize("accepted", [False, True])
async def test_an_error_of_a_web_socket_closes_it(store, accepted):
    app = registered()

    @app.websocket("/")
    async def route(websocket: WebSocket) -> None:
        if accepted:
            await websocket.accept()
        raise errors.UnavailableError("Nothing was saved.")

    sent = []

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        sent.append(message)

    scope = {"type": "websocket", "path": "/", "headers": [], "query_string": b"", "subprotocols": [], "root_path": ""}
    await app(scope, receive, send)
    assert sent[-1] == {"type": "websocket.close", "code": 1013, "reason": "Unavailable for now"}
    assert len(sent) == (2 if accepted else 1)


def test_problems_are_in_the_openapi_document():
    app = FastAPI()
    router = APIRouter(responses=PROBLEM_RESPONSES)

    @router.get("/streams/{stream_id}")
    async def route(stream_id: int, users: EveryonesUsers) -> None:
        """A route."""

    app.include_router(router)
    register_store(app)
    document = app.openapi()
    assert list(document["paths"]) == ["/streams/{stream_id}"]
    found = document["paths"]["/streams/{stream_id}"]["get"]
    assert found["responses"].keys() == {"200", "404", "409", "422", "500", "503"}
    shown = found["responses"]["409"]["content"]["application/problem+json"]["schema"]
    assert shown["properties"].keys() == {"type", "title", "status", "detail", "path", "constraint"}
    assert "Retry-After" in found["responses"]["503"]["headers"]
    assert [it["name"] for it in found["parameters"]] == ["stream_id"]


async def test_what_is_no_error_of_the_store_stays_the_applications(store):
    async with serving(raising(lambda: LookupError("ours"))) as client:
        with pytest.raises(LookupError, match="ours"):
            await client.get("/x")
    await UserRepository().create()


async def test_a_malformed_id_in_a_path_looks_like_a_missing_one_whoever_refuses_it(store, user):
    async def parsed(stream_id: UUID, streams: Streams) -> None:
        if await streams.get_by_id(stream_id) is None:
            raise errors.NotFoundError("stream")

    async def plain(stream_id: str, streams: Streams) -> None:
        if await streams.get_by_id(stream_id) is None:
            raise errors.NotFoundError("stream")

    async def named(stream_id: str, streams: Streams) -> None:
        await streams.get_projection(stream_id)
        raise errors.NotFoundError("stream")

    routes = {"parsed": parsed, "plain": plain, "named": named}
    async with serving({f"/{path}/{{stream_id}}": route for path, route in routes.items()}) as client:
        for path in routes:
            missing = await client.get(f"/{path}/{user.id}", headers=as_user(user))
            malformed = await client.get(f"/{path}/not-an-id", headers=as_user(user))
            assert_problem(malformed, 404, "not-found")
            assert malformed.content == missing.content


async def test_other_refusals_of_a_request_stay_422(store, user):
    async def route(stream_id: UUID, streams: Streams, limit: int = 1, experiment_id: str = "") -> None:
        await streams.find_by_experiment(user.id, experiment_id)

    async with serving({"/{stream_id}": route}) as client:
        answer = await client.get(f"/{user.id}?limit=many", headers=as_user(user))
        assert (answer.status_code, answer.headers["Content-Type"]) == (422, "application/json")
        answer = await client.get(f"/{user.id}?experiment_id=none", headers=as_user(user))
        assert assert_problem(answer, 422, "invalid-input")["path"] == "experiment_id"


async def test_problems_carry_members_of_the_application_and_keep_their_own(store):
    def members(connection, error):
        own = {"code": type(error).__name__, "status": 200, "path": connection.url.path}
        return {"request": connection.headers["x-request"], **own}

    async def route(stream_id: UUID) -> None:
        raise errors.ConflictError("taken", constraint="streams_pkey")

    async with serving({"/{stream_id}": route}, problem_members=members) as client:
        for path, status, name, code in (
            (UUID(int=1), 409, "conflict", "ConflictError"),
            ("x", 404, "not-found", "NotFoundError"),
        ):
            document = assert_problem(await client.get(f"/{path}", headers={"X-Request": "r7"}), status, name)
            assert (document["request"], document["code"], document["status"]) == ("r7", code, status)
            assert document["path"] == f"/{path}", "the problem itself has none"
