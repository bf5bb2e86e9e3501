"""A million entries behind: folded page by page, in bounded memory, and nobody else waits for it.

``python -m pytest -m large -s tests/integration/test_far_behind.py`` prints the figures of docs/event-log.md.
"""

import sys
import time
from functools import partial
from uuid import UUID

import psutil
import pytest

from tests.support.conversations import conversation
from tests.support.jobs import running
from tests.support.projections import MESSAGE, Logs
from tests.support.waiting import becomes
from veupath_store import ProjectionWorker, Projector, StreamRepository
from veupath_store.events.log.scripts import BEHIND
from veupath_store.values import VerifyOutcome

pytestmark = [pytest.mark.large, pytest.mark.with_log(private=True, log_timeout=30.0)]

MILLION = 1_000_000
EVERY = 10
"""Of so many entries one is a message; the others are words of an answer."""
MEGABYTES = 64
PATIENCE = 30.0
"""Seconds that another conversation may wait on a loaded machine; it waited for the whole million."""

_APPEND = """
for i = 1, ARGV[1] do
    local kind = i % ARGV[2] == 0 and 'user_message' or 'assistant_delta'
    redis.call('XADD', KEYS[1], '*', 'op', '', 'type', kind, 'data', '{"content":"some word"}')
end"""


def put_behind(logs: Logs, stream_id: UUID, count: int) -> None:
    """Append in the server itself, with the oldest mark there is."""
    for _ in range(count // 20_000):
        logs.redis.eval(_APPEND, 1, logs.key(stream_id), 20_000, EVERY)
    logs.redis.zadd(f"{logs.prefix}{BEHIND}", {str(stream_id): 1})


async def count_of(stream_id: UUID) -> int:
    return (await StreamRepository().get_projection(stream_id)).message_count


async def wait_of_another(stream_id: UUID) -> float:
    """Seconds until what is said in a conversation is in its row."""
    said = await count_of(stream_id)
    started = time.monotonic()
    await Projector().append(stream_id, [MESSAGE])
    await becomes(partial(count_of, stream_id), said + 1, "what was said is in the row", within=90)
    return time.monotonic() - started


async def test_a_million_entries_behind_cost_bounded_memory_and_hold_up_nobody(user, logs, caplog):
    far, other = [await conversation(user, name) for name in ("far", "other")]
    await ProjectionWorker().drain()
    bad = logs.add(far, "graph_plan", b"{")
    put_behind(logs, far, MILLION)
    process, waits = psutil.Process(), []
    before = most = process.memory_info().rss
    started = time.monotonic()
    async with running(ProjectionWorker(poll_seconds=0.05, sweep_every=3_600)):
        while await count_of(far) < MILLION // EVERY:
            waits.append(await wait_of_another(other))
            most = max(most, process.memory_info().rss)
    took = time.monotonic() - started
    sys.stdout.write(
        f"\n{MILLION / took:,.0f} events a second, {(most - before) / 2**20:.0f} MiB more, "
        f"another conversation waited {max(waits):.2f} s at most, {len(waits)} times\n"
    )
    assert len(waits) > 5
    assert caplog.text.count(f"entry {bad} ") == 1, "it is reported, though its conversation was left and begun again"
    assert max(waits) < PATIENCE
    assert most - before < MEGABYTES * 2**20
    report = await Projector().verify()
    assert report.counts == {VerifyOutcome.EQUAL: 2}
    assert await count_of(other) == len(waits)
