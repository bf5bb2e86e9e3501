"""Responses that take long: they hold no connection, end as they should, and leave nothing behind."""

import asyncio
import contextlib
import gc
import json
import logging
from datetime import UTC, datetime
from uuid import UUID

import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from fastapi.sse import EventSourceResponse

from tests.support import faults
from tests.support.web import Accounts, Me, SlowClient, as_user, registered, routed, running, serving
from veupath_store import AccountRepository, Event, LogReader, Projector, StreamRepository, UserRepository, errors
from veupath_store.integrations.fastapi import LastEventId, StoreSession, event_stream, json_lines
from veupath_store.session import get_engine
from veupath_store.values import LoggedEvent

OPERATION = UUID(int=9)


def event(number, kind="assistant_delta", data=None):
    return LoggedEvent(
        id=f"{number}-0",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        type=kind,
        operation_id=OPERATION,
        data={"content": f"word {number}"} if data is None else data,
    )


class Source:
    """Events that a test lets come one by one, and what became of the iterator."""

    def __init__(self) -> None:
        self.coming: asyncio.Queue = asyncio.Queue()
        self.tasks: set = set()
        self.closed = asyncio.Event()

    async def events(self):
        try:
            while True:
                self.tasks.add(asyncio.current_task())
                found = await self.coming.get()
                if found is None:
                    return
                if isinstance(found, Exception):
                    raise found
                yield found
        finally:
            await asyncio.sleep(0)  # as what gives a connection back
            self.tasks.add(asyncio.current_task())
            self.closed.set()

    def send(self, *found) -> None:
        for it in found:
            self.coming.put_nowait(it)


@pytest.fixture
def source():
    return Source()


def streaming(events, **options) -> FastAPI:
    async def route() -> EventSourceResponse:
        return event_stream(events, **options)

    return routed(FastAPI(), {"/events": route})


async def test_an_event_is_a_message_with_its_id_type_and_data(source):
    app = streaming(source.events())
    source.send(event(1), event(2, "tool\ncall", {"text": "a\nb", "n": [1.5, None], "é": "\u2028\x85\u2029"}), None)
    async with SlowClient(app, "/events") as client:
        status, headers = await client.head()
        assert status == 200
        assert headers["content-type"].startswith("text/event-stream")
        assert (headers["cache-control"], headers["x-accel-buffering"]) == ("no-cache", "no")
        assert await client.text() == "retry: 2000\n\n"
        assert await client.text() == 'event: assistant_delta\ndata: {"content":"word 1"}\nid: 1-0\n\n'
        name, data, identity = (await client.text()).rstrip().split("\n")
        assert (name, identity) == ("event: tool call", "id: 2-0")
        assert json.loads(data.removeprefix("data: ")) == {"text": "a\nb", "n": [1.5, None], "é": "\u2028\x85\u2029"}
        assert await client.take() == {"type": "http.response.body", "body": b"", "more_body": False}
        assert await client.end() is None
    assert source.closed.is_set()
    assert len(source.tasks) == 1


async def test_a_silent_stream_sends_comments_and_then_goes_on(source):
    async with SlowClient(streaming(source.events(), keepalive=0.05), "/events") as client:
        await client.begin()
        assert [await client.text() for _ in range(3)] == [": ping\n\n"] * 3
        source.send(event(1))
        texts = []
        while not texts or texts[-1].startswith(":"):
            texts.append(await client.text())
        assert texts[-1].endswith("id: 1-0\n\n")
        assert await client.text() == ": ping\n\n"
    assert source.closed.is_set()


@pytest.mark.parametrize("silent", [True, False])
@pytest.mark.parametrize("behind_middleware", [True, False])
async def test_the_iterator_is_closed_when_the_client_goes_away(source, silent, behind_middleware):
    app = streaming(source.events())
    if behind_middleware:
        app.middleware("http")(lambda request, call_next: call_next(request))
    async with SlowClient(app, "/events") as client:
        await client.begin()
        if not silent:
            source.send(*(event(number) for number in range(10)))
            assert "id: 0-0" in await client.text()
    assert source.closed.is_set()
    assert len(source.tasks) == 1


async def test_a_slow_client_lets_the_events_wait_in_the_log(source):
    source.send(*(event(number) for number in range(100)))
    async with SlowClient(streaming(source.events()), "/events") as client:
        await client.begin()
        await client.text()
        await asyncio.sleep(0.05)
        assert source.coming.qsize() >= 97


@pytest.mark.parametrize(
    ("error", "level"),
    [
        (errors.UnavailableError("Redis does not answer."), logging.WARNING),
        (errors.NotFoundError("stream"), logging.INFO),
        (errors.InternalError("A defect."), logging.ERROR),
    ],
    ids=lambda it: type(it).__name__,
)
async def test_an_error_of_the_store_ends_a_stream_quietly_and_is_logged(source, caplog, error, level):
    caplog.set_level(logging.INFO)
    source.send(event(1), error)
    async with SlowClient(streaming(source.events()), "/events") as client:
        await client.begin()
        assert "id: 1-0" in await client.text()
        assert await client.take() == {"type": "http.response.body", "body": b"", "more_body": False}
        assert await client.end() is None
    assert source.closed.is_set()
    assert max(record.levelno for record in caplog.records) == level
    assert type(error).__name__ in caplog.text


async def test_any_other_error_tears_the_stream(source):
    source.send(LookupError("ours"))
    async with SlowClient(streaming(source.events()), "/events") as client:
        await client.begin()
        assert isinstance(await client.end(), LookupError)
    assert source.closed.is_set()


async def next_message(client) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in (await client.text()).splitlines() if line)


@pytest.mark.with_log
async def test_a_browser_that_comes_back_gets_what_it_has_missed_and_then_what_comes(settings):
    async def route(stream_id: UUID, me: Me, last_event_id: LastEventId = None) -> EventSourceResponse:
        return event_stream(await LogReader().for_user(me).follow(stream_id, position=last_event_id))

    narrow = registered(settings=settings.model_copy(update={"pool_max_size": 1}))
    app = routed(narrow, {"/streams/{stream_id}/events": route})
    async with running(app) as client:
        user = await UserRepository().create()
        stream = await StreamRepository().create(user.id, "plasmodb")
        path, projector = f"/streams/{stream.id}/events", Projector()
        ids = await projector.append(stream.id, [Event(type=f"said_{number}", data={}) for number in range(3)])
        async with SlowClient(app, path, as_user(user) | {"Last-Event-ID": ids[1]}) as browser:
            await browser.begin()
            assert await next_message(browser) == {"event": "said_2", "data": "{}", "id": ids[2]}
            appended = await projector.append(stream.id, [Event(type="said_3", data={"content": "Kinases"})])
            assert await next_message(browser) == {
                "event": "said_3",
                "data": '{"content":"Kinases"}',
                "id": appended[0],
            }
            assert (await client.get("/readyz")).json()["pool_in_use"] == 0
        stranger = await UserRepository().create()
        assert (await client.get(path, headers=as_user(stranger))).status_code == 404
        wrong = await client.get(path, headers=as_user(user) | {"Last-Event-ID": "yesterday"})
        assert (wrong.status_code, wrong.headers["Content-Type"]) == (422, "application/problem+json")


async def test_responses_that_are_never_sent_leave_nothing_open(store, user, source):
    async def events(session: StoreSession) -> EventSourceResponse:
        await swallow(session)
        return event_stream(source.events())

    async def lines(session: StoreSession) -> StreamingResponse:
        await swallow(session)
        return json_lines(source.events())

    async def swallow(session):
        with contextlib.suppress(errors.StoreError):
            await session.client.execute_rows("SELECT 1/0")

    async with serving({"/events": events, "/lines": lines}) as client:
        assert [(await client.get(path)).status_code for path in ("/events", "/lines")] == [500, 500]
    gc.collect()  # what is left open warns
    assert not source.tasks


async def filled(user, count=3):
    for number in range(count):
        await StreamRepository().create(user.id, "plasmodb", name=f"number {number}")


async def export(me: Me) -> StreamingResponse:
    return json_lines(AccountRepository().for_user(me).export(me))


async def projections(me: Me) -> StreamingResponse:
    return json_lines(StreamRepository().for_user(me).iterate_projections(me))


async def inside_the_session(me: Me, accounts: Accounts) -> StreamingResponse:
    return json_lines(accounts.export(me))


async def ping(session: StoreSession) -> int:
    return len(await session.client.execute_rows("SELECT 1"))


async def test_an_export_is_one_document_a_line(store, user):
    async with serving({"/export": export, "/projections": projections}) as client:
        nothing = await client.get("/projections", headers=as_user(user))
        assert (nothing.status_code, nothing.content) == (200, b"")
        await filled(user)
        answer = await client.get("/export", headers=as_user(user))
        assert answer.headers["Content-Type"] == "application/x-ndjson"
        assert answer.headers["Cache-Control"] == "no-store"
        found = [json.loads(line) for line in answer.text.splitlines()]
        answer = await client.get("/projections", headers=as_user(user))
        listed = [json.loads(line) for line in answer.text.split("\n")[:-1]]
    assert [line["table"] for line in found].count("streams") == 3
    assert found[0]["row"]["id"] == str(user.id)
    assert {it["name"] for it in listed} == {"number 0", "number 1", "number 2"}


async def test_whatever_json_has_may_be_a_line(store):
    async def found():
        for item in (None, "7", 7, [None]):
            yield item

    async def route() -> StreamingResponse:
        return json_lines(found())

    async with serving(route) as client:
        assert (await client.get("/")).text == "null\n7\n7\n[null]\n"


async def test_no_response_holds_a_connection_while_its_client_is_slow(settings, watcher):
    source = Source()

    async def follow(me):
        """As the log is followed: a connection for one statement, now and then."""
        async for found in source.events():
            assert await StreamRepository().for_user(me).get_by_id(me) is None
            yield found

    async def events(me: Me) -> EventSourceResponse:
        return event_stream(follow(me))

    narrow = registered(settings=settings.model_copy(update={"pool_max_size": 1, "acquire_timeout": 5.0}))
    app = routed(narrow, {"/export": export, "/ping": ping, "/events": events})
    async with running(app) as client:
        user = await UserRepository().create()
        await filled(user)
        async with (
            SlowClient(app, "/export", as_user(user)) as exported,
            SlowClient(app, "/events", as_user(user)) as stream,
        ):
            for slow in (exported, stream):
                await slow.begin()
            for number in range(5):
                source.send(event(number))
                assert f"id: {number}-0" in await stream.text()
                assert (await client.get("/ping")).json() == 1
                assert json.loads(await exported.text())["table"]
                usage = (await get_engine().open()).usage()
                assert (usage.in_use, await faults.idle_in_transaction(watcher)) == (0, 0)
        assert (await client.get("/ping")).json() == 1
    assert source.closed.is_set()


@pytest.mark.without_log
async def test_the_session_of_a_request_is_refused_in_the_body_of_its_response(store, user, caplog):
    async with serving(inside_the_session) as client:
        answer = await client.get("/", headers=as_user(user))
    assert (answer.status_code, answer.json()["type"]) == (500, "about:blank")
    assert "UnitOfWorkError: This unit of work has ended." in caplog.text


async def test_an_error_before_the_first_line_is_answered_and_one_after_it_tears_the_response(store, user, caplog):
    stranger = await UserRepository().create()
    closed = []

    async def failing():
        try:
            yield {"line": 1}
            raise errors.UnavailableError("The server is gone.") from KeyError("hunter2")
        finally:
            closed.append(True)

    async def route() -> StreamingResponse:
        return json_lines(failing())

    app = routed(registered(), {"/export": export, "/failing": route})
    async with running(app) as client:
        await UserRepository().delete(stranger.id)
        assert (await client.get("/export", headers=as_user(stranger))).status_code == 404
        async with SlowClient(app, "/failing") as slow:
            assert (await slow.head())[0] == 200
            assert await slow.text() == '{"line":1}\n'
            torn = await slow.end()
    assert (type(torn).__name__, str(torn)) == (
        "ResponseCutOffError",
        "the response ended before all of it was sent: UnavailableError",
    )
    assert (torn.__cause__, torn.__suppress_context__) == (None, True)
    assert "A response that had begun: UnavailableError" in caplog.text
    assert "hunter2" not in caplog.text
    assert closed == [True]


async def test_an_export_is_closed_when_its_client_goes_away(store, user):
    closed = asyncio.Event()

    async def long():
        try:
            for _ in range(100_000):
                yield "{}"
            raise AssertionError("all of it was made for nobody")
        finally:
            await asyncio.sleep(0)
            closed.set()

    async def route() -> StreamingResponse:
        return json_lines(long())

    app = routed(registered(), route)
    async with running(app):
        async with SlowClient(app, "/") as client:
            await client.head()
            assert await client.text() == "{}\n"
        assert closed.is_set()
