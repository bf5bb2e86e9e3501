"""An application on a real uvicorn, over a socket: what clients see when COMMIT fails, and how streams end."""

import contextlib
import json
import signal
import sys
from contextlib import asynccontextmanager

import httpx
import pytest

from example.deployment import free_port
from tests.support import faults
from tests.support.jobs import leased, status_of
from tests.support.opened import opened
from tests.support.processes import PATIENCE, started
from tests.support.servers import until
from veupath_store import Event, Projector, StreamRepository, UserRepository

pytestmark = pytest.mark.large

APP = """
from contextlib import asynccontextmanager
from typing import Annotated
from uuid import UUID
import asyncio
import os

from fastapi import FastAPI, Header
from fastapi.responses import StreamingResponse
from fastapi.sse import EventSourceResponse

from veupath_store import AccountRepository, LogReader, UserRepository
from veupath_store.integrations.fastapi import (
    EveryonesUsers, LastEventId, StoreSession, event_stream, json_lines, register_store, scoped_to
)

async def current_user(x_user: Annotated[UUID, Header()]) -> UUID:
    return x_user

store = scoped_to(current_user)
Me = Annotated[UUID, store.user_id]


@asynccontextmanager
async def lifespan(app):
    print("begun", flush=True)
    yield
    await UserRepository().get_or_create_by_external_id("ended")
    print("ended", flush=True)


app = FastAPI(lifespan=lifespan)
register_store(app, maintain="MAINTAIN" in os.environ)


@app.post("/users")
async def create(users: EveryonesUsers, external_id: str) -> UUID:
    return (await users.create(external_id)).id


async def told(events):
    try:
        async for event in events:
            yield event
    finally:
        await events.aclose()
        print("closed", flush=True)


@app.get("/streams/{stream_id}/events")
async def events(stream_id: UUID, me: Me, last_event_id: LastEventId = None) -> EventSourceResponse:
    events = await LogReader().for_user(me).follow(stream_id, position=last_event_id)
    return event_stream(told(events), keepalive=0.2)


@app.get("/export")
async def export(me: Me) -> StreamingResponse:
    return json_lines(AccountRepository().for_user(me).export(me))
"""


def uvicorn(tmp_path, port, *arguments, **environment):
    """The application in a process."""
    (tmp_path / "app.py").write_text(APP)
    command = (sys.executable, "-W", "error", "-m", "uvicorn", "app:app", "--port", str(port), *arguments)
    return started(*command, cwd=tmp_path, PYTHONPATH=str(tmp_path), **environment)


@asynccontextmanager
async def serving(tmp_path, settings, *arguments, **environment):
    """The process, and a client of it once it is ready."""
    port = free_port()
    environment |= {
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "VEUPATH_STORE_LOG_PREFIX": settings.log_prefix,
    }
    if settings.redis_url:
        environment["REDIS_URL"] = settings.redis_url.get_secret_value()
    async with (
        uvicorn(tmp_path, port, *arguments, **environment) as server,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE) as client,
    ):

        async def ready() -> bool:
            if server.process.returncode is not None:
                raise AssertionError(str(await server.finished()))
            with contextlib.suppress(httpx.TransportError):
                return (await client.get("/readyz")).status_code == 200
            return False

        await until(ready, within=PATIENCE, what="the application is ready")
        yield server, client


async def ended(server):
    server.process.send_signal(signal.SIGTERM)
    finished = await server.finished()
    # uvicorn ends by the signal that ended it, once it has done all that it does at its end.
    assert finished.code in (0, -signal.SIGTERM), finished
    return finished


@pytest.mark.own_database
async def test_a_commit_that_fails_is_an_error_over_the_socket(tmp_path, settings, watcher):
    await faults.check_at_commit(watcher)
    async with serving(tmp_path, settings) as (server, client):
        assert (await client.post("/users", params={"external_id": "curator"})).status_code == 200
        refused = await client.post("/users", params={"external_id": "refused by a trigger"})
        assert (refused.status_code, refused.json()["type"]) == (500, "/problems/commit-refused")

        assert (await client.post("/users", params={"external_id": "after"})).status_code == 200
        finished = await ended(server)
    assert await faults.logins(watcher) == ["after", "curator", "ended"]
    assert "refused by a trigger" not in finished.err  # uvicorn's own lines about requests go to standard output
    assert settings.database_url.get_secret_value() not in finished.out + finished.err


@pytest.mark.with_log
@pytest.mark.own_database
async def test_streams_are_followed_left_and_ended_at_shutdown(tmp_path, settings, watcher):
    async with opened(settings):
        user = await UserRepository().create()
        stream = await StreamRepository().create(user.id, "plasmodb")
        headers = {"X-User": str(user.id)}
        path = f"/streams/{stream.id}/events"
        # Without a timeout, so that uvicorn waits until all streams have ended by themselves.
        async with serving(tmp_path, settings, VEUPATH_STORE_POOL_MAX_SIZE="1") as (server, client):
            async with client.stream("GET", path, headers=headers) as response:
                assert response.headers["content-type"].startswith("text/event-stream")
                lines = response.aiter_lines()
                assert await anext(lines) == "retry: 2000"
                await Projector().append(stream.id, [Event(type="user_message", data={"content": "Find kinases"})])
                seen = {}
                while "id" not in seen:
                    name, _, value = (await anext(lines)).partition(": ")
                    seen[name] = value
                assert (seen["event"], json.loads(seen["data"])) == ("user_message", {"content": "Find kinases"})
                export = await client.get("/export", headers=headers)
                assert {json.loads(line)["table"] for line in export.text.splitlines()} >= {"users", "streams"}
            assert (await server.process.stdout.readuntil(b"closed\n")).count(b"closed") == 1
            foreign = await client.get(path, headers={"X-User": str(stream.id)})
            assert (foreign.status_code, foreign.json()["detail"]) == (404, "No such stream.")

            # Twenty that stay, on one connection, while the application is told to end.
            async with contextlib.AsyncExitStack() as stack:
                limits = httpx.Limits(max_connections=50)
                many = await stack.enter_async_context(
                    httpx.AsyncClient(base_url=client.base_url, limits=limits, timeout=PATIENCE)
                )
                lines = []
                for _ in range(20):
                    response = await stack.enter_async_context(
                        many.stream("GET", path, headers=headers | {"Last-Event-ID": seen["id"]})
                    )
                    lines.append(response.aiter_lines())  # kept: a client that forgets it goes away
                    assert await anext(lines[-1]) == "retry: 2000"
                assert (await client.get("/readyz")).json()["ready"] is True
                finished = await ended(server)
                for rest in lines:
                    assert [line async for line in rest if line.startswith(("id", "data"))] == []  # ended, not torn
        assert finished.out.count("closed") == 20
        assert "Traceback" not in finished.err
        assert "ended" in finished.out
        assert await watcher.fetchval("SELECT count(*) FROM users WHERE external_id = 'ended'") == 1


async def test_a_server_whose_database_is_away_does_not_start(tmp_path):
    away = "postgresql://curator:hunter2@127.0.0.1:9/store"
    async with uvicorn(tmp_path, free_port(), DATABASE_URL=away) as server:
        finished = await server.finished()
    assert finished.code == 3  # uvicorn's own code for a start that failed
    assert "UnavailableError: 127.0.0.1:9: the connection was refused" in finished.err
    assert "hunter2" not in finished.out + finished.err
    assert "begun" not in finished.out


@pytest.mark.with_log
@pytest.mark.own_database
async def test_two_processes_without_a_worker_sweep_and_catch_up_and_end_cleanly(tmp_path, settings):
    async with opened(settings, catch_up=False):
        user = await UserRepository().create()
        async with serving(tmp_path, settings, "--workers", "2", MAINTAIN="1") as (server, _):
            stream = (await StreamRepository().create(user.id, "plasmodb")).id
            await Projector().append(stream, [Event(type="user_message", data={"content": "Find kinases"})])
            lost = [await leased(user, seconds=0.1) for _ in range(20)]

            async def all_done() -> bool:
                swept = [(await status_of(lease)).status == "failed" for lease in lost]
                return all(swept) and (await StreamRepository().get_projection(stream)).message_count == 1

            await until(all_done, within=PATIENCE, what="all is swept up and caught up")
            finished = await ended(server)
        assert "Traceback" not in finished.err
        assert "Task was destroyed" not in finished.err
