"""What an application does all day, by readers and writers that take every error for a failure."""

import asyncio
import itertools
import time
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID, uuid4

from veupath_store import (
    ControlSetRepository,
    ExperimentRepository,
    LeaseRepository,
    OperationRepository,
    StreamRepository,
    async_session_factory,
)
from veupath_store.engine.statements import Statements
from veupath_store.values import ControlSetPatch, OperationType

SITE = "plasmodb"

_OF_MIGRATIONS = ("ALTER ", "CREATE ", "DROP ")

FILL = """
INSERT INTO users (id) SELECT gen_random_uuid() FROM generate_series(1, 50);
CREATE TEMPORARY TABLE owners AS SELECT id, row_number() OVER () - 1 AS number FROM users;
CREATE TEMPORARY TABLE rows AS
    SELECT gen_random_uuid() AS id, o.id AS user_id, n
    FROM generate_series(1, {rows}) n JOIN owners o ON number = n % 50;
INSERT INTO streams (id, user_id, site_id) SELECT id, user_id, 'plasmodb' FROM rows;
INSERT INTO stream_projections (stream_id, user_id, site_id, name, plan)
    SELECT id, user_id, 'plasmodb', 'old ' || n, '{{"root": {{"id": "a"}}}}' FROM rows;
INSERT INTO control_sets (id, user_id, site_id, name, record_type, positive_ids, tags)
    SELECT id, user_id, 'plasmodb', 'old ' || n, 'transcript', '["g1", "g2"]', '["t"]' FROM rows;
INSERT INTO experiments (id, user_id, site_id, name, data)
    SELECT id, user_id, 'plasmodb', 'old', '{{"x": 1}}' FROM rows;
INSERT INTO operations (id, user_id, type) SELECT id, user_id, 'batch' FROM rows;
DROP TABLE rows, owners;
ANALYZE;
"""


@dataclass
class Traffic:
    """What readers and writers saw.

    Attributes:
        users: Whose rows they read and write.
        calls: How many units of work each kind had.
        failures: The errors that they were told.
        longest: The longest that a statement took, in seconds, by its beginning.
        streams: The conversations that were acknowledged, and their names.
    """

    users: list[UUID]
    calls: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    longest: dict[str, float] = field(default_factory=dict)
    streams: dict[UUID, str] = field(default_factory=dict)
    stopping: bool = False

    @property
    def slowest(self) -> list[tuple[float, str]]:
        """The slowest kinds of statements, the slowest first."""
        return sorted(((seconds, sql) for sql, seconds in self.longest.items()), reverse=True)[:5]


@asynccontextmanager
async def traffic(users: list[UUID], monkeypatch, *, each: int = 16):
    """Readers and writers that work until the block ends.

    Args:
        users: Whose rows they read and write.
        monkeypatch: Which lets each statement be timed.
        each: How many readers, and how many writers.
    """
    seen = Traffic(users)
    _time_statements(seen, monkeypatch)
    async with asyncio.TaskGroup() as tasks:
        for number in range(each):
            tasks.create_task(_work(seen, number, READS))
            tasks.create_task(_work(seen, number, WRITES))
        try:
            yield seen
        finally:
            seen.stopping = True


def _time_statements(seen: Traffic, monkeypatch) -> None:
    run = Statements._run

    async def timed(self, query, values, call):
        began = time.monotonic()
        try:
            return await run(self, query, values, call)
        finally:
            key = " ".join(query.split())[:60]
            if not key.startswith(_OF_MIGRATIONS):
                seen.longest[key] = max(seen.longest.get(key, 0.0), time.monotonic() - began)

    monkeypatch.setattr(Statements, "_run", timed)


async def _work(seen: Traffic, number: int, kinds) -> None:
    for turn in itertools.count(number):
        if seen.stopping:
            return
        work, user = kinds[turn % len(kinds)], seen.users[turn % len(seen.users)]
        try:
            await work(seen, user, f"{number}-{turn}")
            seen.calls[work.__name__] += 1
        except Exception as exc:  # noqa: BLE001 - whatever it is, the test tells it
            seen.failures.append(f"{work.__name__}: {type(exc).__name__}: {exc} ({exc.__cause__!r})")
        await asyncio.sleep(0.005)


async def list_and_open(seen, user, _):
    async with async_session_factory() as session:
        streams = StreamRepository(session).for_user(user)
        for summary in (await streams.list_projections(user, SITE, 3))[:2]:
            await streams.get_projection(summary.stream_id)


async def list_control_sets(seen, user, _):
    async with async_session_factory() as session:
        await ControlSetRepository(session).list_by_site(SITE, user, ["t"], 5)


async def list_experiments(seen, user, _):
    page = await ExperimentRepository().page_summaries(user, SITE, limit=5)
    async with async_session_factory() as session:
        await ExperimentRepository(session).get_many([one.id for one in page.items], user_id=user)


async def list_operations(seen, user, _):
    await OperationRepository().page_active(user, limit=5)


async def converse(seen, user, name):
    stream_id = uuid4()
    async with async_session_factory() as session:
        streams = StreamRepository(session).for_user(user)
        await streams.create(user, SITE, stream_id=stream_id, name=name)
        await streams.update_projection(stream_id, plan={"recordType": "transcript", "root": {"id": "a"}})
    renamed = f"{name} renamed"
    await StreamRepository().update_projection(stream_id, name=renamed)
    seen.streams[stream_id] = renamed


async def curate(seen, user, name):
    lists = {"positive_ids": ["g1"], "negative_ids": []}
    async with async_session_factory() as session:
        sets = ControlSetRepository(session)
        one = await sets.create(name=name, site_id=SITE, record_type="transcript", tags=["t"], user_id=user, **lists)
        await sets.update(one.id, ControlSetPatch(positive_ids=["g1", "g2"]))


async def evaluate(seen, user, name):
    lease = await OperationRepository().start(user, OperationType.BATCH, worker_id=name, lease_seconds=60)
    identity, version = uuid4(), 0
    for step in range(3):
        version = await ExperimentRepository().save(
            identity, user_id=user, site_id=SITE, name=name, status="running", data={"step": step}, version=version
        )
    await LeaseRepository().heartbeat(lease)
    async with async_session_factory() as session:
        await ExperimentRepository(session).get_by_id(identity)
        await LeaseRepository(session).complete(lease)


READS = (list_and_open, list_control_sets, list_experiments, list_operations)
WRITES = (converse, curate, evaluate)
