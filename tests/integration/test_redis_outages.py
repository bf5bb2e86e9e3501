"""A minute without Redis under 64 writers: nothing fails, nothing is slower, and all is logged when it is back.

``OUTAGE_SECONDS=60 python -m pytest -m large -s tests/integration/test_redis_outages.py`` takes the whole minute, and
prints the figures of docs/event-log.md.
"""

import asyncio
import os
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial

import pytest

from tests.support.conversations import conversation
from tests.support.projections import MESSAGE
from tests.support.waiting import becomes
from veupath_store import LogReader, Projector, StreamRepository, async_session_factory, close_db, init_db
from veupath_store.errors import OutcomeUnknownError, StoreClosedError, StoreError, UnavailableError
from veupath_store.values import VerifyOutcome

WRITERS = 64
BEFORE = 5.0
OUTAGE = float(os.environ.get("OUTAGE_SECONDS", "15"))
SOON = 30.0
_WAITING = """
SELECT (SELECT count(*) FROM stream_projections WHERE unlogged <> '{}' OR last_event_id IS NULL)
     + (SELECT count(*) FROM stream_events)"""


# As in production, but for the prefix: the process brings its logs up to date by itself.
pytestmark = pytest.mark.with_log(private=True, catch_up=True, log_timeout=1.0)


@dataclass
class Ledger:
    """How long calls took in each phase, and which failed."""

    phase: str = "before"
    seconds: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    failed: list[StoreError] = field(default_factory=list)

    async def time(self, kind: str, call) -> None:
        started, phase = time.perf_counter(), self.phase
        try:
            await call
        except StoreError as exc:
            self.failed.append(exc)
        self.seconds[kind, phase].append(time.perf_counter() - started)

    def within(self, kind: str, phase: str, share: float) -> float:
        """Milliseconds within which a share of the calls had ended."""
        ordered = sorted(self.seconds[kind, phase])
        return 1_000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    def __str__(self) -> str:
        figures = (
            f"{kind}s {phase}: {len(taken)}, p50 {self.within(kind, phase, 0.5):.1f} ms, "
            f"p99 {self.within(kind, phase, 0.99):.1f} ms, longest {1_000 * max(taken):.0f} ms"
            for (kind, phase), taken in self.seconds.items()
        )
        return "\n".join((*figures, f"failed: {len(self.failed)}"))


async def begin_a_conversation(user_id) -> None:
    async with async_session_factory() as session:
        stream = await StreamRepository(session).create(user_id, "plasmodb", name="begun")
        await Projector().append(stream.id, [MESSAGE], session=session)


async def write_and_read(user_id, stream_id, ledger: Ledger, stop: asyncio.Event) -> None:
    turn = 0
    while not stop.is_set():
        turn += 1
        change = {"name": f"{stream_id} {turn}", "plan": {"root": {"id": str(turn)}}, "result_count": turn}
        await ledger.time("write", StreamRepository().update_projection(stream_id, **change))
        await ledger.time("read", StreamRepository().get_projection(stream_id))
        if turn % 50 == 0:
            await ledger.time("write", begin_a_conversation(user_id))
        await asyncio.sleep(0.1)


@pytest.mark.large
@pytest.mark.parametrize("how", ["down", "frozen"])
async def test_no_writer_and_no_reader_notices_that_redis_is_away(how, user, private_redis, watcher):
    streams = [await conversation(user) for _ in range(WRITERS)]
    ledger, stop = Ledger(), asyncio.Event()
    writers = [asyncio.create_task(write_and_read(user.id, stream_id, ledger, stop)) for stream_id in streams]
    await asyncio.sleep(BEFORE)
    with getattr(private_redis, how)():
        ledger.phase = "during"
        await asyncio.sleep(OUTAGE)
        assert await watcher.fetchval(_WAITING) >= WRITERS
    ledger.phase, returned = "after", time.monotonic()
    stop.set()
    await asyncio.gather(*writers)
    await becomes(partial(watcher.fetchval, _WAITING), 0, "what was written meanwhile and is not logged", SOON)
    sys.stdout.write(f"\n{how} for {OUTAGE:.0f} s\n{ledger}\nlogged after {time.monotonic() - returned:.1f} s\n")
    assert ledger.failed == []
    # Where Redis was asked under a lock, a read took 9.75 s.
    for kind in ("write", "read"):
        assert ledger.within(kind, "during", 1.0) < 3_000
    report = await Projector().verify()
    assert report.counts == {VerifyOutcome.EQUAL: await watcher.fetchval("SELECT count(*) FROM streams")}
    assert report.counts[VerifyOutcome.EQUAL] > WRITERS
    assert not (await Projector().lag()).lagging, "nothing is lost"


async def test_closing_the_store_while_redis_is_frozen_ends_and_leaves_what_is_logged_later(
    user, private_redis, settings, watcher
):
    stream_id = await conversation(user)
    await Projector().append(stream_id, [MESSAGE])
    events = await LogReader().follow(stream_id)
    await anext(events)
    with private_redis.frozen():
        await StreamRepository().update_projection(stream_id, name="two")
        appending = asyncio.create_task(Projector().append(stream_id, [MESSAGE]))
        following = asyncio.create_task(anext(events))
        await asyncio.sleep(0.1)
        started = time.monotonic()
        await close_db()
        assert time.monotonic() - started < 15
        with pytest.raises((OutcomeUnknownError, UnavailableError)):
            await appending
        with pytest.raises((StoreClosedError, UnavailableError)):
            await following
    await init_db(settings=settings)
    await becomes(partial(watcher.fetchval, _WAITING), 0, "what the next process has not logged", SOON)
    assert (await Projector().verify()).counts == {VerifyOutcome.EQUAL: 1}
