"""Random chats: logs of turns, with whatever may be in them, right or garbage."""

import json
from typing import Any

from hypothesis import strategies as st

from tests.support.logs import GARBAGE, RAW, objects
from veupath_store.events.log.entries import Entry, Position

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
