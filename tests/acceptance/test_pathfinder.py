"""PathFinder on the package, by HTTP: two web processes and a worker; then the same without a worker."""

import ast
import asyncio
import json
import os
from contextlib import aclosing
from pathlib import Path

import pytest
from httpx_sse import EventSource

from tests.acceptance.pathfinder import deployed as deployed_module
from tests.acceptance.pathfinder.deployed import PATIENCE, browsers, deployed
from tests.support.servers import until

pytestmark = pytest.mark.with_log
PUBLIC = {"veupath_store", "veupath_store.integrations.fastapi", "veupath_store.repositories", "veupath_store.values"}


@pytest.fixture(params=[True, False], ids=["with a worker", "without a worker"])
async def pathfinder(request, store, environment):
    async with (
        deployed({**os.environ, **environment}, has_worker=request.param) as running,
        asyncio.timeout(3 * PATIENCE),
    ):
        yield running


async def ok(answer):
    """An answer's JSON; it must be no error."""
    answer = await answer
    assert answer.is_success, (answer.request.url, answer.status_code, answer.text)
    return answer.json() if answer.content else None


async def signed_in(browser, email):
    return await ok(browser.post("/sign-in", json={"email": email}))


def other_tab(browser, tab):
    """The same person, in a tab that another process serves."""
    tab.cookies.update(browser.cookies)


async def events_until(browser, path, last_type, seen=(), last=""):
    """What an EventSource shows until an event of a type, over as many connections as it takes."""
    seen = list(seen)
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                headers = {"Last-Event-ID": last} if last else {}
                async with browser.stream("GET", path, headers=headers) as answer:
                    assert answer.status_code == 200
                    async with aclosing(EventSource(answer).aiter_sse()) as events:
                        async for event in events:
                            if event.id:
                                last = event.id
                                seen.append(event)
                            if event.event == last_type:
                                return seen
            except OSError:
                raise
            except Exception as exc:
                if type(exc).__module__.partition(".")[0] not in ("httpx", "httpcore"):
                    raise
                await asyncio.sleep(0.1)  # the process was restarted; the browser connects again


async def answered(browser, asked):
    """Wait until a question is answered; the conversation then."""
    stream = asked["stream_id"]
    await events_until(browser, f"/chats/{stream}/events", "assistant_message")
    return await settled(browser, stream, lambda chat: chat["root_step_id"] == "both")


async def settled(browser, stream, is_so):
    """The conversation, as soon as it is so."""
    async with asyncio.timeout(PATIENCE):
        while True:
            chat = await ok(browser.get(f"/chats/{stream}"))
            if is_so(chat):
                return chat
            await asyncio.sleep(0.05)


async def ended(browser, operation):
    async with asyncio.timeout(PATIENCE):
        while True:
            found = await ok(browser.get(f"/operations/{operation}"))
            if found["status"] != "active":
                return found["status"]
            await asyncio.sleep(0.02)


async def ask(browser, content="Find kinases"):
    return await ok(browser.post("/chats", json={"content": content}))


def test_the_application_needs_public_names_only_and_no_sql():
    for path in Path(deployed_module.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("veupath_store"):
                assert node.module in PUBLIC, path
                assert not any(name.name.startswith("_") for name in node.names), path
            if isinstance(node, ast.Attribute) and not (isinstance(node.value, ast.Name) and node.value.id == "self"):
                assert not node.attr.startswith("_"), path
                assert node.attr not in ("filter", "execute"), path


@pytest.mark.large
async def test_a_guest_who_signs_in_stays_the_same_account(pathfinder):
    async with browsers(pathfinder, 2) as (browser, elsewhere):
        guest = await ok(browser.post("/guest"))
        asked = await ask(browser)
        assert await signed_in(browser, "ada@example.org") == guest
        assert await signed_in(elsewhere, "ada@example.org") == guest
        assert (await answered(elsewhere, asked))["message_count"] == 2


@pytest.mark.large
async def test_a_question_is_answered_and_shown_with_its_tools_and_steps(pathfinder):
    async with browsers(pathfinder, 2) as (browser, tab):
        await signed_in(browser, "ada@example.org")
        other_tab(browser, tab)
        asked = await ask(browser)
        stream = asked["stream_id"]
        shown = await events_until(tab, f"/chats/{stream}/events", "assistant_message")
        assert shown[0].event == "user_message"
        words = [json.loads(event.data)["content"] for event in shown if event.event == "assistant_delta"]
        assert "".join(words) == "I look for kinases and intersect them."
        chat = await answered(tab, asked)
        assert (chat["name"], chat["message_count"], chat["root_step_id"]) == ("Kinases", 2, "both")
        [text] = [step for step in chat["steps"] if step["id"] == "text"]
        assert (text["resultCount"], text["filters"]) == (812, [{"name": "matched"}])
        question, answer = (await ok(tab.get(f"/chats/{stream}/messages")))["items"]
        assert (question["role"], answer["content"]) == ("user", "".join(words))
        [call] = answer["tool_calls"]
        assert (call["name"], call["arguments"], call["result"]) == ("search_genes", {"text": "kinase"}, "812 genes")


@pytest.mark.large
async def test_two_tabs_do_not_overwrite_each_others_plan_unknowingly(pathfinder):
    async with browsers(pathfinder, 2) as (browser, tab):
        await signed_in(browser, "ada@example.org")
        other_tab(browser, tab)
        chat = await answered(browser, asked := await ask(browser))
        path, seen = f"/chats/{asked['stream_id']}", chat["plan_version"]
        plans = [{"recordType": "transcript", "root": {"id": which, "searchName": "GenesByText"}} for which in "ab"]
        answers = await asyncio.gather(
            *(
                who.patch(path, json={"plan": plan, "expected": seen})
                for who, plan in zip((browser, tab), plans, strict=True)
            )
        )
        assert sorted(answer.status_code for answer in answers) == [204, 409]
        [refused] = [answer.json() for answer in answers if answer.status_code == 409]
        assert (refused["type"], refused["instance"]) == ("/problems/stale-version", path)
        now = await ok(tab.get(path))
        assert now["plan"] == plans[0 if answers[0].status_code == 204 else 1]
        assert (await tab.patch(path, json={"plan": plans[1], "expected": now["plan_version"]})).status_code == 204


@pytest.mark.large
async def test_an_answer_goes_on_when_the_process_that_gives_it_is_lost(pathfinder):
    async with browsers(pathfinder, 2) as (_, browser):
        await signed_in(browser, "ada@example.org")
        asked = await ask(browser)
        path = f"/chats/{asked['stream_id']}/events"
        seen = await events_until(browser, path, "assistant_delta")
        await pathfinder.kill_who_answers()
        seen = await events_until(browser, path, "assistant_message", seen, seen[-1].id)
        assert await ended(browser, asked["operation_id"]) == "completed"
        kinds = [event.event for event in seen]
        assert kinds.count("assistant_message") == 1
        assert len({event.id for event in seen}) == len(seen)
        chat = await answered(browser, asked)
        assert chat["message_count"] == 2


@pytest.mark.large
@pytest.mark.parametrize("keep_strategies", [False, True])
async def test_delete_my_data_leaves_nothing_of_what_was_said(pathfinder, keep_strategies):
    async with browsers(pathfinder, 2) as (browser, tab):
        me = await signed_in(browser, "ada@example.org")
        other_tab(browser, tab)
        await ok(browser.post("/sync", json=[{"wdk_strategy_id": 7, "name": "Proteases"}]))
        await answered(browser, asked := await ask(browser, "Find my secret kinases"))
        await ok(browser.patch(f"/chats/{asked['stream_id']}", json={"wdk_strategy_id": 8}))
        assert "my secret kinases" in await exported(tab)
        await ok(browser.request("DELETE", "/me/data", params={"keep_strategies": keep_strategies}))

        async def is_forgotten():
            return "my secret kinases" not in await exported(tab)

        await until(is_forgotten, PATIENCE, "the logs are removed")  # a moment after the commit
        assert (await ok(tab.get("/chats")))["items"] == []
        assert await signed_in(tab, "ada@example.org") == me
        hidden = (await ok(tab.get("/chats", params={"dismissed": True})))["items"]
        assert {row["wdk_strategy_id"] for row in hidden} == ({7, 8} if keep_strategies else set())


async def exported(browser):
    answer = await browser.get("/me/export")
    assert answer.status_code == 200
    return answer.text
