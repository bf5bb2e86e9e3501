"""Rows as a newer version would write them, read by this one; and types that are the application's own."""

from uuid import uuid4

import pytest

from tests.support.jobs import WORKER, expire, leased, new_stream, registered, running
from tests.support.waiting import becomes
from veupath_store import LogReader, ProjectionWorker, Projector
from veupath_store.check import check_deployment
from veupath_store.errors import InvalidInputError, OperationActiveError
from veupath_store.events.log.log import required_log
from veupath_store.events.project.removal import remove_logs
from veupath_store.inputs import limits
from veupath_store.integrations.testing import Factories
from veupath_store.jobs import Worker
from veupath_store.repositories import (
    AccountRepository,
    ExperimentRepository,
    GeneSetRepository,
    LeaseRepository,
    OperationRepository,
    StreamRepository,
)
from veupath_store.values import DismissReason, GeneSetSource, OperationStatus, OperationType

pytestmark = [pytest.mark.with_log, pytest.mark.own_database]

RELAXED = """
ALTER TABLE gene_sets DROP CONSTRAINT gene_sets_source_check;
ALTER TABLE operations DROP CONSTRAINT operations_status_check;
ALTER TABLE stream_projections DROP CONSTRAINT stream_projections_dismissed_check;
ALTER TABLE deleted_ids DROP CONSTRAINT deleted_ids_kind_check"""


@pytest.fixture
async def newer(store, watcher):
    """A connection to the database, after a newer version's migrations."""
    await watcher.execute(RELAXED)
    return watcher


async def test_a_gene_set_of_an_unknown_source_is_read_by_every_call(newer, user):
    made = await Factories().gene_set(user, wdk_strategy_id=7)
    known = await Factories().gene_set(user)
    await newer.execute("UPDATE gene_sets SET source = 'orthology', operation = 'xor' WHERE id = $1", made.id)
    for sets in (GeneSetRepository(), GeneSetRepository().for_user(user.id)):
        assert (await sets.get_by_id(made.id)).source == "orthology"
        assert (await sets.find_by_wdk_strategy(user.id, 7)).source == "orthology"
        [newest, oldest] = (await sets.page_summaries(user.id)).items
        assert (oldest.source, oldest.operation, type(oldest.source)) == ("orthology", "xor", str)
        assert newest.source is GeneSetSource.PASTE
        assert oldest.model_dump(mode="json")["source"] == "orthology"
        assert (await sets.page_containing(user.id, made.gene_ids[:1])).items == [newest, oldest]
        assert newest.id == known.id
    with pytest.raises(InvalidInputError, match="source"):
        await Factories().gene_set(user, source="orthology")
    assert (await Factories().gene_set(user, source="upload")).source == GeneSetSource.UPLOAD


async def test_a_conversation_dismissed_for_an_unknown_reason_is_read_by_every_call(newer, user):
    stream = await Factories().stream(user, dismissed=True, wdk_strategy_id=7)
    await Projector().catch_up(stream.id)
    await newer.execute("UPDATE stream_projections SET dismissed_reason = 'merged' WHERE stream_id = $1", stream.id)
    for streams in (StreamRepository(), StreamRepository().for_user(user.id)):
        assert (await streams.get_projection(stream.id)).dismissed_reason == "merged"
        assert [row.dismissed_reason for row in await streams.list_dismissed_projections(user.id)] == ["merged"]
        [listed] = (await streams.page_projections(user.id, dismissed=True)).items
        assert (listed.dismissed_reason, type(listed.dismissed_reason)) == ("merged", str)
        assert (await streams.get_by_wdk_strategy_id(user.id, 7)).stream_id == stream.id
    assert (await Projector().lag()).lagging == ()
    [suspect] = (await Projector().verify()).suspects
    assert [difference.column for difference in suspect.differences] == ["dismissed_reason"]
    await StreamRepository().restore(stream.id)
    other = await Factories().projection(user, dismissed=True)
    [listed] = (await StreamRepository().page_projections(user.id, dismissed=True)).items
    assert (listed.stream_id, listed.dismissed_reason) == (other.stream_id, DismissReason.USER)
    assert listed.dismissed_reason is DismissReason.USER


async def test_an_operation_of_an_unknown_type_or_status_is_read_by_every_call(newer, user):
    stream = await new_stream(user)
    active = await registered(user, "export_pdf", stream_id=stream.id)
    ended = await registered(user, "batch", stream_id=stream.id)
    await newer.execute("UPDATE operations SET status = 'timed_out' WHERE id = $1", ended.id)
    for operations in (OperationRepository(), OperationRepository().for_user(user.id)):
        for call in (operations.get_by_id, operations.get_summary, operations.get_status, operations.request_cancel):
            assert (await call(ended.id)).status == "timed_out"
        listed = {one.id: one for one in (await operations.page(user.id)).items}
        assert (listed[ended.id].type, listed[ended.id].status) == (OperationType.BATCH, "timed_out")
        assert listed[ended.id].type is OperationType.BATCH
        assert (listed[active.id].type, listed[active.id].status) == ("export_pdf", OperationStatus.ACTIVE)
        pages = [await operations.page_active(user.id), await operations.page_active(user.id, type="export_pdf")]
        found = [*(page.items for page in pages), await operations.list_active_by_stream(stream.id)]
        assert [[one.id for one in items] for items in found] == [[active.id]] * 3
    assert (await LogReader().page_operation_events(ended.id)).items == ()
    assert [event async for event in await LogReader().follow_operation(ended.id)] == []


async def test_a_lease_that_a_newer_version_has_ended_has_that_outcome(newer, user):
    lease = await leased(user)
    await newer.execute("UPDATE operations SET status = 'timed_out' WHERE id = $1", lease.operation_id)
    assert await LeaseRepository().get_outcome(lease) == "timed_out"
    await expire(lease)
    assert len(await LeaseRepository().sweep()) == 0


async def test_an_account_with_all_that_is_unknown_is_exported_and_purged(newer, user, settings):
    stream = await Factories().stream(user, dismissed=True)
    await Factories().gene_set(user)
    await registered(user, "export_pdf")
    await newer.execute("UPDATE gene_sets SET source = 'orthology'")
    await newer.execute("UPDATE operations SET status = 'timed_out'")
    await newer.execute("UPDATE stream_projections SET dismissed_reason = 'merged'")
    lines = "\n".join([line async for line in AccountRepository().export(user.id)])
    assert all(word in lines for word in ("orthology", "timed_out", "export_pdf", "merged"))
    assert (await check_deployment(settings)).complete
    assert (await AccountRepository().purge(user.id)).stream_ids == (stream.id,)


async def test_removals_of_an_unknown_kind_are_left_to_the_newer_version(newer):
    await newer.execute("INSERT INTO deleted_ids (kind, id) VALUES ('archive', $1)", uuid4())
    assert await remove_logs(required_log()) == 0
    await ProjectionWorker().sweep()
    waiting = "SELECT count(*) FROM deleted_ids WHERE kind = 'archive' AND log_removed_at IS NULL"
    assert await newer.fetchval(waiting) == 1


async def test_an_applications_own_job_goes_the_whole_way(user):
    ran = []

    async def job(context):
        ran.append(context.lease.type)

    made = await registered(user, "export_pdf")
    assert (made.type, type(made.type)) == ("export_pdf", str)
    await registered(user, "batch")
    await registered(user, "somebody_elses")
    worker = Worker(WORKER, {"export_pdf": job, OperationType.BATCH: job}, poll_seconds=0.01)

    async def left():
        return [one.type for one in (await OperationRepository().page_active(user.id)).items]

    async with running(worker):
        await becomes(left, ["somebody_elses"], "both are done")
    assert ran == ["export_pdf", OperationType.BATCH]
    assert ran[1] is OperationType.BATCH
    assert (await OperationRepository().get_status(made.id)).status is OperationStatus.COMPLETED


async def test_own_types_are_text_that_the_column_holds_and_chats_stay_alone(user):
    for wrong in ("", "x" * (limits.OPERATION_TYPE + 1), "a\0b", None, 7):
        claim = LeaseRepository().claim(WORKER, [wrong], lease_seconds=1)
        for call in (registered(user, wrong), leased(user, wrong), claim):
            with pytest.raises(InvalidInputError, match=r"^type"):
                await call
        with pytest.raises(InvalidInputError, match="handlers"):
            Worker(WORKER, {wrong: None})
    stream = await new_stream(user)
    await registered(user, "chat", stream_id=stream.id)
    await registered(user, "x" * limits.OPERATION_TYPE, stream_id=stream.id)
    with pytest.raises(OperationActiveError):
        await registered(user, "workbench_chat", stream_id=stream.id)
    with pytest.raises(InvalidInputError, match="a chat needs its conversation"):
        await registered(user, "chat")


async def test_experiments_take_any_status_that_there_is_room_for(user):
    await Factories().experiment(user, status="half_done")
    assert [one.status for one in (await ExperimentRepository().page_summaries(user.id)).items] == ["half_done"]
    with pytest.raises(InvalidInputError, match="status"):
        await Factories().experiment(user, status="x" * (limits.STATUS + 1))
