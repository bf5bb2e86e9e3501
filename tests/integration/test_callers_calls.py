"""What PathFinder calls, line by line: a small check of each promise. Other tests prove them in depth.

Not covered, because it is no part of the package yet: "Their tests: a clean database per test in milliseconds,
factories, a fake clock".
"""

import asyncio
import json
from dataclasses import replace
from uuid import uuid4

import pytest

from tests.support.statements import recorded
from veupath_store import (
    AccountRepository,
    ControlSetRepository,
    ExperimentRepository,
    GeneSetRepository,
    LeaseRepository,
    NotFoundError,
    OperationRepository,
    StreamRepository,
    UserRepository,
    async_session_factory,
    check_readiness,
)
from veupath_store.errors import PruneRefusedError, StaleVersionError
from veupath_store.models import Stream, StreamProjection
from veupath_store.repositories import ControlSetPatch
from veupath_store.values import SYSTEM_STREAM_ID, SYSTEM_USER_ID, OperationStatus, SyncOutcome, WdkStrategy

GENES = {"site_id": "plasmodb", "record_type": "transcript", "positive_ids": ["PF3D7_0417200"], "negative_ids": []}
RUN = {"site_id": "plasmodb", "name": "run", "status": "running"}


async def test_on_every_authenticated_request_a_known_user_is_read_and_nothing_written(user):
    with recorded() as sent:
        assert (await UserRepository().get_or_create(user.id)).id == user.id
    assert [sql.split()[0] for sql in sent] == ["SELECT"]


async def test_login_by_an_external_identity_is_race_free_and_the_system_user_has_a_fixed_id(store):
    logins = [UserRepository().get_or_create_by_external_id("ada@example.org") for _ in range(50)]
    assert len({user.id for user in await asyncio.gather(*logins)}) == 1
    assert (await UserRepository().get_system_user()).id == SYSTEM_USER_ID


@pytest.mark.without_log
async def test_a_new_conversation_is_stream_and_projection_in_one_step_with_a_unique_name(user):
    identity = uuid4()
    with recorded() as sent:
        first = await StreamRepository().create(user.id, "plasmodb", stream_id=identity)
    second = await StreamRepository().create(user.id, "plasmodb")
    assert len(sent) == 1
    assert first.id == identity
    assert [first.projection.name, second.projection.name] == ["New Conversation", "New Conversation (1)"]


async def test_opening_a_conversation_is_one_query_with_owner_site_and_creation_time(user):
    made = await StreamRepository().create(user.id, "plasmodb")
    with recorded() as sent:
        found = await StreamRepository().get_projection(made.id)
        shown = (found.stream.user_id, found.stream.site_id, found.stream.created_at)
    assert len(sent) == 1
    assert shown == (user.id, "plasmodb", made.created_at)


async def test_the_sidebar_shows_no_plans_and_reaches_strategy_51(user):
    await StreamRepository().sync_wdk(
        user.id, "plasmodb", [WdkStrategy(wdk_strategy_id=number, name="s") for number in range(60)]
    )
    first = await StreamRepository().page_projections(user.id, limit=50)
    second = await StreamRepository().page_projections(user.id, limit=50, cursor=first.next_cursor)
    assert (len(first.items), len(second.items)) == (50, 10)
    assert not hasattr(first.items[0], "plan")


async def test_wdk_sync_reports_what_it_did_and_leaves_alone_what_did_not_change(user):
    given = [WdkStrategy(wdk_strategy_id=number, name=f"s{number}") for number in range(4)]
    first = await StreamRepository().sync_wdk(user.id, "plasmodb", given)
    streams = first.stream_ids(SyncOutcome.INSERTED)
    await StreamRepository().update_projection(streams[0], name="renamed here")
    await StreamRepository().dismiss(streams[1])
    given[2] = replace(given[2], result_count=9)
    second = await StreamRepository().sync_wdk(user.id, "plasmodb", [*given, {"wdk_strategy_id": -1}])
    assert [item.outcome.value for item in second.strategies] == [
        "unchanged",
        "skipped",
        "updated",
        "unchanged",
        "refused",
    ]
    assert (await StreamRepository().get_projection(streams[0])).name == "renamed here"


async def test_pruning_dismisses_with_a_reason_and_refuses_empty_and_foreign_lists(user):
    given = [WdkStrategy(wdk_strategy_id=number) for number in range(4)]
    report = await StreamRepository().sync_wdk(user.id, "plasmodb", given)
    for live in ([], [77, 78]):
        with pytest.raises(PruneRefusedError):
            await StreamRepository().prune_wdk_orphans(user.id, "plasmodb", live)
    gone = await StreamRepository().prune_wdk_orphans(user.id, "plasmodb", [0, 1, 2])
    assert gone == [report.strategies[3].stream_id]
    assert (await StreamRepository().get_projection(gone[0])).dismissed_reason == "wdk_orphan"


async def test_a_linked_conversation_without_a_root_says_that_its_plan_is_to_be_fetched(user):
    report = await StreamRepository().sync_wdk(user.id, "plasmodb", [WdkStrategy(wdk_strategy_id=7, step_count=3)])
    found = await StreamRepository().get_projection(report.strategies[0].stream_id)
    assert found.wdk_strategy_id == 7
    assert found.root_step_id is None
    assert "root" not in found.plan


async def test_gene_set_import_is_found_in_sql_links_in_one_transaction_and_is_a_latch(user):
    report = await StreamRepository().sync_wdk(
        user.id, "plasmodb", [WdkStrategy(wdk_strategy_id=number) for number in range(60)]
    )
    todo = await StreamRepository().page_gene_set_imports(user.id, "plasmodb", limit=100)
    assert len(todo.items) == 60
    stream = report.strategies[0].stream_id
    made = await GeneSetRepository().import_for_stream(stream, name="genes", gene_ids=["g"], automatic=True)
    found = await StreamRepository().get_projection(stream)
    assert (found.gene_set_id, found.gene_set_auto_imported) == (made.id, True)
    await StreamRepository().update_projection(stream, gene_set_auto_imported=False)
    assert (await StreamRepository().get_projection(stream)).gene_set_auto_imported
    await StreamRepository().delete(stream)
    assert await GeneSetRepository().get_by_id(made.id) is not None


async def test_deleting_dismissing_and_restoring(user):
    made = await StreamRepository().create(user.id, "plasmodb")
    await StreamRepository().update_projection(made.id, plan={"root": {"id": "a", "searchName": "s"}}, result_count=1)
    await StreamProjection.filter(stream_id=made.id).update(message_count=12)
    await StreamRepository().dismiss(made.id)
    first = (await StreamRepository().get_projection(made.id)).dismissed_at
    assert first is not None
    await StreamRepository().dismiss(made.id)
    assert (await StreamRepository().get_projection(made.id)).dismissed_at == first
    await StreamRepository().restore(made.id)
    found = await StreamRepository().get_projection(made.id)
    assert (found.dismissed_at, found.plan, found.step_count, found.result_count, found.message_count) == (
        None,
        {},
        0,
        None,
        0,
    )
    assert await StreamRepository().delete(made.id)
    assert await StreamRepository().get_projection(made.id) is None


async def test_background_jobs_are_registered_polled_ended_and_listed(user):
    stream = await StreamRepository().create(user.id, "plasmodb")
    lease = await OperationRepository().start(user.id, "chat", stream_id=stream.id, worker_id="w", lease_seconds=30)
    other = await OperationRepository().register(user.id, "experiment")
    assert [item.id for item in await OperationRepository().list_active_by_stream(stream.id)] == [lease.operation_id]
    page = await OperationRepository().page_active(user.id, type="experiment")
    assert [item.id for item in page.items] == [other.id]
    with recorded() as sent:
        status = await OperationRepository().get_status(lease.operation_id)
    assert len(sent) == 1
    assert status.status is OperationStatus.ACTIVE
    await LeaseRepository().complete(lease)
    await OperationRepository().request_cancel(other.id)
    ended = [await OperationRepository().get_status(identity) for identity in (lease.operation_id, other.id)]
    assert [item.status for item in ended] == [OperationStatus.COMPLETED, OperationStatus.CANCELLED]


async def test_control_sets_are_listed_by_tag_before_the_limit_changed_and_seeded(user):
    repository = ControlSetRepository()
    wanted = await repository.create(name="wanted", tags=["rare"], user_id=user.id, **GENES)
    for number in range(3):
        await repository.create(name=f"n{number}", tags=["common"], user_id=user.id, **GENES)
    assert [item.id for item in await repository.list_by_site("plasmodb", user.id, ["rare"], 1)] == [wanted.id]
    assert (await repository.update(wanted.id, ControlSetPatch(name="new"))).version == 2
    seeds = [await repository.upsert_seed(name="seed", **GENES) for _ in range(2)]
    assert seeds[0].id == seeds[1].id
    assert await repository.delete(wanted.id)


async def test_experiments_are_saved_often_read_by_id_listed_patched_and_deleted(user, stranger):
    repository, identity, version = ExperimentRepository(), uuid4(), 0
    for step in range(20):
        version = await repository.save(
            identity,
            user_id=user.id,
            data={"step": step},
            benchmark_id="m",
            batch_id="b",
            version=version,
            **RUN,
        )
    primary = uuid4()
    await repository.save(primary, user_id=user.id, data={}, benchmark_id="m", is_primary=True, **RUN)
    assert version == 20
    assert [row.id for row in await repository.get_many([primary, identity], user_id=user.id)] == [primary, identity]
    assert await repository.get_many([identity], user_id=stranger.id) == []
    assert [item.id for item in (await repository.page_by_benchmark(user.id, "m")).items] == [primary, identity]
    assert [item.id for item in (await repository.page_by_batch(user.id, "b")).items] == [identity]
    summaries = (await repository.page_summaries(user.id, "plasmodb")).items
    assert len(summaries) == 2
    assert not hasattr(summaries[0], "data")
    await repository.patch_field(identity, "notes", "checked")
    assert (await repository.get_by_id(identity)).data == {"step": 19, "notes": "checked"}
    assert await repository.delete(identity)


async def test_gene_sets_are_listed_without_ids_found_by_wdk_strategy_and_by_gene(user):
    repository, identity = GeneSetRepository(), uuid4()
    await repository.save(
        identity, user_id=user.id, site_id="plasmodb", name="g", gene_ids=["g1", "g2"], wdk_strategy_id=7
    )
    await ControlSetRepository().create(name="c", user_id=user.id, **{**GENES, "positive_ids": ["g1"]})
    summary = (await repository.page_summaries(user.id, "plasmodb")).items[0]
    assert (summary.gene_count, hasattr(summary, "gene_ids")) == (2, False)
    assert await repository.find_by_wdk_strategy(user.id, 7)
    assert len((await repository.page_containing(user.id, ["g1"])).items) == 1
    assert len((await ControlSetRepository().page_containing("plasmodb", ["g1"], user.id)).items) == 1
    assert await repository.delete(identity)


async def test_purge_reports_and_export_hands_over(user):
    stream = await StreamRepository().create(user.id, "plasmodb")
    lines = [json.loads(line) async for line in AccountRepository().export(user.id)]
    assert [line["table"] for line in lines] == ["users", "streams", "stream_projections"]
    foreseen = await AccountRepository().purge(user.id, dry_run=True)
    done = await AccountRepository().purge(user.id)
    assert foreseen.stream_ids == done.stream_ids == (stream.id,)
    assert await UserRepository().get_by_id(user.id) is None


async def test_readiness_shows_database_pool_and_migrations(store):
    found = await check_readiness()
    assert (found.ready, found.database, found.pending_migrations) == (True, True, ())
    assert found.pool_max_size == 10


async def test_a_stream_for_an_experiment_is_made_once_for_two_tabs(user):
    experiment = uuid4()
    tabs = [StreamRepository().get_or_create_for_experiment(user.id, "plasmodb", experiment) for _ in range(2)]
    assert len({stream.id for stream in await asyncio.gather(*tabs)}) == 1


async def test_an_ensured_id_that_is_somebody_elses_looks_missing(user, stranger):
    made = await StreamRepository().ensure(user.id, "plasmodb", uuid4())
    with pytest.raises(NotFoundError):
        await StreamRepository().ensure(stranger.id, "plasmodb", made.id)


async def test_the_system_stream_is_fixed(store):
    made = await asyncio.gather(*(StreamRepository().get_system_stream() for _ in range(20)))
    assert {stream.id for stream in made} == {SYSTEM_STREAM_ID}
    assert made[0].user_id == SYSTEM_USER_ID


async def test_a_savepoint_goes_on_with_the_next_item_and_a_long_job_commits_half_way(user):
    experiments = [uuid4() for _ in range(4)]
    await ExperimentRepository().save(experiments[1], user_id=user.id, data={}, **RUN)
    with pytest.raises(RuntimeError):
        async with async_session_factory() as session:
            repository, refused = ExperimentRepository(session), []
            for identity in experiments[:3]:
                try:
                    async with session.savepoint():
                        await repository.save(identity, user_id=user.id, data={}, **RUN)
                except StaleVersionError:
                    refused.append(identity)
            assert refused == [experiments[1]]
            await session.commit()
            await repository.save(experiments[3], user_id=user.id, data={}, **RUN)
            raise RuntimeError
    found = await ExperimentRepository().get_many(experiments, user_id=user.id)
    assert [row.id for row in found] == experiments[:3]


async def test_the_stream_ids_of_a_user_are_listed(user):
    made = {(await StreamRepository().create(user.id, "plasmodb")).id for _ in range(3)}
    assert {item.stream_id async for item in StreamRepository().iterate_projections(user.id)} == made
    assert await Stream.filter(user_id=user.id).count() == 3


async def test_an_operation_knows_its_owner(user):
    made = await OperationRepository().register(user.id, "batch")
    assert (await OperationRepository().get_by_id(made.id)).user_id == user.id
