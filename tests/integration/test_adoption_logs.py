"""Rows and their logs after the switch: what the old layer said last holds, and what differs is listed."""

import json
import re
from uuid import UUID

import pytest

from tests.support.databases import connected, fetch, opened
from tests.support.legacy import rows
from tests.support.legacy.comparison import mistakes, read_adopted, read_legacy
from tests.support.legacy.databases import legacy
from tests.support.legacy.problems import BEFORE, problem_world
from tests.support.projections import at_rest, logged
from veupath_store.adoption import ProblemKind, adopt, adopted_id, plan_adoption, undo_adoption
from veupath_store.errors import UnavailableError
from veupath_store.events import Event, LogReader
from veupath_store.events.project.projector import Projector
from veupath_store.repositories import StreamRepository

pytestmark = [pytest.mark.own_database, pytest.mark.large]

OF_LOGS = (ProblemKind.LOG_AHEAD, ProblemKind.LOG_BEHIND, ProblemKind.UNLIKE_LOG)


@pytest.fixture
def settings(empty_url, redis_url, log_prefix):
    return logged(empty_url, redis_url, log_prefix)


async def came_to_rest(url, settings, logs):
    """The new application catches up, rebuilds and verifies all; its rows afterwards, and what was lost."""
    async with opened(settings), connected(url) as connection:
        await at_rest()
        assert set((await Projector().rebuild()).counts) <= {"rebuilt"}
        report = await Projector().verify()
        assert (set(report.counts), report.suspects) == ({"equal"}, ())
        await logs.assert_explain(connection)
        return await read_adopted(connection), {lag.stream_id: lag.lost for lag in (await Projector().lag()).lagging}


class Chat:
    """A conversation with a log, in a world of its own."""

    def __init__(self, logs, **given):
        self.logs, self.world = logs, rows.World()
        owner = self.world.user()["id"]
        self.row = self.world.chat(owner, name="Kinases", record_type="transcript", wdk_strategy_id=7, **given)
        self.id = UUID(self.row["stream_id"])
        self.row["last_event_id"] = None

    def said(self, kind, data=None, **changes):
        """An entry, folded into the row as the old layer did; without `changes` it was not."""
        position = self.logs.add(self.id, kind, data or {})
        if changes:
            self.row.update(changes, last_event_id=position)

    def talked(self):
        """Two messages, and what was said of the strategy."""
        self.said("user_message", {"content": "hello"}, message_count=1)
        self.said("strategy_meta", {"name": "Kinases", "recordType": "transcript"}, name="Kinases")
        self.said("strategy_link", {"wdkStrategyId": 7, "isSaved": False}, wdk_strategy_id=7)
        self.said("model_selected", {"modelId": "model-1"}, model_id="model-1")
        self.said("assistant_message", {"content": "done"}, message_count=2)


def listed(report):
    return {(problem.kind, problem.field) for problem in report.problems}


async def test_a_key_that_is_no_log_is_listed_and_stops_nothing(settings, empty_url, logs):
    chat = Chat(logs, message_count=0)
    logs.redis.set(logs.key(chat.id), "another type")
    await legacy(empty_url, chat.world)
    report = await adopt(settings)
    [problem] = report.problems
    assert (problem.kind, problem.key) == (ProblemKind.LOG_BEHIND, str(chat.id))
    assert "is no log: remove it" in problem.fixed


async def test_a_row_that_was_edited_past_its_log_stays_as_it_is_and_is_listed(settings, empty_url, logs):
    chat = Chat(logs)
    chat.talked()
    plan = {"root": {"id": "a", "searchName": "GenesByText"}}
    chat.said("graph_plan", {"plan": plan}, plan=json.dumps(plan), step_count=1)
    edited = {"root": {"id": "a", "searchName": "GenesByTaxon"}}
    chat.row.update(name="Renamed", wdk_strategy_id=None, message_count=1, plan=json.dumps(edited))
    await legacy(empty_url, chat.world)
    plan = await plan_adoption(settings)
    report = await adopt(settings)
    assert plan.problems == report.problems
    there, _ = await came_to_rest(empty_url, settings, logs)
    row = there["stream_projections"][chat.id]
    assert (row["name"], row["wdk_strategy_id"], row["message_count"]) == ("Renamed", None, 1)
    assert (row["plan"], row["step_count"], row["updated_at"]) == (edited, 1, chat.row["updated_at"])
    unlike = ("name", "wdk_strategy_id", "message_count", "plan")
    assert listed(report) == {(ProblemKind.UNLIKE_LOG, column) for column in unlike}


async def test_what_the_old_process_never_folded_is_not_folded_over_newer_values(settings, empty_url, logs):
    chat = Chat(logs)
    chat.talked()
    chat.row.update(name="Renamed afterwards")
    chat.said("strategy_meta", {"name": "of a process that died"})
    chat.said("strategy_link", {"wdkStrategyId": 8})
    chat.said("graph_cleared")
    chat.said("user_message", {"content": "once more"})
    await legacy(empty_url, chat.world)
    report = await adopt(settings)
    assert listed(report) == {(ProblemKind.LOG_AHEAD, "last_event_id"), (ProblemKind.UNLIKE_LOG, "name")}
    there, _ = await came_to_rest(empty_url, settings, logs)
    row = there["stream_projections"][chat.id]
    assert (row["name"], row["wdk_strategy_id"], row["message_count"]) == ("Renamed afterwards", 7, 3)
    async with opened(settings):
        assert len((await LogReader().page_messages(chat.id)).items) == 3


async def test_what_was_discarded_never_returns_with_a_second_adoption(settings, empty_url, logs):
    """Adopted, used, undone, used by the old layer, adopted again: the old layer's last word holds."""
    chat = Chat(logs)
    chat.talked()
    await legacy(empty_url, chat.world)
    await adopt(settings)
    async with opened(settings):
        await at_rest()  # the whole row is in the log now, with the values that the old row has, too
        plan = {"root": {"id": "new", "searchName": "GenesByText"}}
        await StreamRepository().update_projection(
            chat.id, name="Discarded", wdk_strategy_id=9, wdk_strategy_id_set=True, plan=plan, is_saved=True
        )
        await Projector().append(chat.id, [Event(type="strategy_meta", data={"recordType": "discarded"})])
        await at_rest()
        assert (await StreamRepository().get_projection(chat.id)).name == "Discarded"
    assert (await undo_adoption(settings, discard_newer=True)).discarded == {"stream_projections": 1}
    await fetch(empty_url, "UPDATE stream_projections SET model_id = 'model-2', is_saved = true")
    [before] = await fetch(empty_url, "SELECT * FROM stream_projections")

    report = await adopt(settings)
    assert (ProblemKind.LOG_AHEAD, "last_event_id") in listed(report)
    there, lost = await came_to_rest(empty_url, settings, logs)
    row = there["stream_projections"][chat.id]
    same = ("name", "record_type", "wdk_strategy_id", "is_saved", "model_id", "message_count", "updated_at")
    assert {name: row[name] for name in same} == {name: before[name] for name in same}
    assert (row["plan"], lost) == ({}, {})


async def test_without_an_answer_of_redis_nothing_is_adopted(empty_url, logs):
    chat = Chat(logs)
    await legacy(empty_url, chat.world)
    settings = logged(empty_url, "redis://127.0.0.1:1", logs.prefix, log_timeout=0.5)
    for call in (plan_adoption, adopt):
        with pytest.raises(UnavailableError):
            await call(settings)
    assert len(await fetch(empty_url, "SELECT stream_id, steps FROM stream_projections")) == 1


async def test_a_conversation_that_was_never_logged_has_lost_nothing(settings, empty_url, logs):
    await legacy(empty_url, Chat(logs, message_count=0).world)
    report = await adopt(settings)
    there, lost = await came_to_rest(empty_url, settings, logs)
    assert (report.problems, lost) == ([], {})
    assert [row["lost"] for row in there["stream_projections"].values()] == [None]


async def test_messages_of_a_log_that_is_gone_are_listed_as_lost(settings, empty_url, logs):
    world = rows.World()
    stream = UUID(world.chat(world.user()["id"], message_count=2)["stream_id"])
    await legacy(empty_url, world)
    assert listed(await adopt(settings)) == {(ProblemKind.LOG_BEHIND, "last_event_id")}
    _, lost = await came_to_rest(empty_url, settings, logs)
    assert lost[stream]["messages"] == 2


@pytest.mark.parametrize("position", [None, "", "nowhere"])
async def test_messages_of_a_row_that_does_not_say_where_it_stands_are_counted_once(
    settings, empty_url, logs, position
):
    chat = Chat(logs)
    chat.talked()
    chat.row.update(last_event_id=position)
    await legacy(empty_url, chat.world)
    report = await adopt(settings)
    assert {kind for kind, _ in listed(report)} == {ProblemKind.MALFORMED_POSITION, ProblemKind.LOG_AHEAD}
    there, _ = await came_to_rest(empty_url, settings, logs)
    assert there["stream_projections"][chat.id]["message_count"] == 2


def keep_log(logs, row):
    """As many messages as the row counts, the last one where it stands, or anywhere."""
    position = row["last_event_id"] or ""
    if not re.fullmatch("[1-9][0-9]{0,18}-[0-9]{1,20}", position):
        position = "1700000000000-0"
    earlier = int(position.partition("-")[0]) - 1
    key = f"{logs.prefix}stream:{row['stream_id']}"
    for number in range(1, max(row["message_count"] or 0, 1)):
        logs.redis.xadd(key, {"op": "", "type": "user_message", "data": "{}"}, id=f"{earlier}-{number}")
    last = "user_message" if (row["message_count"] or 0) > 0 else "assistant_delta"
    logs.redis.xadd(key, {"op": "", "type": last, "data": "{}"}, id=position)


@pytest.mark.parametrize(
    ("variant", "nullable"), [("alembic", True), pytest.param("create_all", False, marks=pytest.mark.large)]
)
async def test_every_value_equals_the_source_or_is_listed(settings, empty_url, logs, variant, nullable):
    """A database with every problem, after adoption, catch-up, rebuild and verify; and after the way back."""
    await legacy(empty_url, problem_world(nullable=nullable), variant, before=BEFORE)
    async with connected(empty_url) as connection:
        old = await read_legacy(connection)
        for row in old["stream_projections"]:
            keep_log(logs, row)
        report = await adopt(settings)
        adopted = await read_adopted(connection)
        there, _ = await came_to_rest(empty_url, settings, logs)
        for new, row in there["stream_projections"].items():
            moved = adopted["stream_projections"][new]
            row.update((name, moved[name]) for name in ("last_event_id", "unlogged"))
        found = await mistakes(connection, old, report, there)
    assert not [mistake for mistake in found if not any(str(kind) in mistake for kind in OF_LOGS)]
    assert not (await undo_adoption(settings)).discarded
    async with connected(empty_url) as connection:
        assert await read_legacy(connection) == old


OPERATION = "op_0123456789ab"
TURN = (
    ("user_message", '{"content": "Find kinases", "messageId": "m1", "score": NaN}'),
    ("model_selected", '{"modelId": "model-1"}'),
    ("tool_call_start", '{"id": "c1", "name": "search", "arguments": "{\\"text\\": \\"kinase\\", \\"above\\": NaN}"}'),
    ("assistant_delta", '{"delta": "9"}'),
    ("tool_call_end", '{"id": "c1", "result": {"hits": 93, "score": Infinity, "range": [-Infinity, 1.5]}}'),
    ("citations", '{"citations": [{"title": "A paper", "weight": NaN}, 7]}'),
    ("reasoning", '{"reasoning": "Kinases phosphorylate."}'),
    ("subkani_task_start", '{"task": "look up"}'),
    ("subkani_tool_call_start", '{"task": "look up", "id": "s1", "name": "fetch", "arguments": {"id": 1}}'),
    ("subkani_tool_call_end", '{"task": "look up", "id": "s1", "result": NaN}'),
    ("subkani_task_end", '{"task": "look up", "status": "done", "promptTokens": 3}'),
    ("assistant_message", '{"content": "93 genes.", "messageId": "m2"}'),
    ("message_end", '{"promptTokens": 812, "completionTokens": 4, "cost": NaN}'),
)


def mixed(text):
    """The same id in capitals and small letters."""
    return "".join(letter.upper() if number % 2 else letter for number, letter in enumerate(text))


NEW = str(adopted_id(OPERATION))


@pytest.mark.parametrize(
    ("spelled", "operation"),
    [*((str.lower, it) for it in (OPERATION, NEW, NEW.upper())), (str.upper, OPERATION), (mixed, NEW)],
)
async def test_an_old_log_is_read_with_all_that_was_logged_of_a_turn(settings, empty_url, logs, spelled, operation):
    world, key = rows.World(), spelled(rows.identity(77))
    chat = world.chat(world.user()["id"], name="Kinases", stream={"id": key}, message_count=2)
    world.operation(key, operation_id=OPERATION)
    for kind, data in TURN:
        fields = {"op": operation, "type": kind, "data": data}
        chat["last_event_id"] = logs.redis.xadd(f"{logs.prefix}stream:{key}", fields).decode()
    await legacy(empty_url, world)
    report = await adopt(settings)
    assert listed(report) <= {(ProblemKind.MALFORMED_ID, None), (ProblemKind.RENAMED_LOG, None)}
    there, lost = await came_to_rest(empty_url, settings, logs)
    [stream] = there["stream_projections"]
    assert (stream, there["stream_projections"][stream]["message_count"], lost) == (UUID(key), 2, {})
    async with opened(settings):
        question, answer = (await LogReader().page_messages(stream)).items
        events = [
            [event.type for event in (await LogReader().page_operation_events(name)).items]
            for name in (OPERATION, adopted_id(OPERATION), str(adopted_id(OPERATION)).upper())
        ]
    assert (question.content, question.data["score"]) == ("Find kinases", None)
    [call] = answer.tool_calls
    assert (call.name, call.arguments) == ("search", {"text": "kinase", "above": None})
    assert (call.result, call.is_done) == ({"hits": 93, "score": None, "range": [None, 1.5]}, True)
    assert (answer.content, answer.reasoning) == ("93 genes.", "Kinases phosphorylate.")
    assert list(answer.citations) == [{"title": "A paper", "weight": None}]
    [agent] = answer.sub_agents
    assert (agent.task, agent.status, agent.tool_calls[0].is_done) == ("look up", "done", True)
    assert (answer.token_usage.prompt_tokens, answer.token_usage.completion_tokens) == (812, 4)
    assert answer.operation_id == adopted_id(OPERATION)
    assert events == [[kind for kind, _ in TURN]] * 3


@pytest.mark.parametrize("name", [OPERATION, "an operation"])
async def test_the_log_of_an_old_operation_is_read_by_its_uuid_too(settings, empty_url, logs, name):
    """It stays under its old key as well, for the way back; a conversation that it worked for has a log beside it."""
    world = rows.World()
    chat = world.chat(world.user()["id"], message_count=0, last_event_id=None)
    world.operation(chat["stream_id"], operation_id=name, type="experiment")
    logs.redis.xadd(f"{logs.prefix}op:{name}", {"op": name, "type": "progress", "data": '{"done": NaN}'})
    await legacy(empty_url, world)
    await adopt(settings)
    assert logs.redis.exists(f"{logs.prefix}op:{name}", f"{logs.prefix}op:{adopted_id(name)}") == 2
    async with opened(settings):
        for given in {adopted_id(name), str(adopted_id(name)).upper(), *([name] if name == OPERATION else [])}:
            [event] = (await LogReader().page_operation_events(given)).items
            assert (event.type, event.data) == ("progress", {"done": None})
