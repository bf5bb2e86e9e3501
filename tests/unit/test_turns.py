"""Messages and what was logged of their turns: a pure function of entries."""

import json
from time import process_time
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.logs import GARBAGE, RAW, objects
from tests.support.naive_turns import naive_messages, shown
from veupath_store.events.log.entries import Entry, Position
from veupath_store.events.turns import SHOWN, is_cut, messages
from veupath_store.values import MessageRole

IDS = st.sampled_from(["c1", "c2", "c3", ""])
TASKS = st.sampled_from(["build", "read", ""])
TEXTS = st.sampled_from(["", "one", "two"])
ARGUMENTS = st.just({"q": 1}) | st.just('{"q": 2}') | st.just("no json") | st.none()
USAGE = {
    "promptTokens": st.integers(-1, 3),
    "totalTokens": st.integers(0, 3),
    "modelId": TEXTS,
    "cachedTokens": st.just(1.5),
}
CALLS = {"id": IDS, "name": TEXTS, "arguments": ARGUMENTS}
CITATIONS = st.lists(st.just({"title": "x"}) | st.just({"title": "y"}) | GARBAGE, max_size=2)

DATA: dict[str, st.SearchStrategy[Any]] = {
    "user_message": objects(content=TEXTS, messageId=IDS),
    "assistant_message": objects(
        content=TEXTS,
        messageId=IDS,
        citations=CITATIONS,
        reasoning=TEXTS,
        toolCalls=st.lists(objects(**CALLS, result=TEXTS), max_size=2),
    ),
    "message_start": st.just({}),
    "message_end": objects(**USAGE, messageId=IDS),
    "token_usage": objects(**USAGE),
    "token_usage_partial": objects(**USAGE),
    "tool_call_start": objects(**CALLS),
    "tool_call_end": objects(id=IDS, result=TEXTS),
    "citations": objects(citations=CITATIONS),
    "planning_artifact": objects(planningArtifact=st.just({"title": "plan"})),
    "reasoning": objects(reasoning=TEXTS) | objects(text=TEXTS),
    "subkani_task_start": objects(task=TASKS),
    "subkani_tool_call_start": objects(task=TASKS, **CALLS),
    "subkani_tool_call_end": objects(task=TASKS, id=IDS, result=TEXTS),
    "subkani_task_end": objects(task=TASKS, status=TEXTS, **USAGE),
    "assistant_delta": objects(delta=TEXTS),
    "of_tomorrow": GARBAGE,
}
OFTEN = ("user_message", "assistant_message", "assistant_message", "message_end", "tool_call_start", "tool_call_end")
EVENTS = st.sampled_from([*DATA, *OFTEN]).flatmap(
    lambda kind: st.tuples(
        st.just(kind),
        st.sampled_from(["", "", "op-a", "op-a", "op-a", "op-b"]),
        DATA[kind].map(lambda data: json.dumps(data).encode()) | RAW,
    )
)
CHATS = st.lists(EVENTS, max_size=30).map(
    lambda many: [
        Entry(Position(1_700_000_000_000 + n // 3, n % 3), kind, raw, operation)
        for n, (kind, operation, raw) in enumerate(many)
    ]
)


def chat(*events, operation="op-a"):
    """Entries of types and data; a third member is another operation."""
    return [
        Entry(
            Position(n, 0), kind, data if isinstance(data, bytes) else json.dumps(data).encode(), (*more, operation)[0]
        )
        for n, (kind, data, *more) in enumerate(events, 1)
    ]


def said(text="hello"):
    return "user_message", {"content": text}


def answered(text="here they are"):
    return "assistant_message", {"content": text}


def began(call, name="search", **more):
    return "tool_call_start", {"id": call, "name": name, **more}


def ended(call, result="ok"):
    return "tool_call_end", {"id": call, "result": result}


def answers(entries):
    return [message for message in messages(entries) if message.role is MessageRole.ASSISTANT]


def names(message):
    return [call.name for call in message.tool_calls]


@settings(max_examples=150, deadline=None)
@given(CHATS)
def test_messages_are_what_the_naive_rule_says(entries):
    assert shown(messages(entries)) == naive_messages(entries)


@settings(max_examples=60, deadline=None)
@given(CHATS)
def test_types_that_are_not_shown_change_nothing(entries):
    assert messages(entries) == messages([entry for entry in entries if entry.type in SHOWN])


@settings(max_examples=60, deadline=None)
@given(CHATS)
def test_turns_are_apart(entries):
    cuts = [number for number, entry in enumerate(entries) if entry.type == "user_message"]
    parts = [entries[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(entries)], strict=True)]
    assert [message for part in parts for message in messages(part)] == messages(entries)


@settings(max_examples=60, deadline=None)
@given(CHATS, st.data())
def test_a_part_says_whether_it_cuts_a_turn(entries, data):
    begin = data.draw(st.integers(0, len(entries)))
    end = data.draw(st.integers(begin, len(entries)))
    part = entries[begin:end]
    ids = {str(entry.position) for entry in part}
    before = entries[:begin] if is_cut(part) else []
    after = entries[end:] if is_cut(reversed(part)) else []
    wanted = [message for message in messages(entries) if message.id in ids]
    assert [message for message in messages([*before, *part, *after]) if message.id in ids] == wanted


def test_an_answer_holds_all_that_was_logged_of_its_turn():
    entries = chat(
        said(),
        ("message_start", {"strategyId": "s"}),
        ("reasoning", {"reasoning": "First look."}),
        began("c1", arguments='{"text": "kinase"}'),
        ended("c1", {"hits": 3}),
        ("citations", {"citations": [{"title": "A"}, 7]}),
        ("citations", {"citations": [{"title": "B"}]}),
        ("planning_artifact", {"planningArtifact": {"title": "Plan"}}),
        ("reasoning", {"reasoning": "Then build."}),
        ("subkani_task_start", {"task": "build"}),
        ("subkani_tool_call_start", {"task": "build", "id": "s1", "name": "add_step", "arguments": {"n": 1}}),
        ("subkani_tool_call_end", {"task": "build", "id": "s1", "result": "added"}),
        ("subkani_task_end", {"task": "build", "status": "failed", "promptTokens": 5}),
        ("token_usage_partial", {"promptTokens": 10, "completionTokens": 2}),
        ("assistant_delta", {"delta": "we"}),
        answered(),
        ("message_end", {"totalTokens": 12, "modelId": "m", "cachedTokens": 3, "completionTokens": None}),
    )
    question, answer = messages(entries)
    assert (question.content, question.tool_calls, question.token_usage) == ("hello", (), None)
    assert answer.content == "here they are"
    assert answer.model_dump()["tool_calls"] == (
        {"id": "c1", "name": "search", "arguments": {"text": "kinase"}, "result": {"hits": 3}, "is_done": True},
    )
    assert [citation["title"] for citation in answer.citations] == ["A", "B"]
    assert answer.planning_artifacts == ({"title": "Plan"},)
    assert answer.reasoning == "First look.\n\nThen build."
    [agent] = answer.sub_agents
    assert (agent.task, agent.status, agent.token_usage.prompt_tokens) == ("build", "failed", 5)
    assert [(call.name, call.arguments, call.result) for call in agent.tool_calls] == [("add_step", {"n": 1}, "added")]
    usage = answer.token_usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens, usage.model_id) == (10, 2, 12, "m")
    assert usage.data["cachedTokens"] == 3


def test_a_call_is_ended_by_whoever_began_it():
    entries = chat(said(), began("c1"), ("subkani_tool_call_end", {"id": "c1", "result": "of nobody"}), answered())
    assert [call.is_done for call in answers(entries)[0].tool_calls] == [False]


def test_an_event_without_an_operation_goes_with_the_next_answer_or_the_last():
    entries = chat(
        (*said(), ""),
        (*began("c1", "a"), ""),
        answered("1"),
        (*began("c2", "b"), ""),
        (*answered("2"), "op-b"),
        (*began("c3", "c"), ""),
        ("message_end", {"totalTokens": 2}, ""),
    )
    one, two = answers(entries)
    assert (names(one), names(two)) == (["a"], ["b", "c"])
    assert (one.token_usage, two.token_usage.total_tokens) == (None, 2)


def test_wrong_types_inside_are_left_out_field_by_field():
    kinds = sorted(SHOWN - {"user_message"})
    keys = ("id", "name", "arguments", "citations", "planningArtifact", "reasoning", "text", "task", "status")
    more = ("content", "messageId", "modelId", "promptTokens", "totalTokens", "toolCalls", "planningArtifacts")
    for wrong in (None, True, 7, 1.5, -1, 10**30, "x", [], [[]], ["x"], {}, {"a": [1]}):
        data = dict.fromkeys((*keys, *more), wrong)
        entries = chat(said(), *((kind, data) for kind in kinds), answered(), *((kind, data) for kind in kinds))
        assert shown(messages(entries)) == naive_messages(entries)


def test_many_operations_in_one_turn_are_shown_in_seconds():
    """Where each looks at all before it, they take minutes."""
    count = 40_000
    entries = chat(*((*event, f"op-{n}") for n in range(count) for event in (began(f"c{n}"), answered())))
    begun = process_time()
    assert len(messages(entries)) == count
    assert process_time() - begun < 30
