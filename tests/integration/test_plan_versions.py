"""Two tabs cannot overwrite each other's plan unknowingly: a save says which version of the plan it has seen."""

import asyncio

import pytest

from tests.support.statements import recorded
from veupath_store import Event, InvalidInputError, NotFoundError, Projector, StreamRepository, async_session_factory
from veupath_store.errors import StaleVersionError
from veupath_store.values import ProjectionPatch

SNAPSHOT = {"steps": [{"id": "a", "searchName": "Genes"}], "rootStepId": "a"}


def plan(name):
    return {"root": {"id": name, "searchName": "Genes"}}


async def seen(stream):
    return (await StreamRepository().get_projection(stream)).plan_version


async def test_of_two_tabs_that_save_the_plan_that_both_have_seen_exactly_one_wins(user, stream):
    async def save(tab, version):
        try:
            await StreamRepository().for_user(user.id).update_projection(stream, plan=plan(tab), expected=version)
        except StaleVersionError:
            return None
        return tab

    for round_ in range(50):
        version = await seen(stream)
        assert version == round_
        winners = [tab for tab in await asyncio.gather(save("one", version), save("two", version)) if tab]
        assert len(winners) == 1
        assert (await StreamRepository().get_projection(stream)).plan == plan(winners[0])


async def test_a_tab_that_waits_for_the_other_ones_unit_of_work_is_refused(user, stream):
    version = await seen(stream)
    async with async_session_factory() as session:
        await StreamRepository(session).update_projection(stream, plan=plan("one"), name="one", expected=version)
        waiting = asyncio.ensure_future(
            StreamRepository().patch_projection(stream, ProjectionPatch(plan=plan("two"), name="two"), expected=version)
        )
        await asyncio.sleep(0.2)
        assert not waiting.done()
    with pytest.raises(StaleVersionError):
        await waiting
    found = await StreamRepository().get_projection(stream)
    assert (found.plan, found.name, found.plan_version) == (plan("one"), "one", version + 1)


async def test_a_stale_save_changes_nothing_and_the_one_that_has_read_again_does(user, stream):
    version = await seen(stream)
    await StreamRepository().update_projection(stream, plan=plan("one"), expected=version)
    before = dict(await StreamRepository().get_projection(stream))
    other = (await StreamRepository().create(user.id, "plasmodb")).id
    await StreamRepository().claim_wdk_strategy(other, 7)
    with pytest.raises(StaleVersionError, match="read it again") as caught:
        await StreamRepository().update_projection(
            stream, plan=plan("two"), name="two", wdk_strategy_id=7, expected=version
        )
    assert caught.value.entity == "stream"
    assert dict(await StreamRepository().get_projection(stream)) == before
    assert (await StreamRepository().get_projection(other)).wdk_strategy_id == 7
    for given in ({}, {"result_count": 3}):
        with pytest.raises(StaleVersionError):
            await StreamRepository().update_projection(stream, **given, expected=version)
    await StreamRepository().update_projection(stream, plan=plan("two"), expected=version + 1)
    assert (await StreamRepository().get_projection(stream)).plan == plan("two")


async def test_what_leaves_the_plan_alone_is_in_nobodys_way(user, stream):
    version = await seen(stream)
    await StreamRepository().update_projection(stream, name="renamed", wdk_strategy_id=7, step_count=3, result_count=1)
    await StreamRepository().sync_wdk(user.id, "plasmodb", [{"wdk_strategy_id": 7, "name": "theirs"}])
    await StreamRepository().dismiss(stream)
    assert await seen(stream) == version
    await StreamRepository().restore(stream)
    assert await seen(stream) == version + 1, "a restore takes the plan away"


async def test_a_summary_carries_the_version_too(user, stream):
    await StreamRepository().update_projection(stream, plan=plan("one"))
    [listed] = await StreamRepository().list_projections(user.id)
    assert listed.plan_version == await seen(stream) == 1
    assert (await StreamRepository().create(user.id, "plasmodb")).projection.plan_version == 0


async def test_missing_foreign_and_stale_are_told_apart_and_only_a_refusal_costs_a_read(user, stranger, stream):
    await StreamRepository().update_projection(stream, plan=plan("one"))
    for repository in (StreamRepository().for_user(stranger.id), StreamRepository().for_user(user.id)):
        identity = stream if repository._owner == stranger.id else user.id
        for version in (0, 1):
            with pytest.raises(NotFoundError):
                await repository.update_projection(identity, plan=plan("two"), expected=version)
    with recorded() as sent:
        await StreamRepository().for_user(user.id).update_projection(stream, plan=plan("two"), expected=1)
    assert len(sent) == 1
    with recorded() as sent, pytest.raises(StaleVersionError):
        await StreamRepository().for_user(user.id).update_projection(stream, plan=plan("three"), expected=1)
    assert len(sent) == 2
    for wrong in (-1, "1", 1.0, True, 2**31):
        with pytest.raises(InvalidInputError, match="expected"):
            await StreamRepository().update_projection(stream, plan=plan("four"), expected=wrong)


@pytest.mark.with_log
async def test_a_jobs_snapshot_counts_and_messages_and_the_rows_own_logging_do_not(stream):
    await StreamRepository().update_projection(stream, plan=plan("one"), expected=0)
    for _ in range(2):
        await Projector().catch_up(stream)
    await Projector().append(stream, [Event(type="user_message", data={"content": "hello"})])
    await Projector().catch_up(stream)
    assert await seen(stream) == 1
    await Projector().append(stream, [Event(type="graph_snapshot", data={"graphSnapshot": SNAPSHOT})])
    await Projector().catch_up(stream)
    assert await seen(stream) == 2
    with pytest.raises(StaleVersionError):
        await StreamRepository().update_projection(stream, plan=plan("two"), expected=1)
    several = {"steps": [{"id": "a", "searchName": "x"}, {"id": "b", "searchName": "y"}], "rootStepId": None}
    await Projector().append(stream, [Event(type="graph_snapshot", data={"graphSnapshot": several})])
    await Projector().catch_up(stream)
    assert await seen(stream) == 3, "steps without a root are part of what is seen"


@pytest.mark.with_log
async def test_a_rebuild_that_finds_the_plan_as_it_is_refuses_nobody(stream):
    await StreamRepository().update_projection(stream, plan=plan("one"))
    await Projector().catch_up(stream)
    version = await seen(stream)
    assert not (await Projector().rebuild()).refused
    assert await seen(stream) == version
    assert not (await Projector().verify()).suspects
