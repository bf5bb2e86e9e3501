"""Conversations, one call at a time."""

import asyncio
from uuid import UUID, uuid4

import pytest

from tests.support.calls import new_stream, projection, refusal
from tests.support.statements import recorded
from veupath_store.errors import ConflictError, InvalidInputError, NotFoundError
from veupath_store.models import GeneSetRow, Stream, StreamProjection
from veupath_store.repositories import ControlSetRepository, StreamRepository, UserRepository
from veupath_store.session import async_session_factory
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


async def values(stream_id, *columns):
    found = await projection(stream_id)
    return tuple(getattr(found, column) for column in columns)


async def update(stream_id, **columns):
    await StreamRepository().update_projection(stream_id, **columns)


async def new_gene_set(user):
    return (await GeneSetRow.create(user_id=user.id, site_id="plasmodb", name="set")).id


@pytest.mark.without_log
async def test_a_new_conversation_reads_back_as_it_was_returned(user):
    experiment = uuid4()
    made = await StreamRepository().create(user.id, "plasmodb", name="Kinases", experiment_id=str(experiment))
    read = await projection(made.id)
    assert dict(made.projection) == dict(read)
    assert dict(made) == dict(read.stream)
    assert made.experiment_id == experiment
    assert isinstance(made.id, UUID)


async def test_a_new_conversation_takes_a_given_id(user):
    identity = uuid4()
    assert (await StreamRepository().create(user.id, "plasmodb", stream_id=identity)).id == identity
    refused = await refusal(ConflictError, StreamRepository().create(user.id, "plasmodb", stream_id=identity))
    assert refused.constraint == "stream_projections_pkey"


async def test_a_conversation_of_an_unknown_user_leaves_neither_stream_nor_projection(store):
    assert (await refusal(NotFoundError, StreamRepository().create(uuid4(), "plasmodb"))).entity == "user"
    assert await Stream.all().count() == await StreamProjection.all().count() == 0


async def test_opening_a_conversation_has_its_stream_loaded(user):
    made = await StreamRepository().create(user.id, "plasmodb")
    stream = (await projection(made.id)).stream
    assert (stream.user_id, stream.site_id, stream.created_at) == (user.id, "plasmodb", made.created_at)
    assert await StreamRepository().get_projection(uuid4()) is None


@pytest.mark.without_log
async def test_only_what_is_given_changes(user):
    made = await new_stream(
        user, name="Kinases", plan=PLAN, record_type="transcript", wdk_strategy_id=7, is_saved=True, result_count=3
    )
    before = await projection(made)
    await update(made)
    assert dict(await projection(made)) == dict(before)
    await update(made, result_count=4)
    after = await projection(made)
    assert {name for name, value in after if value != getattr(before, name)} == {
        *("result_count", "updated_at", "unlogged")
    }
    assert {name for name, tag in after.unlogged.items() if tag != before.unlogged.get(name)} == {"result_count"}
    assert after.updated_at > before.updated_at


async def test_a_set_flag_makes_none_a_value(user):
    made = await new_stream(user)
    given = {"wdk_strategy_id": 7, "is_saved": True, "result_count": 3, "gene_set_id": await new_gene_set(user)}
    await update(made, **given)
    await update(made, **dict.fromkeys(given))
    assert await values(made, *given) == tuple(given.values())
    await update(made, **{f"{column}_set": True for column in given})
    assert await values(made, *given) == (None, False, None, None)


async def test_a_patch_tells_unset_from_none(user):
    made = await new_stream(user)
    await StreamRepository().patch_projection(made, ProjectionPatch(result_count=3, wdk_strategy_id=7))
    await StreamRepository().patch_projection(made, ProjectionPatch(result_count=None))
    assert await values(made, "result_count", "wdk_strategy_id") == (None, 7)
    with pytest.raises(InvalidInputError) as caught:
        ProjectionPatch(owner="somebody")
    assert caught.value.path == "owner"


async def test_steps_and_root_are_derived_from_the_plan_at_each_read_and_a_given_count_wins(user):
    made = await new_stream(user)
    smaller = {"recordType": "transcript", "root": PLAN["root"]["primaryInput"]}
    for plan, steps, root, count in ((PLAN, ["s1", "s2", "c1"], "c1", 2), (smaller, ["s1"], "s1", 1)):
        await update(made, plan=plan)
        found = await projection(made)
        assert [step["id"] for step in found.steps] == steps
        assert (found.root_step_id, found.step_count, found.plan) == (root, count, plan)
    await update(made, plan=PLAN, step_count=9)
    assert await values(made, "step_count") == (9,)


async def test_auto_import_is_a_latch(user):
    made = await new_stream(user)
    for given, expected in ((False, False), (True, True), (False, True)):
        await update(made, gene_set_auto_imported=given)
        assert await values(made, "gene_set_auto_imported") == (expected,)


async def test_another_users_gene_set_cannot_be_linked(user, stranger):
    made = await new_stream(user)
    for missing in (await new_gene_set(stranger), uuid4()):
        assert (await refusal(NotFoundError, update(made, gene_set_id=missing))).entity == "gene set"


async def test_a_gene_set_outlives_its_conversation_and_a_link_does_not_outlive_its_gene_set(user):
    gene_set = await new_gene_set(user)
    first, second = [await new_stream(user, gene_set_id=gene_set) for _ in range(2)]
    assert await StreamRepository().delete(first)
    assert await GeneSetRow.filter(id=gene_set).exists()
    await GeneSetRow.filter(id=gene_set).delete()
    assert await values(second, "gene_set_id", "user_id") == (None, user.id)


async def test_claiming_a_wdk_id_hands_it_over_within_user_and_site(user, stranger):
    link = {"wdk_strategy_id": 7, "is_saved": True}
    first, second = await new_stream(user, **link), await new_stream(user)
    others = [await new_stream(user, "toxodb", **link), await new_stream(stranger, **link)]
    await update(second, wdk_strategy_id=7)
    links = [await values(stream, "wdk_strategy_id", "is_saved") for stream in (first, second, *others)]
    assert links == [(None, False), (7, False), (7, True), (7, True)]


async def test_a_conversation_is_found_by_its_wdk_id_and_by_its_experiment(user, stranger):
    experiment = uuid4()
    made = (await StreamRepository().create(user.id, "plasmodb", experiment_id=experiment)).id
    await update(made, wdk_strategy_id=2**40)
    by_strategy, by_experiment = StreamRepository().get_by_wdk_strategy_id, StreamRepository().find_by_experiment
    assert (await by_strategy(user.id, 2**40)).stream.id == made
    assert await by_strategy(stranger.id, 2**40) is None
    assert await by_strategy(user.id, 8) is None
    assert (await by_experiment(user.id, experiment)).id == made
    assert await by_experiment(stranger.id, experiment) is None


async def test_the_sidebar_is_newest_first_without_dismissed_ones_and_reads_no_plan(user):
    streams = [await new_stream(user, name=f"c{i}") for i in range(4)]
    await new_stream(user, "toxodb", "elsewhere")
    await update(streams[0], plan=PLAN)
    await StreamRepository().dismiss(streams[2])
    with recorded(exactly=1) as sent:
        listed = await StreamRepository().list_projections(user.id, "plasmodb")
    assert [item.name for item in listed] == ["c0", "c3", "c1"]
    assert listed[0].step_count == 2
    assert '"plan"' not in sent[0]
    assert [item.name for item in await StreamRepository().list_projections(user.id, limit=1)] == ["c0"]
    assert [item.name for item in await StreamRepository().list_dismissed_projections(user.id)] == ["c2"]


async def test_strategy_51_is_reachable(user):
    for _ in range(60):
        await new_stream(user)
    assert len(await StreamRepository().list_projections(user.id)) == 50
    assert len(await StreamRepository().list_projections(user.id, limit=51)) == 51


async def test_dismissing_again_keeps_the_first_date_and_writes_nothing(user):
    made = await new_stream(user)
    await StreamRepository().dismiss(made)
    first = await values(made, "dismissed_reason", "dismissed_at", "updated_at")
    assert first[0] == DismissReason.USER
    await StreamRepository().dismiss(made)
    assert await values(made, "dismissed_reason", "dismissed_at", "updated_at") == first


async def test_restoring_clears_dismissal_plan_and_counts_but_keeps_name_and_link(user):
    made = await new_stream(user, name="Kinases", plan=PLAN, result_count=3, wdk_strategy_id=7)
    await StreamProjection.filter(stream_id=made).update(message_count=12)
    await StreamRepository().restore(made)
    assert await values(made, "plan") == (PLAN,), "what is not dismissed keeps its plan"
    await StreamRepository().dismiss(made)
    await StreamRepository().restore(made)
    found = await projection(made)
    assert (found.dismissed_at, found.dismissed_reason, found.plan) == (None, None, {})
    assert (found.step_count, found.result_count, found.message_count) == (0, None, 0)
    assert (found.steps, found.root_step_id) == ([], None)
    assert (found.name, found.wdk_strategy_id) == ("Kinases", 7)


async def test_missing_conversations_say_so(user):
    streams, missing = StreamRepository(), uuid4()
    for call in (streams.dismiss, streams.restore, streams.update_projection):
        assert (await refusal(NotFoundError, call(missing))).entity == "stream"
    assert await streams.get_by_id(missing) is None
    assert not await streams.delete(missing)


async def test_updates_of_different_fields_at_once_do_not_undo_each_other(user):
    made = await new_stream(user)
    for round_ in range(20):
        given = {"result_count": round_, "plan": {"round": round_}, "record_type": f"r{round_}", "name": f"n{round_}"}
        await asyncio.gather(*(update(made, **{column: value}) for column, value in given.items()))
        assert await values(made, *given) == tuple(given.values())


@pytest.mark.parametrize(
    "change",
    [
        lambda streams, stream: streams.update_projection(stream, name="earlier"),
        lambda streams, stream: streams.dismiss(stream),
        lambda streams, stream: streams.claim_wdk_strategy(stream, 7, is_saved=True),
    ],
    ids=["update", "dismiss", "claim"],
)
async def test_a_unit_of_work_that_began_earlier_does_not_set_the_time_back(user, change):
    stream = await new_stream(user)
    async with async_session_factory() as session:
        await StreamRepository(session).get_by_id(stream)  # begins, and has the time of now
        await asyncio.sleep(0.01)
        await update(stream, record_type="later")
        later = await values(stream, "updated_at")
        await change(StreamRepository(session), stream)
    assert await values(stream, "updated_at") >= later


async def test_ensuring_a_conversation_makes_it_once_and_a_foreign_id_looks_missing(user, stranger):
    identity = uuid4()
    made = await asyncio.gather(*(StreamRepository().ensure(user.id, "plasmodb", identity) for _ in range(50)))
    assert {stream.id for stream in made} == {identity}
    assert await Stream.all().count() == 1
    refused = await refusal(NotFoundError, StreamRepository().ensure(stranger.id, "plasmodb", identity))
    assert refused.entity == "stream"


async def test_fifty_tabs_on_an_experiment_get_one_conversation(user, stranger, unit):
    async def open_tab(owner, experiment):
        async with unit() as session:
            streams = StreamRepository(session)
            return await streams.get_or_create_for_experiment(owner.id, "plasmodb", experiment, name="E")

    for _ in range(3):
        experiment = uuid4()
        mine = await asyncio.gather(*(open_tab(user, experiment) for _ in range(50)))
        theirs = await open_tab(stranger, experiment)
        assert len({stream.id for stream in mine}) == 1
        assert theirs.id != mine[0].id
    assert await Stream.filter(user_id=user.id).count() == 3


async def test_a_claim_tells_who_lost_the_strategy(user):
    first, second = await new_stream(user), await new_stream(user)
    claim = StreamRepository().claim_wdk_strategy
    assert await claim(first, 7, is_saved=True) is None
    assert await claim(first, 7) is None
    assert await claim(second, 7) == first
    await refusal(NotFoundError, claim(uuid4(), 7))


async def test_the_system_s_user_and_conversation_have_fixed_ids_and_are_made_once(store):
    made = await asyncio.gather(*(StreamRepository().get_system_stream() for _ in range(20)))
    assert {(stream.id, stream.user_id) for stream in made} == {(SYSTEM_STREAM_ID, SYSTEM_USER_ID)}
    assert (await UserRepository().get_system_user()).id == SYSTEM_USER_ID


SET = ("name", "positive_ids", "negative_ids", "tags")


async def stored(user, strategies):
    """Each of the real strategies with its control set, in a unit of work of its own, all at once."""

    async def store(strategy):
        site, record_type = strategy["site_id"], strategy["record_type"]
        control = {field: strategy["control_set"][field] for field in SET}
        async with async_session_factory() as session:
            streams, sets = StreamRepository(session), ControlSetRepository(session)
            stream = await streams.create(user.id, site, name=strategy["name"])
            await streams.update_projection(stream.id, plan=strategy["plan"], record_type=record_type)
            control_set = await sets.create(site_id=site, record_type=record_type, user_id=user.id, **control)
        return stream.id, control_set.id

    return await asyncio.gather(*map(store, strategies))


def nodes(node):
    """Written for the test, recursively, to check the package's own walk."""
    if node is None:
        return []
    return [*nodes(node.get("primaryInput")), *nodes(node.get("secondaryInput")), node]


async def test_the_real_strategies_read_back_equal_with_derived_steps(user, strategies):
    for (stream_id, set_id), strategy in zip(await stored(user, strategies), strategies, strict=True):
        found = await StreamRepository().get_projection(stream_id)
        expected = nodes(strategy["plan"]["root"])
        assert found.plan == strategy["plan"]
        assert found.record_type == strategy["record_type"]
        assert [step["id"] for step in found.steps] == [node["id"] for node in expected]
        assert found.step_count == sum(1 for node in expected if node.get("searchName"))
        assert found.root_step_id == strategy["plan"]["root"]["id"]
        control_set = await ControlSetRepository().get_by_id(set_id)
        assert {field: getattr(control_set, field) for field in SET}.items() <= strategy["control_set"].items()
