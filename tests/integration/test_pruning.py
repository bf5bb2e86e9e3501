"""Pruning conversations whose WDK strategy is gone, and refusing to."""

import asyncio

import pytest

from tests.support.statements import recorded
from veupath_store import StreamRepository, async_session_factory
from veupath_store.errors import PruneRefusedError
from veupath_store.models import StreamProjection
from veupath_store.values import DismissReason


@pytest.fixture
async def linked(user):
    """Ten conversations linked to the WDK strategies 1 to 10, one unlinked, one on another site."""
    streams = []
    for number in range(1, 11):
        stream = await StreamRepository().create(user.id, "plasmodb", name=f"s{number}")
        await StreamRepository().update_projection(stream.id, wdk_strategy_id=number)
        streams.append(stream)
    await StreamRepository().create(user.id, "plasmodb", name="draft")
    elsewhere = await StreamRepository().create(user.id, "toxodb", name="elsewhere")
    await StreamRepository().update_projection(elsewhere.id, wdk_strategy_id=99)
    return streams


async def dismissed(user):
    return {item.name for item in await StreamRepository().list_dismissed_projections(user.id)}


@pytest.mark.without_log
async def test_orphans_are_dismissed_with_a_reason_and_returned(user, linked):
    with recorded() as sent:
        pruned = await StreamRepository().prune_wdk_orphans(user.id, "plasmodb", [*range(3, 11), 1234])
    assert len(sent) == 1
    assert pruned == sorted(stream.id for stream in linked[:2])
    assert await dismissed(user) == {"s1", "s2"}
    found = await StreamRepository().get_projection(linked[0].id)
    assert found.dismissed_reason == DismissReason.WDK_ORPHAN
    assert found.wdk_strategy_id == 1
    assert await StreamRepository().prune_wdk_orphans(user.id, "plasmodb", range(3, 11)) == []


@pytest.mark.parametrize(("live", "orphaned"), [([], 10), ([777, 778], 10), ([1, 2, 3, 4], 6)])
async def test_an_empty_a_foreign_and_a_partial_list_are_refused_and_change_nothing(user, linked, live, orphaned):
    with pytest.raises(PruneRefusedError) as caught:
        await StreamRepository().prune_wdk_orphans(user.id, "plasmodb", live)
    assert (caught.value.linked, caught.value.orphaned) == (10, orphaned)
    assert await dismissed(user) == set()


async def test_half_is_the_most_that_is_believed(user, linked):
    assert len(await StreamRepository().prune_wdk_orphans(user.id, "plasmodb", [1, 2, 3, 4, 5])) == 5


async def test_a_caller_that_knows_better_says_so(user, linked):
    repository = StreamRepository()
    with pytest.raises(PruneRefusedError):
        await repository.dismiss_wdk_orphans(user.id, "plasmodb", [], max_share=1)
    with pytest.raises(PruneRefusedError):
        await repository.dismiss_wdk_orphans(user.id, "plasmodb", [], allow_empty=True)
    assert len(await repository.dismiss_wdk_orphans(user.id, "plasmodb", [1], max_share=0.9)) == 9
    assert len(await repository.dismiss_wdk_orphans(user.id, "plasmodb", [], max_share=1, allow_empty=True)) == 1


async def test_without_linked_conversations_an_empty_list_is_right(user):
    assert await StreamRepository().prune_wdk_orphans(user.id, "plasmodb", []) == []


async def test_a_pruned_conversation_can_be_restored(user, linked):
    await StreamRepository().prune_wdk_orphans(user.id, "plasmodb", range(2, 11))
    await StreamRepository().restore(linked[0].id)
    assert await dismissed(user) == set()


async def test_other_users_and_undone_units_of_work_lose_nothing(user, stranger, linked):
    assert await StreamRepository().prune_wdk_orphans(stranger.id, "plasmodb", []) == []
    with pytest.raises(RuntimeError):
        async with async_session_factory() as session:
            await StreamRepository(session).prune_wdk_orphans(user.id, "plasmodb", range(2, 11))
            raise RuntimeError
    assert await dismissed(user) == set()


async def test_fifty_prunings_at_once_dismiss_each_orphan_once(user, linked):
    results = await asyncio.gather(
        *(StreamRepository().prune_wdk_orphans(user.id, "plasmodb", range(4, 11)) for _ in range(50))
    )
    returned = [stream_id for pruned in results for stream_id in pruned]
    assert sorted(returned) == sorted(stream.id for stream in linked[:3])
    assert await StreamProjection.filter(dismissed_at__isnull=False).count() == 3


async def test_a_list_of_many_thousand_ids_is_one_statement(user, linked):
    with recorded() as sent:
        assert await StreamRepository().prune_wdk_orphans(user.id, "plasmodb", list(range(1, 50_001))) == []
    assert len(sent) == 1
