"""The WDK server's list of strategies, brought into the table; and pruning of what is gone from it."""

import asyncio
import random
from functools import partial

import pytest

from tests.support.calls import new_stream, projection, refusal
from tests.support.statements import recorded
from veupath_store import StreamRepository, async_session_factory
from veupath_store.errors import PruneRefusedError
from veupath_store.models import Stream, StreamProjection
from veupath_store.values import DismissReason, SyncOutcome, WdkStrategy


def strategy(number, name="Kinases", **given):
    fields = {"record_type": "transcript", "is_saved": True, "result_count": 100, "step_count": 3, **given}
    return WdkStrategy(wdk_strategy_id=number, name=name, **fields)


async def sync(user, *strategies, site="plasmodb"):
    return await StreamRepository().sync_wdk(user.id, site, strategies)


def outcomes(report):
    return [item.outcome.value for item in report.strategies]


async def rows(user, site="plasmodb"):
    found = await StreamProjection.filter(user_id=user.id, site_id=site).values()
    return {row["wdk_strategy_id"]: row for row in found}


async def test_new_changed_unchanged_and_dismissed_strategies_are_told_apart(user):
    await sync(user, *(strategy(number, f"s{number}") for number in range(1, 5)))
    before = await rows(user)
    await StreamRepository().dismiss(before[3]["stream_id"])
    changed = {"result_count": 7}
    given = strategy(1, "s1"), strategy(2, "s2", **changed), strategy(3, "s3", **changed), strategy(9, "s9")
    report = await sync(user, *given)
    assert outcomes(report) == ["unchanged", "updated", "skipped", "inserted"]
    after = await rows(user)
    assert after[1] == before[1]
    assert after[4] == before[4]
    assert (after[2]["result_count"], after[3]["result_count"]) == (7, 100)
    assert after[2]["updated_at"] > before[2]["updated_at"]
    assert (after[9]["name"], after[9]["plan"]) == ("s9", {}), "the plan is still to be fetched"
    assert [item.stream_id for item in report.strategies] == [after[n]["stream_id"] for n in (1, 2, 3, 9)]
    assert report.count(SyncOutcome.INSERTED) == report.count("inserted") == 1
    assert await Stream.filter(user_id=user.id).count() == 5


async def test_the_first_of_the_list_is_the_newest(user):
    await sync(user, *(strategy(number, f"s{number}") for number in range(20)))
    listed = await StreamRepository().list_projections(user.id)
    assert [item.name for item in listed] == [f"s{number}" for number in range(20)]


@pytest.mark.without_log
async def test_a_thousand_strategies_of_a_few_names_get_unique_names_in_one_writing_statement(user):
    for name in ("A", "A (2)", "B (7)"):
        await new_stream(user, name=name)
    names = ["A", "A (1)", "A (2)", "B", "", "C" * 255]
    given = [strategy(number, names[number % len(names)]) for number in range(1000)]
    with recorded(exactly=3):  # one reads, one finds that a name is taken and writes nothing, one writes
        report = await sync(user, *given)
    assert set(outcomes(report)) == {"inserted"}
    taken = [row["name"] for row in await StreamProjection.all().values("name")]
    assert len(taken) == len(set(taken)) == 1003
    assert {"B", "A (1)", "New Conversation", "C" * 255, "A (3)", "B (6)", "B (8)"} <= set(taken)


async def test_a_list_of_free_names_keeps_them_and_numbers_only_what_is_there_twice(user):
    names = ["A", "A", "A (1)", "B" * 255, "B" * 255, "B" * 251 + " (1)", "", ""]
    await sync(user, *[strategy(number, name) for number, name in enumerate(names)])
    found = await rows(user)
    assert [found[number]["name"] for number in range(len(names))] == [
        *("A", "A (2)", "A (1)"),
        *("B" * 255, "B" * 251 + " (2)", "B" * 251 + " (1)"),
        *("New Conversation", "New Conversation (1)"),
    ]


async def test_what_did_not_change_is_told_by_one_statement_that_takes_no_lock_and_touches_nothing(user):
    given = [strategy(number, f"s{number % 7}") for number in range(200)]
    await sync(user, *given)
    before = await rows(user)
    async with async_session_factory() as session:
        await StreamProjection.filter(user_id=user.id).select_for_update().using_db(session.client)
        with recorded(exactly=1):
            async with asyncio.timeout(10):
                assert set(outcomes(await sync(user, *given))) == {"unchanged"}
    assert await rows(user) == before


async def test_one_failing_item_does_not_undo_the_others(user):
    report = await sync(
        user,
        {"wdk_strategy_id": 1, "name": "good"},
        {"wdk_strategy_id": 2, "name": "x" * 256},
        {"wdk_strategy_id": -1, "name": "bad"},
        {"wdk_strategy_id": 3, "name": "nul\x00"},
        {"wdk_strategy_id": 4, "colour": "red"},
        {"wdk_strategy_id": 1, "name": "again"},
        "no strategy",
        {"wdk_strategy_id": 5, "name": "good"},
    )
    assert outcomes(report) == ["inserted", *["refused"] * 6, "inserted"]
    assert [item.position for item in report.strategies] == list(range(8))
    reasons = [item.reason for item in report.strategies]
    assert reasons[0] is None
    assert reasons[1] == "name: it must not be longer than 255 characters"
    assert reasons[4].startswith("colour: ")
    assert "twice" in reasons[5]
    assert sorted(await rows(user)) == [1, 5]


async def test_users_and_sites_do_not_meet(user, stranger):
    await sync(user, strategy(1))
    assert outcomes(await sync(stranger, strategy(1))) == ["inserted"]
    assert outcomes(await sync(user, strategy(1), site="toxodb")) == ["inserted"]
    assert {row["name"] for row in await StreamProjection.all().values("name")} == {"Kinases"}


async def test_fifty_syncs_at_once_make_each_conversation_once(user, unit):
    async def one(round_):
        given = [strategy(number, "Kinases", result_count=round_) for number in range(30)]
        random.shuffle(given)
        async with unit() as session:
            return await StreamRepository(session).sync_wdk(user.id, "plasmodb", given)

    reports = await asyncio.gather(*(one(round_) for round_ in range(50)))
    assert sum(report.count(SyncOutcome.INSERTED) for report in reports) == 30
    found = await rows(user)
    assert len(found) == 30
    assert len({row["name"] for row in found.values()}) == 30


async def test_syncs_against_renames_and_creations_lose_neither(user):
    first = await sync(user, *(strategy(number, f"s{number}") for number in range(25)))
    streams = first.stream_ids(SyncOutcome.INSERTED)

    async def rename(index):
        await StreamRepository().update_projection(streams[index], name=f"mine {index}")

    async def sync_again(round_):
        given = [strategy(number, f"s{number}", result_count=round_) for number in range(50)]
        return await sync(user, *given)

    await asyncio.gather(
        *(rename(index) for index in range(25)),
        *(sync_again(round_) for round_ in range(10)),
        *(new_stream(user, name=f"s{25 + index}") for index in range(25)),
    )
    found = await StreamProjection.filter(user_id=user.id).values("name", "wdk_strategy_id")
    assert len({row["name"] for row in found}) == len(found) == 75
    by_id = {row["wdk_strategy_id"]: row["name"] for row in found}
    assert [by_id[index] for index in range(25)] == [f"mine {index}" for index in range(25)]


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
