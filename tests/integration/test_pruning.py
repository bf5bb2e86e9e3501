"""Pruning conversations whose WDK strategy is gone, and refusing to."""

import asyncio
from functools import partial

import pytest

from tests.support.calls import new_stream, projection, refusal
from tests.support.statements import recorded
from veupath_store import StreamRepository, async_session_factory
from veupath_store.errors import PruneRefusedError
from veupath_store.models import StreamProjection
from veupath_store.values import DismissReason


@pytest.fixture
async def linked(user):
    """Ten conversations linked to the WDK strategies 1 to 10, one unlinked, one on another site."""
    await new_stream(user, name="draft")
    await new_stream(user, "toxodb", wdk_strategy_id=99)
    return [await new_stream(user, name=f"s{number}", wdk_strategy_id=number) for number in range(1, 11)]


def prune(user, live, streams=None):
    return (streams or StreamRepository()).prune_wdk_orphans(user.id, "plasmodb", live)


async def dismissed(user):
    return {item.name for item in await StreamRepository().list_dismissed_projections(user.id)}


@pytest.mark.without_log
async def test_orphans_are_dismissed_with_a_reason_and_returned(user, linked):
    with recorded(exactly=1):
        assert await prune(user, [*range(3, 11), 1234]) == sorted(linked[:2])
    assert await dismissed(user) == {"s1", "s2"}
    found = await projection(linked[0])
    assert (found.dismissed_reason, found.wdk_strategy_id) == (DismissReason.WDK_ORPHAN, 1)
    with recorded(exactly=1):
        assert await prune(user, list(range(3, 50_001))) == []
    await StreamRepository().restore(linked[0])
    assert await dismissed(user) == {"s2"}


@pytest.mark.parametrize(("live", "orphaned"), [([], 10), ([777, 778], 10), ([1, 2, 3, 4], 6)])
async def test_an_empty_a_foreign_and_a_partial_list_are_refused_and_change_nothing(user, linked, live, orphaned):
    refused = await refusal(PruneRefusedError, prune(user, live))
    assert (refused.linked, refused.orphaned) == (10, orphaned)
    assert await dismissed(user) == set()
    assert len(await prune(user, [1, 2, 3, 4, 5])) == 5, "half is believed"


async def test_a_caller_that_knows_better_says_so(user, linked):
    dismiss = partial(StreamRepository().dismiss_wdk_orphans, user.id, "plasmodb")
    await refusal(PruneRefusedError, dismiss([], max_share=1))
    await refusal(PruneRefusedError, dismiss([], allow_empty=True))
    assert len(await dismiss([1], max_share=0.9)) == 9
    assert len(await dismiss([], max_share=1, allow_empty=True)) == 1


async def test_without_linked_conversations_an_empty_list_is_right(user):
    assert await prune(user, []) == []


async def test_other_users_and_undone_units_of_work_lose_nothing(user, stranger, linked):
    assert await prune(stranger, []) == []
    with pytest.raises(RuntimeError):
        async with async_session_factory() as session:
            await prune(user, range(2, 11), StreamRepository(session))
            raise RuntimeError
    assert await dismissed(user) == set()


async def test_fifty_prunings_at_once_dismiss_each_orphan_once(user, linked):
    results = await asyncio.gather(*(prune(user, range(4, 11)) for _ in range(50)))
    assert sorted(stream_id for pruned in results for stream_id in pruned) == sorted(linked[:3])
    assert await StreamProjection.filter(dismissed_at__isnull=False).count() == 3
