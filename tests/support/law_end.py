"""The end of an example: all is caught up, the table is wiped or spoilt, and made anew from the logs."""

from typing import Any

from tests.support.law_checks import Eyes, check_forward, check_rows, check_unique, position
from tests.support.projections import OF_THE_ROW_ALONE
from tests.support.servers import until
from veupath_store.events.project.projector import Projector
from veupath_store.events.project.worker import ProjectionWorker
from veupath_store.values import RebuildOutcome, VerifyOutcome

_SNAPSHOT = "SELECT stream_id, (to_jsonb(p) - $1::text[])::text FROM stream_projections p ORDER BY stream_id"
_RUNNING = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND backend_xid IS NOT NULL"
_SPOIL = """
UPDATE stream_projections p SET
    name = 'spoilt ' || n.number, record_type = 'spoilt', wdk_strategy_id = 1000 + n.number, messages_after = '5-5',
    unrooted_steps = '[{"id": "spoilt"}]',
    is_saved = NOT is_saved, model_id = 'spoilt', message_count = 77, step_count = 77, plan = '{"spoilt": true}',
    result_count = 77, updated_at = '1999-01-01', dismissed_at = '1999-01-01', dismissed_reason = 'purge',
    gene_set_id = NULL, gene_set_auto_imported = NOT gene_set_auto_imported
FROM (SELECT stream_id, row_number() OVER () AS number FROM stream_projections) n WHERE n.stream_id = p.stream_id"""
SPOILINGS = (
    ["DELETE FROM stream_projections"],
    [_SPOIL],
    [_SPOIL, "UPDATE stream_projections SET last_event_id = NULL"],
)


async def settle_all(eyes: Eyes) -> None:
    """The dead are dead, and the worker has done all its work, also what it does only from time to time."""

    async def rolled_back() -> bool:
        return not await eyes.fetch(_RUNNING)

    await until(rolled_back, within=10, what="transactions have ended")
    worker = ProjectionWorker()
    for _ in range(10):
        await worker.drain()
        if not await worker.sweep() and not (await worker.log.backlog()).count:
            return
    raise AssertionError("the worker does not come to an end")


async def check_end(eyes: Eyes, before: list[dict[str, Any]]) -> None:
    """The law: what is wiped and rebuilt is equal in every column that a log says."""
    await settle_all(eyes)
    rows = await eyes.rows()
    await check_rows(eyes, rows, at_rest=True)
    check_unique(rows)
    check_forward(eyes, before, rows)
    for row in rows:
        entries = eyes.entries(row["stream_id"])
        assert entries[-1].position == position(row), "not caught up"
    strays = {stream_id: eyes.entries(stream_id) for stream_id in eyes.logs() - {row["stream_id"] for row in rows}}
    assert not strays, f"logs of nobody: {strays}"
    assert not await eyes.fetch("SELECT FROM stream_events"), "events that were not appended"
    await check_verified(len(rows))
    wanted = await eyes.fetch(_SNAPSHOT, OF_THE_ROW_ALONE)
    for spoiling in SPOILINGS:
        for statement in spoiling:
            await eyes.fetch(statement)
        report = await Projector().rebuild()
        assert report.counts == ({RebuildOutcome.REBUILT: len(rows)} if rows else {}), report
        found = await eyes.fetch(_SNAPSHOT, OF_THE_ROW_ALONE)
        different = [(was, now) for was, now in zip(wanted, found, strict=True) if was != now]
        assert not different, f"not equal after {spoiling}: {different}"
    await check_verified(len(rows))


async def check_verified(streams: int) -> None:
    report = await Projector().verify()
    assert report.counts == ({VerifyOutcome.EQUAL: streams} if streams else {}), report
