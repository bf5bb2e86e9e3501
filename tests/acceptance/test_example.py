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

LEASE = 2.0
SOON = 60.0
"""Seconds that a loaded machine may take for what needs a few."""


@pytest.fixture
def deployed(store, environment, tmp_path):
    """Starts a deployment on the test's database and log."""

    @asynccontextmanager
    async def start(*, workers=1, **disturbances):
        log = tmp_path / "log"
        given = {
            **environment,
            "EXAMPLE_LEASE_SECONDS": str(LEASE),
            "EXAMPLE_TOKEN_SECONDS": "0.02",
            "EXAMPLE_ROUND_SECONDS": "0.05",
            **disturbances,
        }
        try:
            async with deployment(given, workers=workers, log=log) as running, asyncio.timeout(4 * SOON):
                yield running
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

    async def over():
        return (await researcher.call("GET", f"/operations/{operation_id}"))["status"] != "active"

    await until(over, SOON, "the operation has ended")
    return (await researcher.call("GET", f"/operations/{operation_id}"))["status"]


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
    async with deployed() as app, Researcher(app.url, "ada@example.org") as ada:
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
    async with deployed(EXAMPLE_TOKEN_SECONDS="0.01") as app, Researcher(app.url, "ada@example.org") as ada:
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
    async with (
        deployed() as app,
        Researcher(app.url, "ada@example.org") as ada,
        Researcher(app.url, "eve@example.org") as eve,
    ):
        conversation = await ada.converse()
        operation = await ada.ask(conversation, "Find kinases")
        experiment = (await ada.call("POST", "/experiments", {"name": "mine"}))["id"]
        control_set = await ada.call("POST", "/control-sets", {"name": "mine", "positive_ids": ["PF3D7_1133400"]})
        routes = [
            ("GET", f"/conversations/{conversation}", None),
            ("PATCH", f"/conversations/{conversation}", {"name": "hers"}),
            ("DELETE", f"/conversations/{conversation}", None),
            ("POST", f"/conversations/{conversation}/restore", None),
            ("GET", f"/conversations/{conversation}/messages", None),
            ("POST", f"/conversations/{conversation}/messages", {"content": "hers"}),
            ("GET", f"/conversations/{conversation}/events", None),
            ("GET", f"/operations/{operation}", None),
            ("POST", f"/operations/{operation}/cancel", None),
            ("GET", f"/operations/{operation}/events", None),
            ("GET", f"/experiments/{experiment}", None),
            ("PUT", f"/experiments/{experiment}/notes", {"notes": "hers"}),
            ("DELETE", f"/control-sets/{control_set}", None),
        ]
        for method, path, body in routes:
            answer = await eve.http.request(method, path, json=body)
            assert answer.status_code == 404, (method, path, answer.text)
            assert answer.headers["content-type"] == "application/problem+json"
        for path in ("/conversations", "/operations", "/experiments", "/control-sets"):
            assert (await eve.call("GET", path))["items"] == []
        assert len((await ada.call("GET", "/control-sets/containing/PF3D7_1133400"))["items"]) == 1
        async with httpx.AsyncClient(base_url=app.url) as nobody:
            assert (await nobody.get("/conversations")).status_code == 401


async def test_a_second_question_while_one_is_being_answered_is_a_conflict_and_is_not_asked(deployed):
    async with deployed(EXAMPLE_TOKEN_SECONDS="0.1") as app, Researcher(app.url, "ada@example.org") as ada:
        conversation = await ada.converse()
        await ada.ask(conversation, "Find kinases")
        answer = await ada.http.post(f"/conversations/{conversation}/messages", json={"content": "Find phosphatases"})
        assert (answer.status_code, answer.json()["status"]) == (409, 409)
        said = (await ada.call("GET", f"/conversations/{conversation}/messages"))["items"]
        assert [message["content"] for message in said] == ["Find kinases"]


async def test_a_cancel_reaches_the_worker_in_its_own_process(deployed):
    async with (
        deployed(EXAMPLE_TOKEN_SECONDS="0.2", EXAMPLE_ROUND_SECONDS="0.5") as app,
        Researcher(app.url, "ada@example.org") as ada,
    ):
        conversation = await ada.converse()
        operation = await ada.ask(conversation, "Find kinases")
        experiment = (await ada.call("POST", "/experiments", {"name": "long"}))["id"]
        async with aclosing(ada.follow(f"/operations/{experiment}/events")) as progress:
            assert json.loads((await anext(progress)).data)["done"] == 1
        for identity in (operation, experiment):
            await ada.call("POST", f"/operations/{identity}/cancel")
        assert await ended(ada, operation) == "cancelled"
        assert await ended(ada, experiment) == "cancelled"
        stored = await ada.call("GET", f"/experiments/{experiment}")
        assert (stored["status"], len(stored["data"]["scores"]) < 20) == ("cancelled", True)
        assert "assistant_message" not in {event["type"] for event in await shown(conversation)}


async def shown(stream_id):
    page = await LogReader().page_events(stream_id, limit=PAGE)
    return [event.model_dump() for event in page.items]


async def test_a_worker_that_is_killed_in_the_middle_costs_no_answer_and_makes_none_twice(deployed):
    """Killed while it writes an answer and runs an experiment, with its notes of the experiment in the table."""
    async with (
        deployed(EXAMPLE_TOKEN_SECONDS="0.05", EXAMPLE_ROUND_SECONDS="0.1") as app,
        Researcher(app.url, "ada@example.org") as ada,
    ):
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
        assert await ended(ada, operation) == "completed"
        assert await ended(ada, experiment) == "completed"
        events = Counter(event["type"] for event in await shown(conversation))
        assert (events["message_start"], events["assistant_message"]) == (2, 1)
        stored = await ada.call("GET", f"/experiments/{experiment}")
        assert (stored["status"], len(stored["data"]["scores"])) == ("done", 20)
        assert stored["data"]["scores"][: len(before)] == before


async def test_a_web_worker_that_is_killed_is_replaced_and_its_streams_go_on_elsewhere(deployed):
    async with deployed(EXAMPLE_TOKEN_SECONDS="0.1") as app, Researcher(app.url, "ada@example.org") as ada:
        conversations = [await ada.converse() for _ in range(8)]
        for conversation in conversations:
            await ada.ask(conversation, "Find kinases")
        following = [asyncio.create_task(answers(ada, conversation, 1)) for conversation in conversations]
        assert app.web is not None
        before = children(app.web)
        await asyncio.sleep(1)
        psutil.Process(max(before, key=lambda pid: clients_of(pid, app))).kill()
        seen = await asyncio.gather(*following)
        assert seen == [await logged(conversation) for conversation in conversations]
        assert ada.connections > len(conversations)

        async def replaced():
            return len(children(app.web) - before) == 1

        await until(replaced, SOON, "there are two web workers again")


async def test_a_rolling_restart_fails_no_request_and_breaks_no_stream(deployed):
    async with deployed(EXAMPLE_TOKEN_SECONDS="0.15") as app, Researcher(app.url, "ada@example.org") as ada:
        conversations = [await ada.converse() for _ in range(8)]
        for conversation in conversations:
            await ada.ask(conversation, "Find kinases")
        following = [asyncio.create_task(answers(ada, conversation, 1)) for conversation in conversations]
        assert app.web is not None
        before = children(app.web)
        requests = Requests(app.url, "ada@example.org")
        flowing = [asyncio.create_task(requests.flow()) for _ in range(4)]
        app.web.send_signal(signal.SIGHUP)

        async def renewed():
            return len(children(app.web)) == 2 and not children(app.web) & before

        await until(renewed, SOON, "both web workers are new")
        await asyncio.sleep(0.5)
        requests.stop()
        await asyncio.gather(*flowing)
        assert set(requests.statuses) == {200}, requests.statuses
        assert requests.statuses[200] > 20
        assert requests.unanswered < 20
        seen = await asyncio.gather(*following)
        assert seen == [await logged(conversation) for conversation in conversations]
        assert ada.connections > len(conversations)


class Requests:
    """Ordinary requests, each on a connection of its own, until it is enough; how they were answered, and how fast."""

    def __init__(self, url, email):
        self.url, self.email = url, email
        self.statuses = Counter()
        self.seconds = []
        self.unanswered = 0
        self._enough = False

    def stop(self):
        self._enough = True

    async def flow(self):
        loop = asyncio.get_running_loop()
        while not self._enough:
            async with httpx.AsyncClient(base_url=self.url, cookies={"researcher": self.email}, timeout=SOON) as http:
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
    async with (
        deployed(VEUPATH_STORE_POOL_MAX_SIZE="5", EXAMPLE_TOKEN_SECONDS="0.25") as app,
        Researcher(app.url, "ada@example.org") as ada,
    ):
        conversations = [await ada.converse() for _ in range(20)]
        following = [asyncio.create_task(answers(ada, conversations[n % 20], 1)) for n in range(200)]

        async def all_connected():
            return ada.connections >= 200

        await until(all_connected, SOON, "two hundred streams are open")
        for conversation in conversations:
            await ada.ask(conversation, "Find kinases")
        requests = Requests(app.url, "ada@example.org")
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
