"""The demo and the example while their Redis is stopped by a signal: for a moment, and for good."""

import asyncio
import signal
import sys
import time
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from example.client import Researcher
from example.deployment import free_port
from tests.support.checkout import REPOSITORY
from tests.support.processes import started
from tests.support.servers import until
from tests.support.waiting import becomes
from veupath_store.config import StoreSettings

pytestmark = pytest.mark.large

MOMENT = 3.0
"""Seconds: less than a call to the event log may take."""
SOON = 60.0
HOLDS = "The proof holds: nothing acknowledged was lost, nothing undone was seen."


def processes_of(place: Path) -> list[psutil.Process]:
    """All processes that work in a directory, or were told of it."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # it ends at this moment
            is_told = any(str(place) in part for part in process.cmdline())
            if (is_told or Path(process.cwd()).is_relative_to(place)) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


async def redis_of(directory: Path) -> psutil.Process:
    async def servers() -> list[psutil.Process]:
        return [it for it in processes_of(directory) if it.name().startswith(("redis-server", "valkey-server"))]

    await until(servers, SOON, "Redis runs")
    [server] = await servers()
    return server


@contextmanager
def frozen(server: psutil.Process):
    server.suspend()
    try:
        yield
    finally:
        with suppress(psutil.NoSuchProcess):  # what its user then says is of more interest
            server.resume()


async def until_nothing_is_left(place: Path) -> None:
    async def left() -> list[psutil.Process]:
        return processes_of(place)

    await becomes(left, [], "no process is left", SOON)


@asynccontextmanager
async def day_in_its_middle(place: Path):
    """A demo that begins to share control sets, the lines that it has printed, and its Redis."""
    command = (sys.executable, "-m", "demo", "--data", place / "pg")
    async with started(*command, cwd=REPOSITORY, PYTHONIOENCODING="utf-8") as running:
        async with asyncio.timeout(SOON):
            async for line in running.process.stdout:
                if line.startswith(b"3. "):
                    break
        yield running, await redis_of(place / "pg-log")


async def test_a_demo_whose_redis_stops_for_a_moment_ends_with_a_proof_that_holds(place):
    async with day_in_its_middle(place) as (running, server):
        with frozen(server):
            await asyncio.sleep(MOMENT)
        finished = await running.finished(2 * SOON)
    assert (finished.code, HOLDS in finished.out.splitlines()) == (0, True), finished
    await until_nothing_is_left(place)


async def test_a_demo_whose_redis_stops_for_good_says_so_and_leaves_nothing_behind(place):
    async with day_in_its_middle(place) as (running, server):
        server.suspend()
        finished = await running.finished(SOON)
    assert finished.code == 1, finished
    last = " ".join(finished.out.partition("The day broke off: ")[2].split())
    assert "event log" in last
    assert "within the log's timeout" in last
    assert "Traceback" not in finished.err
    await until_nothing_is_left(place)


@asynccontextmanager
async def served(place: Path):
    """The example on embedded servers, and somebody who uses it."""
    port = free_port()
    environment = {
        "DATABASE_URL": f"embedded:{place / 'pg'}",
        "REDIS_URL": f"embedded:{place / 'log'}",
        "EXAMPLE_TOKEN_SECONDS": "0.1",
    }
    command = (sys.executable, "-m", "example", "--port", str(port))
    async with started(*command, cwd=REPOSITORY, **environment) as running:
        async with asyncio.timeout(SOON):
            if not (await running.process.stdout.readline()).startswith(b"Open "):
                raise AssertionError(str(await running.finished()))
        async with Researcher(f"http://127.0.0.1:{port}", "ada@example.org") as ada:
            yield ada, running


async def answer_of(ada: Researcher, stream_id: str, events: list) -> None:
    """Follow a conversation until a question in it is answered."""
    async with aclosing(ada.follow(f"/conversations/{stream_id}/events")) as followed:
        async for event in followed:
            events.append(event)
            if event.event == "assistant_message":
                return


async def test_the_example_answers_on_after_a_moment_and_without_redis_serves_what_needs_none(place):
    async with served(place) as (ada, running):
        conversation = await ada.converse("Kinases")
        await ada.ask(conversation, "Find kinases")
        events: list = []
        answering = asyncio.create_task(answer_of(ada, conversation, events))

        async def is_being_answered() -> bool:
            return any(event.event == "assistant_delta" for event in events)

        await until(is_being_answered, SOON, "an answer is being written")
        server = await redis_of(place / "log")
        with frozen(server):
            await asyncio.sleep(MOMENT)
        async with asyncio.timeout(SOON):
            await answering
        ids = [tuple(map(int, event.id.split("-"))) for event in events]
        assert ids == sorted(set(ids)), "no gap is made of a repeat"
        assert [event.event for event in events].count("assistant_message") == 1

        server.suspend()
        await what_needs_postgresql_only(ada, conversation)
        await what_the_chat_says(ada, conversation)
        running.process.send_signal(signal.SIGINT)
        assert (await running.finished(2 * SOON)).code == 0
    await until_nothing_is_left(place)


async def what_needs_postgresql_only(ada: Researcher, conversation: str) -> None:
    begun = time.monotonic()
    assert (await ada.http.get("/")).status_code == 200
    assert await ada.call("PATCH", f"/conversations/{conversation}", {"name": "Renamed"}) is None
    assert [it["name"] for it in (await ada.call("GET", "/conversations"))["items"]] == ["Renamed"]
    assert (await ada.call("GET", f"/conversations/{conversation}"))["name"] == "Renamed"
    assert await ada.converse("Another")
    await ada.call("POST", "/control-sets", {"name": "mine", "positive_ids": ["PF3D7_1133400"]})
    for path in ("/control-sets", "/experiments", "/operations"):
        await ada.call("GET", path)
    assert time.monotonic() - begun < StoreSettings.model_fields["log_timeout"].default, "none waited for Redis"


async def what_the_chat_says(ada: Researcher, conversation: str) -> None:
    asked = await ada.http.post(f"/conversations/{conversation}/messages", json={"content": "And now?"})
    listed = await ada.http.get(f"/conversations/{conversation}/messages")
    # What a connection was open for may have been appended.
    assert asked.json()["type"] in ("/problems/unavailable", "/problems/outcome-unknown")
    assert listed.json()["type"] == "/problems/unavailable"
    ready = await ada.http.get("/readyz")
    assert (ready.status_code, ready.json()["log"]) == (200, False)
