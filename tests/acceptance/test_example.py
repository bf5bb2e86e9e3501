"""The example application: two web workers and job workers, driven over sockets, disturbed, and counted."""

import asyncio
import contextlib
import json
import signal
import sys
from collections import Counter
from contextlib import aclosing, asynccontextmanager

import httpx
import psutil
import pytest

from example.client import Researcher
from example.deployment import deployment, free_port
from tests.support.checkout import REPOSITORY
from tests.support.processes import run, started
from tests.support.servers import until
from veupath_store import LogReader
from veupath_store.inputs.limits import PAGE

pytestmark = [pytest.mark.large, pytest.mark.with_log]

ADA = "ada@example.org"
LEASE = 2.0
SOON = 60.0
"""Seconds that a loaded machine may take for what needs a few."""


@pytest.fixture
def deployed(store, environment, tmp_path):
    """Starts a deployment on the test's database and log, with a researcher who is signed in."""

    @asynccontextmanager
    async def start(**disturbances):
        log = tmp_path / "log"
        given = {
            **environment,
            "EXAMPLE_LEASE_SECONDS": str(LEASE),
            "EXAMPLE_TOKEN_SECONDS": "0.02",
            "EXAMPLE_ROUND_SECONDS": "0.05",
            **disturbances,
        }
        try:
            async with (
                deployment(given, workers=1, log=log) as running,
                asyncio.timeout(4 * SOON),
                Researcher(running.url, ADA) as ada,
            ):
                yield running, ada
        finally:
            sys.stdout.write(log.read_text())  # shown when the test fails

    return start


async def logged(stream_id):
    """The ids of all that a conversation's log shows."""
    ids, position, at_end = [], None, False
    while not at_end:
        page = await LogReader().page_events(stream_id, position=position, limit=PAGE)
        ids += [event.id for event in page.items]
        position, at_end = page.position, page.at_end
    return ids


async def answers(researcher, stream_id, how_many, last=""):
    """The ids of what is streamed until so many answers have come, over as many connections as that takes."""
    seen, answered = [], 0
    async with asyncio.timeout(SOON), aclosing(researcher.follow(f"/conversations/{stream_id}/events", last)) as events:
        async for event in events:
            seen.append(event.id)
            answered += event.event == "assistant_message"
            if answered == how_many:
                return seen
    return seen


async def ended(researcher, operation_id):
    """How an operation ended."""
    status = "active"

    async def over():
        nonlocal status
        status = (await researcher.call("GET", f"/operations/{operation_id}"))["status"]
        return status != "active"

    await until(over, SOON, "the operation has ended")
    return status


def children(process):
    """The process ids of the web workers: of uvicorn's children, those that serve."""
    serving = set()
    for child in psutil.Process(process.pid).children():
        with contextlib.suppress(psutil.Error):  # it ends at this moment
            if any("spawn_main" in part for part in child.cmdline()):
                serving.add(child.pid)
    return serving


async def test_the_tour_in_the_terminal_finds_that_all_its_promises_are_kept(environment):
    finished = await run(sys.executable, "-m", "example", "--show", cwd=REPOSITORY, **environment)
    assert finished.code == 0, finished
    _, _, promises = finished.out.partition("What was promised")
    ends = [line.split()[-1] for line in promises.splitlines() if line.strip()]
    assert [end for end in ends if end in ("yes", "no")] == ["yes"] * 4


async def test_it_serves_its_page_until_it_is_told_to_end(environment):
    port = str(free_port())
    async with started(sys.executable, "-m", "example", "--port", port, cwd=REPOSITORY, **environment) as running:
        line = await running.process.stdout.readline()
        assert line.decode() == f"Open http://127.0.0.1:{port}/ in a browser. Ctrl-C ends it.\n"
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as browser:
            page = await browser.get("/")
            assert page.headers["content-type"].startswith("text/html")
            assert "A small PathFinder" in page.text
        running.process.send_signal(signal.SIGINT)
        assert (await running.finished()).code == 0


def clients_of(pid, app):
    """How many clients a web worker serves now: the kernel may give all of them to one."""
    port = int(app.url.rpartition(":")[2])
    found = psutil.Process(pid).net_connections("tcp")
    return sum(it.status == psutil.CONN_ESTABLISHED and it.laddr.port == port for it in found)


async def test_from_a_question_to_its_answer_with_the_strategy_that_it_built(deployed):
    async with deployed() as (_, ada):
        conversation = await ada.converse("Kinases")
        operation = await ada.ask(conversation, "Find kinases")
        await answers(ada, conversation, 1)
        assert await ended(ada, operation) == "completed"

        async def caught_up():
            return (await ada.call("GET", f"/conversations/{conversation}"))["message_count"] == 2

        await until(caught_up, SOON, "both messages are counted")
        opened = await ada.call("GET", f"/conversations/{conversation}")
        assert opened["name"] == "Find kinases"
        assert [step["displayName"] for step in opened["steps"]] == ["Text", "RNA-Seq", "Both"]
        sidebar = (await ada.call("GET", "/conversations"))["items"]
        assert [(item["name"], item["step_count"]) for item in sidebar] == [("Find kinases", 3)]
        said = (await ada.call("GET", f"/conversations/{conversation}/messages"))["items"]
        assert [message["role"] for message in said] == ["assistant", "user"]


async def test_a_stream_that_is_cut_again_and_again_has_no_gap_and_no_repeat(deployed):
    async with deployed(EXAMPLE_TOKEN_SECONDS="0.01") as (_, ada):
        conversation = await ada.converse()
        await ada.ask(conversation, "Find kinases")
        seen, last, answered = [], "", False
        while not answered:
            async with aclosing(ada.follow_once(f"/conversations/{conversation}/events", last)) as events:
                async for event in events:
                    seen.append(event.id)
                    last, answered = event.id, event.event == "assistant_message"
                    if answered or len(seen) % (ada.connections % 5 + 1) == 0:
                        break
        assert seen == await logged(conversation)
        assert ada.connections > 10


async def test_what_is_anothers_looks_missing_on_every_route(deployed):
    async with deployed() as (app, ada), Researcher(app.url, "eve@example.org") as eve:
        conversation = await ada.converse()
        operation = await ada.ask(conversation, "Find kinases")
        experiment = (await ada.call("POST", "/experiments", {"name": "mine"}))["id"]
        control_set = await ada.call("POST", "/control-sets", {"name": "mine", "positive_ids": ["PF3D7_1133400"]})
        chat, job, run = f"/conversations/{conversation}", f"/operations/{operation}", f"/experiments/{experiment}"
        hers = {
            f"PATCH {chat}": {"name": "hers"},
            f"POST {chat}/messages": {"content": "hers"},
            f"PUT {run}/notes": {"notes": "hers"},
        }
        read = [f"GET {path}" for path in (chat, f"{chat}/messages", f"{chat}/events", job, f"{job}/events", run)]
        change = [f"POST {chat}/restore", f"POST {job}/cancel", f"DELETE {chat}", f"DELETE /control-sets/{control_set}"]
        for route, body in {**hers, **dict.fromkeys([*read, *change])}.items():
            answer = await eve.http.request(*route.split(), json=body)
            assert answer.status_code == 404, (route, answer.text)
            assert answer.headers["content-type"] == "application/problem+json"
        for path in ("/conversations", "/operations", "/experiments", "/control-sets"):
            assert (await eve.call("GET", path))["items"] == []
        assert len((await ada.call("GET", "/control-sets/containing/PF3D7_1133400"))["items"]) == 1
        async with httpx.AsyncClient(base_url=app.url) as nobody:
            assert (await nobody.get("/conversations")).status_code == 401


async def test_a_second_question_while_one_is_being_answered_is_a_conflict_and_is_not_asked(deployed):
    async with deployed(EXAMPLE_TOKEN_SECONDS="0.1") as (_, ada):
        conversation = await ada.converse()
        await ada.ask(conversation, "Find kinases")
        answer = await ada.http.post(f"/conversations/{conversation}/messages", json={"content": "Find phosphatases"})
        assert (answer.status_code, answer.json()["status"]) == (409, 409)
        said = (await ada.call("GET", f"/conversations/{conversation}/messages"))["items"]
        assert [message["content"] for message in said] == ["Find kinases"]


async def test_a_cancel_reaches_the_worker_in_its_own_process(deployed):
    async with deployed(EXAMPLE_TOKEN_SECONDS="0.2", EXAMPLE_ROUND_SECONDS="0.5") as (_, ada):
        conversation = await ada.converse()
        operation = await ada.ask(conversation, "Find kinases")
        experiment = (await ada.call("POST", "/experiments", {"name": "long"}))["id"]
        async with aclosing(ada.follow(f"/operations/{experiment}/events")) as progress:
            assert json.loads((await anext(progress)).data)["done"] == 1
        for identity in (operation, experiment):
            await ada.call("POST", f"/operations/{identity}/cancel")
        assert [await ended(ada, identity) for identity in (operation, experiment)] == ["cancelled"] * 2
        stored = await ada.call("GET", f"/experiments/{experiment}")
        assert (stored["status"], len(stored["data"]["scores"]) < 20) == ("cancelled", True)
        assert not (await types_of(conversation))["assistant_message"]


async def types_of(stream_id):
    """How many events of each type a conversation has."""
    page = await LogReader().page_events(stream_id, limit=PAGE)
    return Counter(event.type for event in page.items)


async def test_a_worker_that_is_killed_in_the_middle_costs_no_answer_and_makes_none_twice(deployed):
    """Killed while it writes an answer and runs an experiment, with its notes of the experiment in the table."""
    async with deployed(EXAMPLE_TOKEN_SECONDS="0.05", EXAMPLE_ROUND_SECONDS="0.1") as (app, ada):
        conversation = await ada.converse()
        operation = await ada.ask(conversation, "Find kinases")
        experiment = (await ada.call("POST", "/experiments", {"name": "long"}))["id"]
        async with aclosing(ada.follow(f"/operations/{experiment}/events")) as progress:
            async for event in progress:
                if json.loads(event.data)["done"] == 5:
                    break
        before = (await ada.call("GET", f"/experiments/{experiment}"))["data"]["scores"]
        [lost] = app.workers
        lost.kill()
        await lost.wait()
        await app.start_worker()
        assert [await ended(ada, identity) for identity in (operation, experiment)] == ["completed"] * 2
        events = await types_of(conversation)
        assert (events["message_start"], events["assistant_message"]) == (2, 1)
        stored = await ada.call("GET", f"/experiments/{experiment}")
        assert (stored["status"], len(stored["data"]["scores"])) == ("done", 20)
        assert stored["data"]["scores"][: len(before)] == before


@asynccontextmanager
async def eight_streams(deployed, token_seconds):
    """Eight answers that are streamed, have no gap whatever the block does, and need more connections for it."""
    async with deployed(EXAMPLE_TOKEN_SECONDS=token_seconds) as (app, ada):
        conversations = [await ada.converse() for _ in range(8)]
        for conversation in conversations:
            await ada.ask(conversation, "Find kinases")
        following = [asyncio.create_task(answers(ada, conversation, 1)) for conversation in conversations]
        yield app, children(app.web)
        assert await asyncio.gather(*following) == [await logged(conversation) for conversation in conversations]
        assert ada.connections > len(conversations)


async def web_workers_are(app, is_so):
    """Wait until the web workers are as they should be."""

    async def they_are():
        return is_so(children(app.web))

    await until(they_are, SOON, "the web workers are new")


async def test_a_web_worker_that_is_killed_is_replaced_and_its_streams_go_on_elsewhere(deployed):
    async with eight_streams(deployed, "0.1") as (app, before):
        await asyncio.sleep(1)
        psutil.Process(max(before, key=lambda pid: clients_of(pid, app))).kill()
        await web_workers_are(app, lambda now: len(now - before) == 1)


async def test_a_rolling_restart_fails_no_request_and_breaks_no_stream(deployed):
    async with eight_streams(deployed, "0.15") as (app, before):
        requests = Requests(app.url)
        flowing = [asyncio.create_task(requests.flow()) for _ in range(4)]
        app.web.send_signal(signal.SIGHUP)
        await web_workers_are(app, lambda now: len(now) == 2 and not now & before)
        await asyncio.sleep(0.5)
        requests.stop()
        await asyncio.gather(*flowing)
        assert set(requests.statuses) == {200}, requests.statuses
        assert requests.statuses[200] > 20
        assert requests.unanswered < 20


class Requests:
    """Ordinary requests, each on a connection of its own, until it is enough; how they were answered, and how fast."""

    def __init__(self, url):
        self.url = url
        self.statuses = Counter()
        self.seconds = []
        self.unanswered = 0
        self._enough = False

    def stop(self):
        self._enough = True

    async def flow(self):
        loop = asyncio.get_running_loop()
        while not self._enough:
            async with httpx.AsyncClient(base_url=self.url, cookies={"researcher": ADA}, timeout=SOON) as http:
                started = loop.time()
                try:
                    self.statuses[(await http.get("/conversations")).status_code] += 1
                except httpx.RemoteProtocolError:
                    # uvicorn closes a connection that it has accepted and not yet read from when it is told to end. A
                    # proxy, or a browser, sends such a request again: nothing has been done for it.
                    self.unanswered += 1
                    continue
                self.seconds.append(loop.time() - started)


async def test_two_hundred_streams_leave_a_pool_of_five_to_ordinary_requests(deployed, watcher, record_property):
    async with deployed(VEUPATH_STORE_POOL_MAX_SIZE="5", EXAMPLE_TOKEN_SECONDS="0.25") as (app, ada):
        conversations = [await ada.converse() for _ in range(20)]
        following = [asyncio.create_task(answers(ada, conversations[n % 20], 1)) for n in range(200)]

        async def all_connected():
            return ada.connections >= 200

        await until(all_connected, SOON, "two hundred streams are open")
        for conversation in conversations:
            await ada.ask(conversation, "Find kinases")
        requests = Requests(app.url)
        flowing = [asyncio.create_task(requests.flow()) for _ in range(8)]
        most = 0
        while not all(task.done() for task in following):
            most = max(most, await watcher.fetchval(_CONNECTIONS))
            await asyncio.sleep(0.1)
        requests.stop()
        await asyncio.gather(*flowing)
        expected = {conversation: await logged(conversation) for conversation in conversations}
        for number, task in enumerate(following):
            assert task.result() == expected[conversations[number % 20]]
        assert set(requests.statuses) == {200}, requests.statuses
        ordered = sorted(requests.seconds)
        p50, p99 = ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100]
        record_property("figures", f"{len(ordered)} requests, p50 {p50:.3f} s, p99 {p99:.3f} s, {most} connections")
        assert len(ordered) > 50
        assert p99 < 5
        # Two web workers and a job worker, with five each at most, and the test's own.
        assert most <= 3 * 5 + 10
        assert ada.connections == 200, "no stream was interrupted"


_CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
