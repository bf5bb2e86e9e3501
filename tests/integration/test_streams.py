"""Conversations, one call at a time."""

import asyncio
from uuid import UUID, uuid4

import pytest

from tests.support.statements import recorded
from veupath_store import (
    ConflictError,
    InvalidInputError,
    NotFoundError,
    StreamRepository,
    UserRepository,
    async_session_factory,
)
from veupath_store.models import GeneSetRow, Stream, StreamProjection
from veupath_store.values import SYSTEM_STREAM_ID, SYSTEM_USER_ID, DismissReason, ProjectionPatch

PLAN = {
    "recordType": "transcript",
    "root": {
        "id": "c1",
        "operator": "INTERSECT",
        "displayName": "both",
        "primaryInput": {"id": "s1", "searchName": "GenesByGoTerm", "parameters": {"go_term": "GO:0004672"}},
        "secondaryInput": {"id": "s2", "searchName": "GenesWithSignalPeptide", "parameters": {}},
    },
    "metadata": {"name": "Secreted kinases"},
}


async def projection(stream_id):
    found = await StreamRepository().get_projection(stream_id)
    assert found is not None
    return found


@pytest.mark.without_log
async def test_a_new_conversation_is_one_statement_and_reads_back_as_it_was_returned(user):
    experiment = uuid4()
    with recorded() as sent:
        made = await StreamRepository().create(user.id, "plasmodb", name="Kinases", experiment_id=str(experiment))
    assert len(sent) == 1
    read = await projection(made.id)
    for field in StreamProjection._meta.db_fields:
        assert getattr(made.projection, field) == getattr(read, field), field
    for field in Stream._meta.db_fields:
        assert getattr(made, field) == getattr(read.stream, field), field
    assert made.experiment_id == experiment
    assert isinstance(made.id, UUID)


async def test_a_new_conversation_takes_a_given_id(user):
    identity = uuid4()
    assert (await StreamRepository().create(user.id, "plasmodb", stream_id=identity)).id == identity
    with pytest.raises(ConflictError) as caught:
        await StreamRepository().create(user.id, "plasmodb", stream_id=identity)
    assert caught.value.constraint == "stream_projections_pkey"


async def test_a_conversation_of_an_unknown_user_leaves_neither_stream_nor_projection(store):
    with pytest.raises(NotFoundError) as caught:
        await StreamRepository().create(uuid4(), "plasmodb")
    assert caught.value.entity == "user"
    assert await Stream.all().count() == 0
    assert await StreamProjection.all().count() == 0


async def test_opening_a_conversation_is_one_query_with_its_stream(user):
    made = await StreamRepository().create(user.id, "plasmodb")
    with recorded() as sent:
        found = await projection(made.id)
        assert found.stream.user_id == user.id
        assert found.stream.site_id == "plasmodb"
        assert found.stream.created_at == made.created_at
    assert len(sent) == 1
    assert await StreamRepository().get_projection(uuid4()) is None


@pytest.mark.without_log
async def test_only_what_is_given_changes(user):
    made = await StreamRepository().create(user.id, "plasmodb", name="Kinases")
    await StreamRepository().update_projection(
        made.id, plan=PLAN, record_type="transcript", wdk_strategy_id=7, is_saved=True, result_count=3
    )
    before = await projection(made.id)
    await StreamRepository().update_projection(made.id, result_count=4)
    after = await projection(made.id)
    changed = {f for f in StreamProjection._meta.db_fields if getattr(before, f) != getattr(after, f)}
    assert changed == {"result_count", "updated_at", "unlogged"}
    tags = {f for f in after.unlogged if after.unlogged[f] != before.unlogged.get(f)}
    assert tags == {"result_count"}
    assert after.updated_at > before.updated_at


@pytest.mark.without_log
async def test_an_update_of_nothing_changes_nothing_but_tells_whether_it_is_there(user):
    made = await StreamRepository().create(user.id, "plasmodb")
    await StreamRepository().update_projection(made.id)
    assert (await projection(made.id)).updated_at == made.projection.updated_at
    with pytest.raises(NotFoundError):
        await StreamRepository().update_projection(uuid4())


async def test_a_set_flag_makes_none_a_value(user):
    made = await StreamRepository().create(user.id, "plasmodb")
    gene_set = await GeneSetRow.create(user_id=user.id, site_id="plasmodb", name="set")
    update = StreamRepository().update_projection
    await update(made.id, wdk_strategy_id=7, is_saved=True, result_count=3, gene_set_id=gene_set.id)
    await update(made.id, wdk_strategy_id=None, is_saved=None, result_count=None, gene_set_id=None)
    kept = await projection(made.id)
    assert (kept.wdk_strategy_id, kept.is_saved, kept.result_count, kept.gene_set_id) == (7, True, 3, gene_set.id)
    await update(made.id, wdk_strategy_id_set=True, is_saved_set=True, result_count_set=True, gene_set_id_set=True)
    cleared = await projection(made.id)
    assert (cleared.wdk_strategy_id, cleared.is_saved, cleared.result_count, cleared.gene_set_id) == (
        None,
        False,
        None,
        None,
    )


async def test_a_patch_tells_unset_from_none(user):
    made = await StreamRepository().create(user.id, "plasmodb")
    await StreamRepository().patch_projection(made.id, ProjectionPatch(result_count=3, wdk_strategy_id=7))
    await StreamRepository().patch_projection(made.id, ProjectionPatch(result_count=None))
    found = await projection(made.id)
    assert (found.result_count, found.wdk_strategy_id) == (None, 7)
    with pytest.raises(InvalidInputError) as caught:
        ProjectionPatch(owner="somebody")
    assert caught.value.path == "owner"


async def test_steps_and_root_are_derived_from_the_plan_at_each_read(user):
    made = await StreamRepository().create(user.id, "plasmodb")
    await StreamRepository().update_projection(made.id, plan=PLAN)
    first = await projection(made.id)
    assert [step["id"] for step in first.steps] == ["s1", "s2", "c1"]
    assert first.root_step_id == "c1"
    assert first.step_count == 2
    assert first.plan == PLAN
    smaller = {"recordType": "transcript", "root": PLAN["root"]["primaryInput"]}
    await StreamRepository().update_projection(made.id, plan=smaller)
    second = await projection(made.id)
    assert [step["id"] for step in second.steps] == ["s1"]
    assert second.root_step_id == "s1"
    assert second.step_count == 1


async def test_a_given_step_count_wins_over_the_plans(user):
    made = await StreamRepository().create(user.id, "plasmodb")
    await StreamRepository().update_projection(made.id, plan=PLAN, step_count=9)
    assert (await projection(made.id)).step_count == 9


async def test_auto_import_is_a_latch(user):
    made = await StreamRepository().create(user.id, "plasmodb")
    for given, expected in ((False, False), (True, True), (False, True)):
        await StreamRepository().update_projection(made.id, gene_set_auto_imported=given)
        assert (await projection(made.id)).gene_set_auto_imported is expected


async def test_another_users_gene_set_cannot_be_linked(user, stranger):
    made = await StreamRepository().create(user.id, "plasmodb")
    foreign = await GeneSetRow.create(user_id=stranger.id, site_id="plasmodb", name="set")
    for missing in (foreign.id, uuid4()):
        with pytest.raises(NotFoundError) as caught:
            await StreamRepository().update_projection(made.id, gene_set_id=missing)
        assert caught.value.entity == "gene set"


async def test_a_gene_set_outlives_its_conversation_and_a_link_does_not_outlive_its_gene_set(user):
    gene_set = await GeneSetRow.create(user_id=user.id, site_id="plasmodb", name="set")
    first, second = [await StreamRepository().create(user.id, "plasmodb") for _ in range(2)]
    for stream in (first, second):
        await StreamRepository().update_projection(stream.id, gene_set_id=gene_set.id)
    assert await StreamRepository().delete(first.id)
    assert await GeneSetRow.filter(id=gene_set.id).exists()
    await GeneSetRow.filter(id=gene_set.id).delete()
    found = await projection(second.id)
    assert found.gene_set_id is None
    assert found.user_id == user.id


async def test_claiming_a_wdk_id_hands_it_over_within_user_and_site(user, stranger):
    first, second = [await StreamRepository().create(user.id, "plasmodb") for _ in range(2)]
    elsewhere = await StreamRepository().create(user.id, "toxodb")
    theirs = await StreamRepository().create(stranger.id, "plasmodb")
    for stream in (first, elsewhere, theirs):
        await StreamRepository().update_projection(stream.id, wdk_strategy_id=7, is_saved=True)
    await StreamRepository().update_projection(second.id, wdk_strategy_id=7)
    links = {
        stream.id: ((await projection(stream.id)).wdk_strategy_id, (await projection(stream.id)).is_saved)
        for stream in (first, second, elsewhere, theirs)
    }
    assert links == {first.id: (None, False), second.id: (7, False), elsewhere.id: (7, True), theirs.id: (7, True)}


async def test_a_conversation_is_found_by_its_wdk_id_and_by_its_experiment(user, stranger):
    experiment = uuid4()
    made = await StreamRepository().create(user.id, "plasmodb", experiment_id=experiment)
    await StreamRepository().update_projection(made.id, wdk_strategy_id=2**40)
    found = await StreamRepository().get_by_wdk_strategy_id(user.id, 2**40)
    assert found is not None
    assert found.stream.id == made.id
    assert await StreamRepository().get_by_wdk_strategy_id(stranger.id, 2**40) is None
    assert await StreamRepository().get_by_wdk_strategy_id(user.id, 8) is None
    assert (await StreamRepository().find_by_experiment(user.id, experiment)).id == made.id
    assert await StreamRepository().find_by_experiment(stranger.id, experiment) is None


async def test_the_sidebar_is_newest_first_without_dismissed_ones_and_reads_no_plan(user):
    streams = [await StreamRepository().create(user.id, "plasmodb", name=f"c{i}") for i in range(4)]
    await StreamRepository().create(user.id, "toxodb", name="elsewhere")
    await StreamRepository().update_projection(streams[0].id, plan=PLAN)
    await StreamRepository().dismiss(streams[2].id)
    with recorded() as sent:
        listed = await StreamRepository().list_projections(user.id, "plasmodb")
    assert [item.name for item in listed] == ["c0", "c3", "c1"]
    assert listed[0].step_count == 2
    assert len(sent) == 1
    assert '"plan"' not in sent[0]
    assert [item.name for item in await StreamRepository().list_projections(user.id, limit=1)] == ["c0"]
    assert [item.name for item in await StreamRepository().list_dismissed_projections(user.id)] == ["c2"]


async def test_strategy_51_is_reachable(user):
    for _ in range(60):
        await StreamRepository().create(user.id, "plasmodb")
    assert len(await StreamRepository().list_projections(user.id)) == 50
    assert len(await StreamRepository().list_projections(user.id, limit=51)) == 51


async def test_dismissing_again_keeps_the_first_date_and_writes_nothing(user):
    made = await StreamRepository().create(user.id, "plasmodb")
    await StreamRepository().dismiss(made.id)
    first = await projection(made.id)
    assert first.dismissed_reason == DismissReason.USER
    await StreamRepository().dismiss(made.id)
    second = await projection(made.id)
    assert second.dismissed_at == first.dismissed_at
    assert second.updated_at == first.updated_at


async def test_restoring_clears_dismissal_plan_and_counts_but_keeps_name_and_link(user):
    made = await StreamRepository().create(user.id, "plasmodb", name="Kinases")
    await StreamRepository().update_projection(made.id, plan=PLAN, result_count=3, wdk_strategy_id=7)
    await StreamProjection.filter(stream_id=made.id).update(message_count=12)
    await StreamRepository().dismiss(made.id)
    await StreamRepository().restore(made.id)
    found = await projection(made.id)
    assert (found.dismissed_at, found.dismissed_reason, found.plan) == (None, None, {})
    assert (found.step_count, found.result_count, found.message_count) == (0, None, 0)
    assert (found.steps, found.root_step_id) == ([], None)
    assert (found.name, found.wdk_strategy_id) == ("Kinases", 7)


async def test_restoring_what_is_not_dismissed_keeps_its_plan(user):
    made = await StreamRepository().create(user.id, "plasmodb")
    await StreamRepository().update_projection(made.id, plan=PLAN)
    await StreamRepository().restore(made.id)
    assert (await projection(made.id)).plan == PLAN


async def test_missing_conversations_say_so(user):
    missing = uuid4()
    repository = StreamRepository()
    for call in (repository.dismiss, repository.restore, repository.update_projection):
        with pytest.raises(NotFoundError) as caught:
            await call(missing)
        assert caught.value.entity == "stream"
    assert await repository.get_by_id(missing) is None
    assert not await repository.delete(missing)


async def test_updates_of_different_fields_at_once_do_not_undo_each_other(user):
    made = await StreamRepository().create(user.id, "plasmodb")
    repository = StreamRepository()
    for round_ in range(20):
        await asyncio.gather(
            repository.update_projection(made.id, result_count=round_),
            repository.update_projection(made.id, plan={"round": round_}),
            repository.update_projection(made.id, record_type=f"r{round_}"),
            repository.update_projection(made.id, name=f"n{round_}"),
        )
        found = await projection(made.id)
        assert (found.result_count, found.plan, found.record_type, found.name) == (
            round_,
            {"round": round_},
            f"r{round_}",
            f"n{round_}",
        )


@pytest.mark.parametrize(
    "change",
    [
        lambda streams, stream: streams.update_projection(stream.id, name="earlier"),
        lambda streams, stream: streams.dismiss(stream.id),
        lambda streams, stream: streams.claim_wdk_strategy(stream.id, 7, is_saved=True),
    ],
    ids=["update", "dismiss", "claim"],
)
async def test_a_unit_of_work_that_began_earlier_does_not_set_the_time_back(user, change):
    stream = await StreamRepository().create(user.id, "plasmodb")
    async with async_session_factory() as session:
        await StreamRepository(session).get_by_id(stream.id)  # begins, and has the time of now
        await asyncio.sleep(0.01)
        await StreamRepository().update_projection(stream.id, record_type="later")
        later = (await projection(stream.id)).updated_at
        await change(StreamRepository(session), stream)
    assert (await projection(stream.id)).updated_at >= later


async def test_ensuring_a_conversation_makes_it_once_and_a_foreign_id_looks_missing(user, stranger):
    identity = uuid4()
    made = await asyncio.gather(*(StreamRepository().ensure(user.id, "plasmodb", identity) for _ in range(50)))
    assert {stream.id for stream in made} == {identity}
    assert await Stream.all().count() == 1
    with pytest.raises(NotFoundError) as caught:
        await StreamRepository().ensure(stranger.id, "plasmodb", identity)
    assert caught.value.entity == "stream"
    with pytest.raises(NotFoundError):
        await StreamRepository().for_user(stranger.id).ensure(user.id, "plasmodb", identity)


@pytest.mark.parametrize("in_session", [False, True])
async def test_fifty_tabs_on_an_experiment_get_one_conversation(user, stranger, in_session):
    async def open_tab(owner, experiment):
        if not in_session:
            return await StreamRepository().get_or_create_for_experiment(owner.id, "plasmodb", experiment, name="E")
        async with async_session_factory() as session:
            repository = StreamRepository(session)
            return await repository.get_or_create_for_experiment(owner.id, "plasmodb", experiment, name="E")

    for _ in range(3):
        experiment = uuid4()
        mine = await asyncio.gather(*(open_tab(user, experiment) for _ in range(50)))
        theirs = await open_tab(stranger, experiment)
        assert len({stream.id for stream in mine}) == 1
        assert theirs.id != mine[0].id
    assert await Stream.filter(user_id=user.id).count() == 3


async def test_a_claim_tells_who_lost_the_strategy(user):
    first, second = [await StreamRepository().create(user.id, "plasmodb") for _ in range(2)]
    assert await StreamRepository().claim_wdk_strategy(first.id, 7, is_saved=True) is None
    assert await StreamRepository().claim_wdk_strategy(first.id, 7) is None
    assert await StreamRepository().claim_wdk_strategy(second.id, 7) == first.id
    with pytest.raises(NotFoundError):
        await StreamRepository().claim_wdk_strategy(uuid4(), 7)


async def test_the_system_s_user_and_conversation_have_fixed_ids_and_are_made_once(store):
    made = await asyncio.gather(*(StreamRepository().get_system_stream() for _ in range(20)))
    assert {(stream.id, stream.user_id) for stream in made} == {(SYSTEM_STREAM_ID, SYSTEM_USER_ID)}
    assert (await UserRepository().get_system_user()).id == SYSTEM_USER_ID
