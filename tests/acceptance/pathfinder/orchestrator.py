"""What answers a question: a model that thinks for a while, calls a tool, and builds a strategy step by step."""

import asyncio
import os
import socket
from typing import Any, Final

from veupath_store import Event, JobContext, Projector, Worker

WORDS: Final = ("I ", "look ", "for ", "kinases ", "and ", "intersect ", "them.")
WORD_SECONDS: Final = float(os.environ.get("PATHFINDER_WORD_SECONDS", "0.02"))
LEASE_SECONDS: Final = float(os.environ.get("PATHFINDER_LEASE_SECONDS", "2"))
NAME: Final = f"{socket.gethostname()}:{os.getpid()}"

_SEARCHES: Final = [
    {"id": "text", "kind": "search", "searchName": "GenesByText", "resultCount": 812, "filters": [{"name": "matched"}]},
    {"id": "rna", "kind": "search", "searchName": "GenesByRNASeqEvidence", "analyses": [], "wdkStepId": 77},
]
_BOTH: Final = {
    "id": "both",
    "kind": "combine",
    "operator": "INTERSECT",
    "primaryInputStepId": "text",
    "secondaryInputStepId": "rna",
    "estimatedSize": 14,
}


async def answer(job: JobContext) -> None:
    """Answer the newest question of the operation's conversation. No connection is held meanwhile."""
    lease, stream_id, log = job.lease, job.lease.stream_id, Projector()
    assert stream_id is not None

    async def say(kind: str, **data: Any) -> None:
        await log.append(stream_id, [Event(type=kind, data=data, operation_id=lease.operation_id)])

    await say("message_start", attempt=lease.attempts)
    await say("tool_call_start", id="call-1", name="search_genes", arguments='{"text": "kinase"}')
    await say("tool_call_end", id="call-1", result="812 genes")
    await say("graph_snapshot", graphSnapshot={"steps": _SEARCHES, "rootStepId": None, "name": "Kinases"})
    for word in WORDS:
        await asyncio.sleep(WORD_SECONDS)
        await say("assistant_delta", content=word)
    async with job.session(complete=True) as session:  # the answer and the operation's end, or neither
        said = {"content": "".join(WORDS), "messageId": str(lease.operation_id)}
        steps = {"steps": [*_SEARCHES, _BOTH], "rootStepId": "both", "recordType": "transcript"}
        await log.append(
            stream_id,
            [
                Event(type="graph_snapshot", data={"graphSnapshot": steps}, operation_id=lease.operation_id),
                Event(type="assistant_message", data=said, operation_id=lease.operation_id),
            ],
            session=session,
        )


def worker() -> Worker:
    """What runs the jobs: in a process of its own, or in each web process where there is none."""
    return Worker(NAME, {"chat": answer}, lease_seconds=LEASE_SECONDS, sweep_every=LEASE_SECONDS)
