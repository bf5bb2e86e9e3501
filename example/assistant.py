"""The job that answers a question. What it says is canned; how it is kept is not.

No connection is held while it "thinks": each token is one append to the conversation's log. The answer itself is
appended under the lease, once, by whichever worker comes to the end first.
"""

import asyncio
import os
from collections.abc import Iterator
from typing import Any, Final
from uuid import UUID

from veupath_store import Event, JobContext, LogReader, Projector
from veupath_store.values import Lease

TOKEN_SECONDS: Final = float(os.environ.get("EXAMPLE_TOKEN_SECONDS", "0.04"))
"""How long the model takes for a word."""

_SAYING: Final = (
    "I look for {what} on PlasmoDB: a text search over product names, intersected with genes of Plasmodium "
    "falciparum 3D7 whose transcripts are found in trophozoites. Two searches and one combination make the strategy; "
    "open it to see the genes, or ask me to make it stricter."
)


async def answer(job: JobContext) -> None:
    """Answer the newest question of the operation's conversation."""
    lease = job.lease
    assert lease.stream_id is not None  # noqa: S101 - a chat has a conversation
    log, stream_id = Projector(), lease.stream_id
    question = await _question(stream_id)
    await log.append(stream_id, [_event(lease, "message_start", {"attempt": lease.attempts})])
    words = list(_words(question))
    for word in words:
        await asyncio.sleep(TOKEN_SECONDS)
        await log.append(stream_id, [_event(lease, "assistant_delta", {"content": word})])
    async with job.session(complete=True):  # only the holder of the lease comes in, and the operation ends with it
        if not await _is_answered(lease):
            said = {"content": "".join(words), "messageId": str(lease.operation_id)}
            await log.append(
                stream_id,
                [
                    _event(lease, "graph_snapshot", {"graphSnapshot": _strategy(question)}),
                    _event(lease, "assistant_message", said),
                ],
            )
    await log.catch_up(stream_id)


async def _question(stream_id: UUID) -> str:
    page = await LogReader().page_messages(stream_id, limit=1, newest_first=True)
    return page.items[0].content if page.items else ""


async def _is_answered(lease: Lease) -> bool:
    """Whether an earlier worker was lost between its answer and the end of the operation."""
    if lease.attempts == 1:
        return False
    events = await LogReader().page_operation_events(lease.operation_id, limit=1_000)
    return any(event.type == "assistant_message" for event in events.items)


def _words(question: str) -> Iterator[str]:
    what = question.strip().rstrip("?.!").lower().removeprefix("find ") or "genes"
    for word in _SAYING.format(what=what).split():
        yield f"{word} "


def _event(lease: Lease, kind: str, data: dict[str, Any]) -> Event:
    return Event(type=kind, data=data, operation_id=lease.operation_id)


def _strategy(question: str) -> dict[str, Any]:
    """Two searches and their intersection, as the assistant's tools report a strategy: a flat list of steps."""
    text = {"id": "text", "kind": "search", "searchName": "GenesByText", "displayName": "Text"}
    expressed = {"id": "expressed", "kind": "search", "searchName": "GenesByRNASeqEvidence", "displayName": "RNA-Seq"}
    both = {
        "id": "both",
        "kind": "combine",
        "searchName": "boolean_question_TranscriptRecordClasses",
        "displayName": "Both",
        "operator": "INTERSECT",
        "primaryInputStepId": "text",
        "secondaryInputStepId": "expressed",
    }
    text["parameters"] = {"text_expression": question[:100]}  # type: ignore[assignment]
    return {
        "steps": [text, expressed, both],
        "rootStepId": "both",
        "name": question.strip()[:60] or "Strategy",
        "recordType": "transcript",
    }
