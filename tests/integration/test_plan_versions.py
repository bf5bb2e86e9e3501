"""Two tabs cannot overwrite each other's plan unknowingly: a save says which version of the plan it has seen."""

import asyncio

import pytest

from tests.support.calls import new_stream, projection, refusal, waiting_for_a_lock
from tests.support.jobs import at_once
from tests.support.statements import recorded
from veupath_store import Event, NotFoundError, Projector, StreamRepository, async_session_factory
from veupath_store.errors import StaleVersionError
from veupath_store.values import ProjectionPatch

SNAPSHOT = {"steps": [{"id": "a", "searchName": "Genes"}], "rootStepId": "a"}


def plan(name):
    return {"root": {"id": name, "searchName": "Genes"}}


async def seen(stream):
    return (await projection(stream)).plan_version


def save(stream, step=None, *, streams=None, **given):
    """Save a plan of that step, if any."""
    return (streams or StreamRepository()).update_projection(stream, plan=step and plan(step), **given)


async def test_of_two_tabs_that_save_the_plan_that_both_have_seen_exactly_one_wins(user, stream):
    mine = StreamRepository().for_user(user.id)
    for round_ in range(50):
        version = await seen(stream)
        assert version == round_
        tabs = ("one", "two")
        done = await at_once(save(stream, tab, streams=mine, expected=version) for tab in tabs)
        [winner] = [tab for tab, result in zip(tabs, done, strict=True) if result is None]
        assert sum(isinstance(result, StaleVersionError) for result in done) == 1
        assert (await projection(stream)).plan == plan(winner)


async def test_a_tab_that_waits_for_the_other_ones_unit_of_work_is_refused(user, stream):
    version = await seen(stream)
    async with async_session_factory() as session:
        await save(stream, "one", streams=StreamRepository(session), name="one", expected=version)
        waiting = asyncio.ensure_future(
            StreamRepository().patch_projection(stream, ProjectionPatch(plan=plan("two"), name="two"), expected=version)
        )
        await waiting_for_a_lock()
        assert not waiting.done()
    await refusal(StaleVersionError, waiting)
    found = await projection(stream)
    assert (found.plan, found.name, found.plan_version) == (plan("one"), "one", version + 1)


async def test_a_stale_save_changes_nothing_and_the_one_that_has_read_again_does(user, stream):
    version = await seen(stream)
    await save(stream, "one", expected=version)
    before = dict(await projection(stream))
    other = await new_stream(user, wdk_strategy_id=7)
    late = save(stream, "two", name="two", wdk_strategy_id=7, expected=version)
    assert (await refusal(StaleVersionError, late, "read it again")).entity == "stream"
    assert dict(await projection(stream)) == before
    assert (await projection(other)).wdk_strategy_id == 7
    for given in ({}, {"result_count": 3}):
        await refusal(StaleVersionError, save(stream, **given, expected=version))
    await save(stream, "two", expected=version + 1)
    assert (await projection(stream)).plan == plan("two")


async def test_what_leaves_the_plan_alone_is_in_nobodys_way(user, stream):
    version = await seen(stream)
    await StreamRepository().update_projection(stream, name="renamed", wdk_strategy_id=7, step_count=3, result_count=1)
    await StreamRepository().sync_wdk(user.id, "plasmodb", [{"wdk_strategy_id": 7, "name": "theirs"}])
    await StreamRepository().dismiss(stream)
    assert await seen(stream) == version
    await StreamRepository().restore(stream)
    assert await seen(stream) == version + 1, "a restore takes the plan away"


async def test_a_summary_carries_the_version_too(user, stream):
    await save(stream, "one")
    [listed] = await StreamRepository().list_projections(user.id)
    assert listed.plan_version == await seen(stream) == 1
    assert await seen(await new_stream(user)) == 0


async def test_missing_foreign_and_stale_are_told_apart_and_only_a_refusal_costs_a_read(user, stranger, stream):
    await save(stream, "one")
    mine, theirs = [StreamRepository().for_user(each.id) for each in (user, stranger)]
    for streams, identity in ((theirs, stream), (mine, user.id)):
        for version in (0, 1):
            await refusal(NotFoundError, save(identity, "two", streams=streams, expected=version))
    with recorded(exactly=1):
        await save(stream, "two", streams=mine, expected=1)
    with recorded(exactly=2):
        await refusal(StaleVersionError, save(stream, "three", streams=mine, expected=1))


@pytest.mark.with_log
async def test_a_jobs_snapshot_counts_and_messages_and_the_rows_own_logging_do_not(stream):
    async def told(kind, data):
        await Projector().append(stream, [Event(type=kind, data=data)])
        await Projector().catch_up(stream)
        return await seen(stream)

    await save(stream, "one", expected=0)
    for _ in range(2):
        await Projector().catch_up(stream)
    assert await told("user_message", {"content": "hello"}) == 1
    assert await told("graph_snapshot", {"graphSnapshot": SNAPSHOT}) == 2
    await refusal(StaleVersionError, save(stream, "two", expected=1))
    several = {"steps": [{"id": "a", "searchName": "x"}, {"id": "b", "searchName": "y"}], "rootStepId": None}
    assert await told("graph_snapshot", {"graphSnapshot": several}) == 3, "steps without a root are part of it"


@pytest.mark.with_log
async def test_a_rebuild_that_finds_the_plan_as_it_is_refuses_nobody(stream):
    await save(stream, "one")
    await Projector().catch_up(stream)
    version = await seen(stream)
    assert not (await Projector().rebuild()).refused
    assert await seen(stream) == version
    assert not (await Projector().verify()).suspects
