"""The end of an example: all is caught up, the table is wiped or spoilt, and made anew from the logs."""

from tests.support.law_checks import Eyes, check_forward, check_rows, check_unique, position
from tests.support.servers import until
from veupath_store.events.projector import Projector
from veupath_store.events.worker import ProjectionWorker
from veupath_store.values import RebuildOutcome, VerifyOutcome

_SNAPSHOT = "SELECT stream_id, to_jsonb(p)::text FROM stream_projections p ORDER BY stream_id"
_RUNNING = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND backend_xid IS NOT NULL"
_SPOIL = """
UPDATE stream_projections p SET
    name = 'spoilt ' || n.number, record_type = 'spoilt', wdk_strategy_id = 1000 + n.number, wdk_event_id = '5-5',
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


async def check_end(eyes: Eyes) -> None:
    """The law: what is wiped and rebuilt is equal in every column."""
    before = await eyes.rows()
    await settle_all(eyes)
    rows = await eyes.rows()
    await check_rows(eyes, rows)
    check_unique(rows)
    check_forward(before, rows)
    for row in rows:
        entries = eyes.log(row["stream_id"])
        assert entries[-1].position == position(row), "not caught up"
        assert not await eyes.undone(entries), "rolled back, and in the log"
    strays = {stream_id: eyes.log(stream_id) for stream_id in eyes.logs() - {row["stream_id"] for row in rows}}
    assert not strays, f"logs of nobody: {strays}"
    await check_verified(len(rows))
    wanted = await eyes.fetch(_SNAPSHOT)
    for spoiling in SPOILINGS:
        for statement in spoiling:
            await eyes.fetch(statement)
        report = await Projector().rebuild()
        assert report.counts == ({RebuildOutcome.REBUILT: len(rows)} if rows else {}), report
        assert await eyes.fetch(_SNAPSHOT) == wanted, f"not equal after: {spoiling}"
    await check_verified(len(rows))


async def check_verified(streams: int) -> None:
    report = await Projector().verify()
    assert report.counts == ({VerifyOutcome.EQUAL: streams} if streams else {}), report
